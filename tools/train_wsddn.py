"""Train a WSDDN detector from image-level labels and a file of proposals.

python -m tools.make_proposals --split trainval --out runs/proposals/trainval.npz
python -m tools.train_wsddn --config tools/configs/wsddn_lite0.yaml \\
    --proposals runs/proposals/trainval.npz --run-dir runs/wsddn

A quarter of an hour on two cores with 992 pictures on the frozen EfficientNet-Lite0, two thirds of
it for features that are computed once. Then ``python -m tools.evaluate --run-dir runs/wsddn
--proposals FILE`` gives the numbers and the report, and ``python -m tools.detect`` boxes any
pictures.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tools.engine.command import run_command
from tools.engine.settings import DetectorSettings, check_positive
from tools.engine.train_settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class TrainWsddnSettings(TrainSettings):
    """Settings of one training."""

    proposals: Path
    """File of make_proposals with the pictures of --split and --val-split."""

    min_size: float = 20
    """Proposals with a shorter side, in pixels of the picture, are left out."""

    max_proposals: int = 2000
    """So many of a picture are kept, the first of the file, which are the best scored."""

    drop_proposals: float = 0.0
    """Chance of each proposal to be left out of a step; the rest are as good and cost less."""

    resize: Literal["longest_side", "shortest_side"] = "longest_side"
    """Which side of a picture gets the size; the shortest only as far as the longest stays below
    5/3 of the size (600 and 1000 in the 2018 report)."""

    spatial_weight: float = 1e-4
    """Of the regulariser that pulls neighbours of the best proposal towards it; 0 leaves it out."""

    support_iou: float = 0.0
    """In evaluation, overlap from which proposals add to each other's score and move each other's
    box; 0 takes each for itself, as the paper does."""

    from_localizer: Path | None = None
    """Run folder of a localizer that the trunk starts from."""

    model: DetectorSettings = field(default_factory=DetectorSettings)

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        super().__post_init__()
        check_positive(max_proposals=self.max_proposals)
        if min(self.min_size, self.spatial_weight) < 0:
            raise ValueError(
                "--min-size and --spatial-weight are 0 or more, got "
                f"{self.min_size}, {self.spatial_weight}"
            )
        if not 0 <= self.drop_proposals < 1:
            raise ValueError(f"--drop-proposals is in [0, 1), got {self.drop_proposals}")
        if not 0 <= self.support_iou <= 1:
            raise ValueError(f"--support-iou is in [0, 1], got {self.support_iou}")
        if self.from_localizer is not None and (self.pretrained or self.weights):
            raise ValueError(
                "--from-localizer: the trunk starts from it, not from ImageNet weights"
            )

    @property
    def has_trained_trunk(self) -> bool:
        """Whether the trunk starts from weights that have seen pictures."""
        return self.from_localizer is not None or super().has_trained_trunk


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(TrainWsddnSettings, "train_wsddn", argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
