"""Train a localizer from image-level labels.

python -m tools.train_localizer --config tools/configs/localizer_lite0.yaml --run-dir runs/lite0

About ten minutes on two cores with 992 images, most of them to compute the features of the frozen
backbone, which is done once.
Then ``python -m tools.evaluate --run-dir runs/lite0`` gives the numbers and the report.
"""

import sys
from collections.abc import Sequence

from tools.cli.command import run_command
from tools.runs.settings import TrainLocalizerSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(
        "train_localizer", TrainLocalizerSettings, "tools.training.localizer", argv, __doc__
    )


if __name__ == "__main__":
    sys.exit(main())
