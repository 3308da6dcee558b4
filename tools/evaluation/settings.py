"""Settings of the commands of this room. Light: ``--help`` imports this."""

from dataclasses import dataclass
from pathlib import Path

from data.datasets.settings import ImageSettings
from data.settings import check_range
from localizer.settings import BoxSettings
from tools.runs.settings import SavedRunSettings


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(SavedRunSettings, ImageSettings):
    """Settings of one evaluation."""

    run_dir: Path
    """Folder of the trained run; the evaluation is written into evaluations/ in it."""

    beside: Path | tuple[Path, ...] = ()
    """Further runs, [a,b] if several, to stand beside the first in the report: the robust one, the
    detector."""

    proposals: Path | None = None
    """Proposals of the images of --split, for a detector; those of --corloc-split are in the file
    that it learned from."""

    split: str = "test"
    """Images to evaluate on."""

    name: str = ""
    """Name of the evaluation, when a split is evaluated more than once; that of --split when
    empty."""

    corloc_split: str = "trainval"
    """Images for CorLoc, by convention those that the labels came from; empty for --split."""

    image_sizes: tuple[int, ...] = ()
    """Pixels of the side that the run's --resize names, averaged over; the run's own when empty."""

    support_iou: float | None = None
    """Of a detector, see train_wsddn; the run's own when not given."""

    rescore_from: Path | None = None
    """Of a detector: run folder of a localizer that learned from the same labels. Scores then move
    to the proposals that agree with its heatmap; see the README for what that is worth."""

    boxes: BoxSettings | None = None
    """How heatmaps become boxes; a localizer's own settings when none of these is given."""

    def __post_init__(self) -> None:
        """Refuse an invalid overlap and invalid sizes."""
        super().__post_init__()
        check_range(self, "above 0", "image_sizes")
        check_range(self, "in [0, 1]", "support_iou")
