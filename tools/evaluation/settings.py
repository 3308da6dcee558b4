"""Settings of the commands of this room. Light: ``--help`` imports this."""

from dataclasses import dataclass
from pathlib import Path

from data.datasets.settings import ImageSettings, SplitSettings, UsedImageSettings
from data.settings import check_range
from localizer.settings import BoxSettings
from tools.models.settings import ComputeSettings
from tools.runs.settings import SavedRunSettings


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(SavedRunSettings, ComputeSettings, UsedImageSettings, SplitSettings):
    """Settings of one evaluation."""

    run_dir: Path
    """Folder of the trained run; the evaluation is written into evaluations/ in it."""

    beside: tuple[Path, ...] = ()
    """Further runs to stand beside the first in the report: the robust one, the detector."""

    proposals: tuple[Path, ...] = ()
    """Files of make_proposals. A detector scores them; when none is given, those of the file that
    it learned from. The boxes of a localizer are those among them that fit its heatmaps, which then
    are needed of the images of --corloc-split too; without any those around the hot regions."""

    name: str = ""
    """Name of the evaluation, when a split is evaluated more than once; that of --split when
    empty."""

    corloc_split: str | None = None
    """Images for CorLoc, by convention those that the labels came from: the split that the run
    learned from when not given; empty for --split."""

    image_sizes: tuple[int, ...] = ()
    """Pixels of the side that the run's --resize names, averaged over; the run's own when empty."""

    crop: int | None = None
    """Of a localizer: side of five crops whose highest logit is the image's, see train_localizer; 0
    for none; the run's own when not given."""

    support_iou: float | None = None
    """Of a detector, see train_wsddn; the run's own when not given."""

    also_runs: tuple[Path, ...] = ()
    """Of a detector: run folders of others, whose scores of its proposals are averaged with its
    own; tools/results tells what that is worth."""

    rescore_from: tuple[Path, ...] = ()
    """Of a detector: run folders of localizers that learned from the same labels. Scores then move
    to the proposals that agree with their heatmaps; tools/results tells what that is worth."""

    boxes: BoxSettings | None = None
    """How heatmaps become boxes; a localizer's own settings when none of these is given."""

    choose_threshold: bool = False
    """Of a localizer: first choose the threshold of its boxes by CorLoc on the run's --val-split,
    or, without one and for --images of others, on --split, never on test. It is kept in the run,
    and every later command makes boxes with it."""

    def __post_init__(self) -> None:
        """Refuse an invalid overlap and invalid sizes."""
        super().__post_init__()
        check_range(self, "above 0", "image_sizes")
        check_range(self, "0 or more", "crop")
        check_range(self, "in [0, 1]", "support_iou")
        if self.choose_threshold and self.boxes is not None:
            raise ValueError("--choose-threshold: --boxes says how boxes are made (leave one out)")


@dataclass(frozen=True, kw_only=True)
class CheckReproductionSettings(ComputeSettings, ImageSettings, SplitSettings):
    """Settings of one check. What is not given here is as it was in the evaluation."""

    run_dir: Path
    """Folder of the trained run; of several that were evaluated side by side, the first."""

    name: str = ""
    """Name of the evaluation; that of --split when empty."""

    tolerance: float = 1e-5
    """Largest difference of a score that counts as the same."""

    proposals: tuple[Path, ...] = ()
    """Where the proposals of the evaluation are now, if they have moved."""

    also_runs: tuple[Path, ...] = ()
    """Where the other detectors are now, if they have moved."""

    rescore_from: tuple[Path, ...] = ()
    """Where the runs of the localizers that rescored are now, if they have moved."""

    def __post_init__(self) -> None:
        """Refuse a negative tolerance."""
        super().__post_init__()
        check_range(self, "0 or more", "tolerance")
