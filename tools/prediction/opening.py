"""A trained run on images: the one place that asks which kind of model it holds."""

from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from data.datasets.image_set import ImageSet
from data.datasets.settings import DataSettings, ImageSettings
from data.types import Proposals
from localizer.localize import heatmap_overlap
from localizer.settings import BoxSettings
from tools.inputs.datasets import open_dataset
from tools.inputs.features import FeatureCache
from tools.inputs.opening import open_samples
from tools.inputs.rois import read_proposals, with_proposals
from tools.models.device import Device
from tools.prediction.predictions import DetectorPredictions, LocalizerPredictions, Predictions
from tools.runs.saved import SavedRun, load_run


def open_split(saved: SavedRun, images: ImageSettings, split: str) -> ImageSet:
    """A split of the images that are given, or else of those that the run learned from."""
    classes = tuple(saved.settings["classes"])
    return open_dataset(data_settings(saved.settings, images, classes), split)


def split_proposals(
    saved: SavedRun, dataset: ImageSet, file: Path | None
) -> dict[str, Proposals] | None:
    """The proposals that a detector sees of a split; None for a localizer.

    Args:
        saved: the run.
        dataset: the split.
        file: of ``make_proposals``; None takes the one that the run learned from.

    Raises:
        ValueError: the file lacks images of the split.
    """
    if not saved.takes_proposals:
        return None
    return read_proposals(
        file or Path(saved.settings["proposals"]), dataset, **saved.proposal_limits
    )


def open_predictions(
    saved: SavedRun,
    dataset: ImageSet,
    device: Device,
    *,
    cached: bool,
    proposals: Mapping[str, Proposals] | None = None,
    rescore_from: Path | None = None,
    boxes: BoxSettings | None = None,
) -> Predictions:
    """What a trained run predicts for some images.

    Args:
        saved: the run; its model is moved to the device.
        dataset: the images.
        device: computes.
        cached: take a frozen backbone's features from the run's cache, filling it where needed.
        proposals: of these images by their ids, for a detector.
        rescore_from: run of a localizer that rescores the proposals of a detector.
        boxes: how a localizer's heatmaps become boxes; the run's own settings when None.

    Raises:
        ValueError: the run that rescores is a detector's, or it knows other classes.
    """
    if not saved.takes_proposals:
        return open_localizer(saved, dataset, device, cached=cached, boxes=boxes)
    model = saved.detector()
    device.place(model)
    how = _as_trained(saved, device, cached=cached)
    inputs = with_proposals(open_samples(model, dataset, **how), dataset, proposals or {})
    module = model if how["feature_cache"] is None else model.head
    rescoring = None
    if rescore_from is not None:
        localizer = load_run(rescore_from)
        if localizer.settings["classes"] != saved.settings["classes"]:
            raise ValueError(
                f"{rescore_from}: knows other classes than {saved.run_dir}: "
                f"{', '.join(localizer.settings['classes'])}"
            )
        heatmaps = open_localizer(localizer, dataset, device, cached=cached)
        rescoring = partial(_overlap, heatmaps)
    flip, support_iou = (saved.settings[name] for name in ("flip", "support_iou"))
    return DetectorPredictions(module, inputs, dataset, device, flip, support_iou, rescoring)


def _overlap(localizer: LocalizerPredictions, index: int, boxes: Tensor) -> Tensor:
    """``[R, C]``: how far proposals and the heatmap of each class cover each other."""
    return heatmap_overlap(localizer.heatmaps(index), boxes)


def open_localizer(
    saved: SavedRun,
    dataset: ImageSet,
    device: Device,
    *,
    cached: bool,
    boxes: BoxSettings | None = None,
) -> LocalizerPredictions:
    """The same of a localizer.

    Raises:
        ValueError: the run is a detector's, which has no heatmaps.
    """
    model = saved.localizer()
    device.place(model)
    how = _as_trained(saved, device, cached=cached)
    inputs = open_samples(model, dataset, **how)
    module = model if how["feature_cache"] is None else model.head()
    trained = saved.settings["boxes"]
    own = BoxSettings(**trained | {"thresholds": tuple(trained["thresholds"])})
    return LocalizerPredictions(module, inputs, dataset, device, boxes or own)


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
