"""Open what commands share: a model built from plain settings, what it is fed, a trained run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from data.image_set import ImageSet
from data.types import Proposals
from localizer.builders import build_localizer
from localizer.model import Localizer, LocalizerHead
from localizer.trunks import Trunk
from tools.engine.checkpoint import check_state_dict, load_checkpoint
from tools.engine.datasets import open_dataset
from tools.engine.device import Device
from tools.engine.proposal_samples import WithProposals, read_proposals
from tools.engine.run_folder import read_settings
from tools.engine.samples import FeatureSamples, PictureSamples, Samples
from tools.engine.settings import DataSettings, PictureSettings
from wsddn.builders import build_wsddn
from wsddn.model import WSDDN, WSDDNHead


@dataclass(frozen=True, slots=True)
class SavedRun:
    """A trained model and how it was trained.

    Attributes:
        run_dir: its folder.
        model: on the CPU, in evaluation mode.
        settings: plain, as in ``settings.yaml``.
        step: iterations that it was trained for.
    """

    run_dir: Path
    model: Localizer | WSDDN
    settings: dict[str, Any]
    step: int

    @property
    def name(self) -> str:
        """``localizer``, ``localizer_robust`` or ``detector``, as in ``report.json``."""
        if isinstance(self.model, WSDDN):
            return "detector"
        return "localizer_robust" if self.settings["model"]["robust"] else "localizer"

    def localizer(self) -> Localizer:
        """The model, if it is one with heatmaps.

        Raises:
            ValueError: it is a detector.
        """
        if isinstance(self.model, WSDDN):
            raise ValueError(f"{self.run_dir}: holds a detector, which has no heatmaps")
        return self.model

    def detector(self) -> WSDDN:
        """The model, if it is one that takes proposals.

        Raises:
            ValueError: it is a localizer.
        """
        if not isinstance(self.model, WSDDN):
            raise ValueError(f"{self.run_dir}: holds a localizer, which takes no proposals")
        return self.model

    def uncached_amp(self, amp: str) -> str:
        """Number format where features are not cached; those of frozen trunks stay float32."""
        return "off" if self.settings["frozen_trunk"] else amp

    @property
    def proposal_limits(self) -> dict[str, Any]:
        """Which proposals of a file a detector sees: ``min_size`` and ``max_proposals``."""
        return {name: self.settings[name] for name in ("min_size", "max_proposals")}


def build_model(
    settings: Mapping[str, Any], num_classes: int, state_dict: Mapping[str, Tensor] | None = None
) -> Localizer:
    """A localizer from the plain form of ``ModelSettings``."""
    return build_localizer(num_classes=num_classes, state_dict=state_dict, **settings)


def build_detector(
    settings: Mapping[str, Any], num_classes: int, state_dict: Mapping[str, Tensor] | None = None
) -> WSDDN:
    """A detector from the plain form of ``DetectorSettings``."""
    return build_wsddn(num_classes=num_classes, state_dict=state_dict, **settings)


def open_samples(
    model: Localizer,
    dataset: ImageSet,
    *,
    image_sizes: Sequence[int],
    resize: Any,
    feature_cache: Path | None,
    device: Device,
) -> tuple[list[Samples], LocalizerHead]:
    """What is fed at each size, and what takes it: pictures the model, or features its head.

    Args:
        model: whose trunk decides on size and normalisation.
        dataset: a split.
        image_sizes: of the network image.
        resize: ``longest_side`` or ``square``.
        feature_cache: where features of the frozen trunk are kept; None feeds pictures.
        device: computes the features.
    """
    scales = _scales(
        model.trunk,
        model.features,
        dataset,
        image_sizes=image_sizes,
        resize=resize,
        feature_cache=feature_cache,
        device=device,
    )
    return scales, model if feature_cache is None else model.head()


def open_proposal_samples(
    model: WSDDN,
    dataset: ImageSet,
    proposals: Mapping[str, Proposals],
    *,
    image_sizes: Sequence[int],
    resize: Any,
    feature_cache: Path | None,
    device: Device,
) -> tuple[list[WithProposals], WSDDN | WSDDNHead]:
    """The same for a detector; every sample comes with its rois."""
    scales = _scales(
        model.trunk,
        model.features,
        dataset,
        image_sizes=image_sizes,
        resize=resize,
        feature_cache=feature_cache,
        device=device,
    )
    sizes = [annotation.image_size for annotation in dataset.annotations]
    with_rois = [WithProposals(scale, proposals, sizes) for scale in scales]
    return with_rois, model if feature_cache is None else model.head


def _scales(
    trunk: Trunk,
    features: nn.Module,
    dataset: ImageSet,
    *,
    image_sizes: Sequence[int],
    resize: Any,
    feature_cache: Path | None,
    device: Device,
) -> list[Samples]:
    pictures = [PictureSamples(dataset, trunk, size, resize) for size in image_sizes]
    if feature_cache is None:
        return list(pictures)
    return [FeatureSamples(scale, features, feature_cache, device) for scale in pictures]


def open_run_on(
    saved: SavedRun, pictures: PictureSettings, split: str, device: Device, *, cached: bool
) -> tuple[ImageSet, list[Samples], LocalizerHead]:
    """A split as a trained localizer sees it in evaluation, and the module that takes it.

    Args:
        saved: the run; its model is moved to the device.
        pictures: a folder, or else where VOC is; a run that learned from a folder looks there
            again unless another one is given.
        split: pictures to look at.
        device: for the model.
        cached: take a frozen trunk's features from the run's cache, filling it where needed.

    Raises:
        ValueError: the run is a detector's.
    """
    saved.localizer()
    dataset = open_dataset(_data_of(saved, pictures), split)
    return dataset, *feed_localizer(saved, dataset, device, cached=cached)


def open_detector_on(
    saved: SavedRun,
    pictures: PictureSettings,
    split: str,
    proposals: Path | None,
    device: Device,
    *,
    cached: bool,
) -> tuple[ImageSet, list[WithProposals], WSDDN | WSDDNHead]:
    """The same for a detector; ``proposals`` None stands for the file that the run learned from.

    Raises:
        ValueError: the run is a localizer's, or the file is not one of these pictures.
    """
    saved.detector()
    dataset = open_dataset(_data_of(saved, pictures), split)
    file = proposals or Path(saved.settings["proposals"])
    chosen = read_proposals(file, dataset, **saved.proposal_limits)
    return dataset, *feed_detector(saved, dataset, chosen, device, cached=cached)


def feed_localizer(
    saved: SavedRun, dataset: ImageSet, device: Device, *, cached: bool
) -> tuple[list[Samples], LocalizerHead]:
    """What a trained localizer is fed of some pictures in evaluation, and what takes it."""
    model = saved.localizer()
    device.place(model)
    return open_samples(model, dataset, **_as_trained(saved, device, cached=cached))


def feed_detector(
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
    """How a run's pictures are fed in evaluation."""
    trained = saved.settings
    is_cached = cached and trained["frozen_trunk"]
    return {
        "image_sizes": trained["eval_image_sizes"] or trained["image_sizes"],
        "resize": trained["resize"],
        "feature_cache": Path(trained["feature_cache"]) if is_cached else None,
        "device": device,
    }


def data_settings(
    trained: Mapping[str, Any], pictures: PictureSettings, classes: tuple[str, ...]
) -> DataSettings:
    """Where the pictures are: as given, or else where the run learned from.

    Args:
        trained: settings of the run; may be empty where the pictures are given.
        pictures: as given.
        classes: of the run.
    """
    own = {
        field.name: trained[field.name] for field in fields(DataSettings) if field.name in trained
    }
    if pictures.images is not None:
        own |= {"images": pictures.images, "labels": pictures.labels}
    else:
        own |= {name: Path(own[name]) for name in ("images", "labels") if own.get(name)}
    return DataSettings(**own | {"classes": classes, "voc_root": pictures.voc_root})


def _data_of(saved: SavedRun, pictures: PictureSettings) -> DataSettings:
    return data_settings(saved.settings, pictures, tuple(saved.settings["classes"]))


def load_run(run_dir: Path, which: str = "last") -> SavedRun:
    """A trained localizer or detector from its folder.

    Raises:
        FileNotFoundError: no run, or no checkpoint yet.
        ValueError: no intact checkpoint, or weights that are not the model's.
    """
    settings = read_settings(run_dir)
    content = load_checkpoint(run_dir / "checkpoints", which)
    if content is None:
        raise FileNotFoundError(
            f"{run_dir}: no {which} checkpoint (the training has not saved one)"
        )
    build = build_detector if "proposals" in settings else build_model
    model = build(content["builder"], len(settings["classes"]))
    check_state_dict(model.state_dict(), content["model"], f"{run_dir}")
    model.load_state_dict(content["model"])
    return SavedRun(run_dir, model.eval(), settings, content["step"])
