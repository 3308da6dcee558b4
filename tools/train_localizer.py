"""Train a localizer from image-level labels.

python -m tools.train_localizer --config tools/configs/localizer_lite0.yaml --run-dir runs/lite0

About ten minutes on two cores with 992 pictures, most of them to compute the features of the frozen
trunk, which is done once.
Then ``python -m tools.evaluate --run-dir runs/lite0`` gives the numbers and the report.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tools.engine.command import run_command
from tools.engine.settings import BoxSettings, ModelSettings
from tools.engine.train_settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class TrainLocalizerSettings(TrainSettings):
    """Settings of one training."""

    resize: Literal["square", "longest_side"] = "square"
    """Which side of a picture gets the size: both, or the longest, which keeps proportions.
    Heatmaps are those of the first size, image scores the mean over all."""

    model: ModelSettings = field(default_factory=ModelSettings)

    boxes: BoxSettings = field(default_factory=BoxSettings)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(TrainLocalizerSettings, "train_localizer", argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
