"""Open what commands share: a model built from plain settings, what it is fed, a trained run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from data.image_set import ImageSet
from localizer.builders import build_localizer
from localizer.model import Localizer, LocalizerHead
from tools.engine.checkpoint import check_state_dict, load_checkpoint
from tools.engine.datasets import open_dataset
from tools.engine.device import Device
from tools.engine.run_folder import read_settings
from tools.engine.samples import FeatureSamples, PictureSamples, Samples
from tools.engine.settings import DataSettings, PictureSettings


@dataclass(frozen=True, slots=True)
class SavedRun:
    """A trained localizer and how it was trained.

    Attributes:
        run_dir: its folder.
        model: on the CPU, in evaluation mode.
        settings: plain, as in ``settings.yaml``.
        step: iterations that it was trained for.
    """

    run_dir: Path
    model: Localizer
    settings: dict[str, Any]
    step: int

    @property
    def name(self) -> str:
        """``localizer`` or ``localizer_robust``, as in ``report.json``."""
        return "localizer_robust" if self.settings["model"]["robust"] else "localizer"


def build_model(
    settings: Mapping[str, Any], num_classes: int, state_dict: Mapping[str, Tensor] | None = None
) -> Localizer:
    """A localizer from the plain form of ``ModelSettings``."""
    return build_localizer(num_classes=num_classes, state_dict=state_dict, **settings)


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
    scales = [PictureSamples(dataset, model.trunk, size, resize) for size in image_sizes]
    if feature_cache is None:
        return list(scales), model
    cached = [FeatureSamples(scale, model.features, feature_cache, device) for scale in scales]
    return list(cached), model.head()


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
    """
    trained = saved.settings
    dataset = open_dataset(_data_settings(trained, pictures), split)
    device.place(saved.model)
    is_cached = cached and trained["frozen_trunk"]
    scales, fed = open_samples(
        saved.model,
        dataset,
        image_sizes=trained["eval_image_sizes"] or trained["image_sizes"],
        resize=trained["resize"],
        feature_cache=Path(trained["feature_cache"]) if is_cached else None,
        device=device,
    )
    return dataset, scales, fed


def _data_settings(trained: Mapping[str, Any], pictures: PictureSettings) -> DataSettings:
    own = {field.name: trained[field.name] for field in fields(DataSettings)}
    own["classes"] = tuple(own["classes"])
    if pictures.images is not None:
        own |= {"images": pictures.images, "labels": pictures.labels}
    else:
        own |= {name: Path(own[name]) for name in ("images", "labels") if own[name]}
    return DataSettings(**own | {"voc_root": pictures.voc_root})


def load_run(run_dir: Path, which: str = "last") -> SavedRun:
    """A trained localizer from its folder.

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
    model = build_model(content["builder"], len(settings["classes"]))
    check_state_dict(model.state_dict(), content["model"], f"{run_dir}")
    model.load_state_dict(content["model"])
    return SavedRun(run_dir, model.eval(), settings, content["step"])
