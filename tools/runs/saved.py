"""A trained run, opened from its folder: the one place that asks which kind of model it holds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data.checks import check_state_dict
from localizer.builders import build_localizer
from localizer.model import Localizer
from tools.cli.console import saying, warn
from tools.runs.checkpoint import load_checkpoint, weights_sha256
from tools.runs.folder import read_settings
from tools.runs.kinds import TrainLocalizerSettings, TrainWsddnSettings
from tools.runs.settings import TrainSettings
from tools.runs.threshold import FILE, read_threshold
from wsddn.builders import build_wsddn
from wsddn.model import WSDDN

BUILDERS: dict[str, Callable[..., Any]] = {
    "localizer": build_localizer,
    "classifier": build_localizer,
    "detector": build_wsddn,
}


@dataclass(frozen=True, slots=True)
class SavedRun:
    """A trained model and how it was trained.

    Attributes:
        run_dir: its folder.
        model: on the CPU, in evaluation mode.
        settings: of its training; of a localizer with the threshold of boxes that was chosen since.
        step: iterations that it was trained for.
        others: detectors whose scores of proposals are averaged with those of this one.
    """

    run_dir: Path
    model: Localizer | WSDDN
    settings: TrainSettings
    step: int
    others: tuple["SavedRun", ...] = ()

    @property
    def takes_proposals(self) -> bool:
        """Whether the model is a detector."""
        return isinstance(self.model, WSDDN)

    def localizer(self) -> tuple[Localizer, TrainLocalizerSettings]:
        """Model and settings, if the model is one with heatmaps.

        Raises:
            ValueError: it is a detector.
        """
        model, settings = self.model, self.settings
        if not (isinstance(model, Localizer) and isinstance(settings, TrainLocalizerSettings)):
            raise ValueError(f"{self.run_dir}: holds a {settings.kind}, which has no heatmaps")
        return model, settings

    def detector(self) -> tuple[WSDDN, TrainWsddnSettings]:
        """Model and settings, if the model is one that takes proposals.

        Raises:
            ValueError: it is a localizer.
        """
        model, settings = self.model, self.settings
        if not (isinstance(model, WSDDN) and isinstance(settings, TrainWsddnSettings)):
            raise ValueError(f"{self.run_dir}: holds a {settings.kind}, which takes no proposals")
        return model, settings

    def evaluated_with(self, **settings: Any) -> "SavedRun":
        """The same run with other settings of its evaluation; None and () keep its own."""
        given = {name: value for name, value in settings.items() if value not in (None, ())}
        known = {name: value for name, value in given.items() if hasattr(self.settings, name)}
        others = tuple(other.evaluated_with(**settings) for other in self.others)
        return replace(self, settings=replace(self.settings, **known), others=others)

    def with_threshold(self, threshold: float) -> "SavedRun":
        """The same localizer with boxes at one other threshold."""
        boxes = self.localizer()[1].boxes
        return self.evaluated_with(boxes=replace(boxes, thresholds=(threshold,)))

    def averaged_with(self, run_dirs: Sequence[Path], which: str) -> "SavedRun":
        """The same detector with others that score its proposals too.

        Raises:
            FileNotFoundError: a folder holds no run, or no such checkpoint.
            ValueError: this or another one is no detector, or they know other classes.
        """
        others = [load_run(run_dir, which) for run_dir in run_dirs]
        for each in (self, *others) if others else ():
            each.detector()
            self.check_same_classes(each)
        return replace(self, others=tuple(others))

    def check_same_classes(self, other: "SavedRun") -> None:
        """Refuse a run to be used with this one that knows other classes.

        Raises:
            ValueError: it names both runs and the other's classes.
        """
        if other.settings.classes != self.settings.classes:
            raise ValueError(
                f"{other.run_dir}: knows other classes than {self.run_dir}: "
                f"{', '.join(other.settings.classes)}"
            )

    def uncached_amp(self, amp: str) -> str:
        """Number format where features are not cached; those of frozen backbones stay float32."""
        return "off" if self.settings.frozen_backbone else amp


def learned_from_voc_alone(settings: TrainSettings) -> bool:
    """Whether no other images have taught the model, not even its backbone: the devkit's comp3.

    Args:
        settings: of the run. A detector may have started from the backbone of a localizer's run;
            when that run is gone, it counts as pretrained.
    """
    if settings.also_images:
        return False
    run_dir = settings.backbone_from
    if run_dir is None:
        return not settings.has_trained_backbone
    if not (run_dir / "settings.yaml").is_file():
        warn(f"{run_dir}: no run in this folder; its backbone is taken for a pretrained one")
        return False
    return learned_from_voc_alone(read_settings(run_dir))


def load_run(run_dir: Path, which: str = "last") -> SavedRun:
    """A trained localizer or detector from its folder.

    Every command opens a run here, so a threshold that ``evaluate --choose-threshold`` has kept is
    that of all of them; one of other weights is left alone with a warning.

    Raises:
        FileNotFoundError: no run, or no checkpoint yet.
        ValueError: no intact checkpoint, weights that are not the model's, or a damaged file of a
            chosen threshold.
    """
    settings = read_settings(run_dir)
    with saying(f"opening {run_dir}"):
        content = load_checkpoint(run_dir / "checkpoints", which)
    if content is None:
        raise FileNotFoundError(
            f"{run_dir}: no {which} checkpoint (the training has not saved one)"
        )
    model = BUILDERS[settings.kind](settings.model, len(settings.classes))
    check_state_dict(model.state_dict(), content["model"], context=f"{run_dir}")
    model.load_state_dict(content["model"])
    saved = SavedRun(run_dir, model.eval(), settings, content["step"])
    chosen = None if saved.takes_proposals else read_threshold(run_dir)
    if chosen is None:
        return saved
    if chosen.weights_sha256 != weights_sha256(model.state_dict()):
        warn(
            f"{run_dir / FILE}: chosen for other weights than those of the {which} checkpoint, not "
            "used (evaluate --choose-threshold true chooses again)"
        )
        return saved
    return saved.with_threshold(chosen.threshold)
