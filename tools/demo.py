"""From labels to boxes on a small synthetic world, both ways, with a report.

python -m tools.demo --run-dir runs/demo

Draws the world, trains the plain and the robust localizer from scratch, makes proposals, trains a
detector on the plain one's trunk, evaluates all three on test pictures, and writes report.html and
report.json into the run's folder. Under ten minutes on two cores. A demo that was stopped goes on
where it was.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.engine.command import run_command
from tools.engine.settings import check_positive


@dataclass(frozen=True)
class DemoSettings:
    """Settings of the demo."""

    run_dir: Path = Path("runs/demo")
    """Folder for the world, the trainings and the report."""

    num_train: int = 600
    """Pictures to learn from."""

    num_test: int = 150
    """Pictures to evaluate on."""

    epochs: int = 0
    """Length of each training; 0 for that of tools/configs/demo.yaml."""

    seed: int = 0
    """Of the world and of all trainings."""

    def __post_init__(self) -> None:
        """Refuse an empty world."""
        check_positive(num_train=self.num_train, num_test=self.num_test)
        if self.epochs < 0 or self.seed < 0:
            raise ValueError(f"--epochs and --seed are 0 or more, got {self.epochs}, {self.seed}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(DemoSettings, "demo", argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
