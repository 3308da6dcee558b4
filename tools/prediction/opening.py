"""A trained run on a split: the images, the samples that its model takes, the model."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from data.datasets.image_set import ImageSet
from data.types import Proposals
from localizer.model import LocalizerHead
from tools.inputs.datasets import open_dataset
from tools.inputs.features import FeatureCache
from tools.inputs.opening import open_proposal_samples, open_samples
from tools.inputs.rois import WithProposals, read_proposals
from tools.inputs.samples import Samples
from tools.inputs.settings import DataSettings, ImageSettings
from tools.models.device import Device
from tools.runs.saved import SavedRun
from wsddn.model import WSDDN, WSDDNHead


def open_run_on(
    saved: SavedRun, images: ImageSettings, split: str, device: Device, *, cached: bool
) -> tuple[ImageSet, list[Samples], LocalizerHead]:
    """A split as a trained localizer sees it in evaluation, and the module that takes it.

    Args:
        saved: the run; its model is moved to the device.
        images: a folder, or else where VOC is; a run that learned from a folder looks there
            again unless another one is given.
        split: images to look at.
        device: for the model.
        cached: take a frozen backbone's features from the run's cache, filling it where needed.

    Raises:
        ValueError: the run is a detector's.
    """
    saved.localizer()
    dataset = open_dataset(_data_of(saved, images), split)
    return dataset, *localizer_inputs(saved, dataset, device, cached=cached)


def open_detector_on(
    saved: SavedRun,
    images: ImageSettings,
    split: str,
    proposals: Path | None,
    device: Device,
    *,
    cached: bool,
) -> tuple[ImageSet, list[WithProposals], WSDDN | WSDDNHead]:
    """The same for a detector; ``proposals`` None stands for the file that the run learned from.

    Raises:
        ValueError: the run is a localizer's, or the file is not one of these images.
    """
    saved.detector()
    dataset = open_dataset(_data_of(saved, images), split)
    file = proposals or Path(saved.settings["proposals"])
    chosen = read_proposals(file, dataset, **saved.proposal_limits)
    return dataset, *detector_inputs(saved, dataset, chosen, device, cached=cached)


def localizer_inputs(
    saved: SavedRun, dataset: ImageSet, device: Device, *, cached: bool
) -> tuple[list[Samples], LocalizerHead]:
    """Images as a trained localizer takes them in evaluation, and the module that takes them."""
    model = saved.localizer()
    device.place(model)
    return open_samples(model, dataset, **_as_trained(saved, device, cached=cached))


def detector_inputs(
    saved: SavedRun,
    dataset: ImageSet,
    proposals: Mapping[str, Proposals],
    device: Device,
    *,
    cached: bool,
) -> tuple[list[WithProposals], WSDDN | WSDDNHead]:
    """The same for a detector, with the proposals that it is to see."""
    model = saved.detector()
    device.place(model)
    how = _as_trained(saved, device, cached=cached)
    return open_proposal_samples(model, dataset, proposals, **how)


def _as_trained(saved: SavedRun, device: Device, *, cached: bool) -> dict[str, Any]:
    """How a run takes images in evaluation."""
    trained = saved.settings
    is_cached = cached and trained["frozen_backbone"]
    cache = FeatureCache(Path(trained["feature_cache"]), trained["feature_cache_limit"])
    return {
        "image_sizes": trained["eval_image_sizes"] or trained["image_sizes"],
        "resize": trained["resize"],
        "feature_cache": cache if is_cached else None,
        "device": device,
    }


def data_settings(
    trained: Mapping[str, Any], images: ImageSettings, classes: tuple[str, ...]
) -> DataSettings:
    """Where the images are: as given, or else where the run learned from.

    Args:
        trained: settings of the run; may be empty where the images are given.
        images: as given.
        classes: of the run.
    """
    chosen = {
        field.name: trained[field.name] for field in fields(DataSettings) if field.name in trained
    }
    if images.images is not None:
        chosen |= {"images": images.images, "labels": images.labels}
    else:
        names = [name for name in ("images", "labels") if chosen.get(name)]
        chosen |= {name: Path(chosen[name]) for name in names}
    return DataSettings(**chosen | {"classes": classes, "voc_root": images.voc_root})


def _data_of(saved: SavedRun, images: ImageSettings) -> DataSettings:
    return data_settings(saved.settings, images, tuple(saved.settings["classes"]))
