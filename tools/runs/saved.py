"""A trained run, opened from its folder."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from localizer.builders import build_localizer
from localizer.model import Localizer
from localizer.settings import LocalizerSettings
from tools.cli.console import warn
from tools.runs.checkpoint import check_state_dict, load_checkpoint
from tools.runs.folder import read_settings
from wsddn.builders import build_wsddn
from wsddn.model import WSDDN
from wsddn.settings import DetectorSettings


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
        if self.takes_proposals:
            return "detector"
        return "localizer_robust" if self.settings["model"]["robust"] else "localizer"

    @property
    def takes_proposals(self) -> bool:
        """Whether the model is a detector."""
        return isinstance(self.model, WSDDN)

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

    def evaluated_with(self, **settings: Any) -> "SavedRun":
        """The same run with other settings of its evaluation; None and () keep its own."""
        given = {name: value for name, value in settings.items() if value not in (None, ())}
        return replace(self, settings=self.settings | given)

    def uncached_amp(self, amp: str) -> str:
        """Number format where features are not cached; those of frozen backbones stay float32."""
        return "off" if self.settings["frozen_backbone"] else amp

    @property
    def proposal_limits(self) -> dict[str, Any]:
        """Which proposals of a file a detector sees: ``min_size`` and ``max_proposals``."""
        return {name: self.settings[name] for name in ("min_size", "max_proposals")}


def learned_from_voc_alone(settings: Mapping[str, Any]) -> bool:
    """Whether no other images have taught the model, not even its backbone: the devkit's comp3.

    Args:
        settings: of the run. A detector may have started from the backbone of a localizer's run;
            when that run is gone, it counts as pretrained.
    """
    if settings["pretrained"] or settings["weights"]:
        return False
    localizer = settings.get("from_localizer")
    if localizer is None:
        return True
    if not (Path(localizer) / "settings.yaml").is_file():
        warn(f"{localizer}: no run in this folder; its backbone is taken for a pretrained one")
        return False
    return learned_from_voc_alone(read_settings(Path(localizer)))


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
    model: Localizer | WSDDN
    if "proposals" in settings:
        model = build_wsddn(DetectorSettings(**content["builder"]), len(settings["classes"]))
    else:
        model = build_localizer(LocalizerSettings(**content["builder"]), len(settings["classes"]))
    check_state_dict(model.state_dict(), content["model"], f"{run_dir}")
    model.load_state_dict(content["model"])
    return SavedRun(run_dir, model.eval(), settings, content["step"])
