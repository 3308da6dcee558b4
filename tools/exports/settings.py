"""Settings of the commands of this room. Light: ``--help`` imports this."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data.settings import check_range
from tools.models.settings import ComputeSettings
from tools.runs.settings import SavedRunSettings


@dataclass(frozen=True, kw_only=True)
class DetectSettings(SavedRunSettings, ComputeSettings):
    """Settings of one detection."""

    images: Path
    """An image, or a folder of them."""

    out: Path
    """Folder for what is found."""

    proposals: Path | None = None
    """File of make_proposals --images with these images; made on the way when not given."""

    rescore_from: Path | None = None
    """Run folder of a localizer that learned from the same labels: scores of the detector move to
    the proposals that agree with its heatmap."""

    min_score: float = 0.1
    """Detections below are left out."""

    max_detections: int = 100
    """Of one image, the top-scoring."""

    draw: bool = True
    """Write images with the boxes drawn."""

    on_bad: Literal["refuse", "skip"] = "refuse"
    """Whether an image that does not decode ends the run or is left out, with a count."""

    processes: int = 0
    """Processes that make proposals; 0 for one a core."""

    def __post_init__(self) -> None:
        """Refuse values without meaning."""
        check_range(self, "above 0", "max_detections")
        check_range(self, "in [0, 1]", "min_score")
        check_range(self, "0 or more", "processes")


@dataclass(frozen=True, kw_only=True)
class StandardizeSettings(SavedRunSettings):
    """Settings of one conversion."""

    out: Path
    """Folder for the converted weights and the proof."""

    mode: str = "C"
    """What changes in the batch norms: A mean and variance, B the affine part, C mean, variance and
    scale. B is exact in evaluation mode alone; A and C suit further training, too."""
