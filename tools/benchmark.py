"""Measure what the project says of its own speed, as ratios within one run.

python -m tools.benchmark --what proposals
python -m tools.benchmark --what detector_step

Seconds differ from machine to machine and with what else it does; what is compared here takes turns
picture by picture, so the ratios travel. proposals: CPU time of making proposals beside that of
"fast" selective search at full size, and how much faster two processes are than one; about two
minutes on two cores that should be idle. detector_step: CPU time of one training step on AlexNet at
688 pixels and 2000 proposals beside the plain way of PyTorch ports; about three minutes.
detector_memory: peak memory of steps on VGG-16 at 1200 pixels and up to 4000 proposals.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tools.engine.command import run_command
from tools.engine.settings import LabelSettings


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings(LabelSettings):
    """Settings of one measurement."""

    what: Literal["proposals", "detector_step", "detector_memory"] = "proposals"
    """What is measured."""

    split: str = "test"
    """List that pictures are taken from."""

    pictures: int = 0
    """How many, from the beginning of the list; 0 for 40, 3 and 1."""

    out: Path = Path("runs/benchmark.json")
    """File for the numbers."""

    def __post_init__(self) -> None:
        """Refuse no pictures."""
        super().__post_init__()
        if self.pictures < 0:
            raise ValueError(f"--pictures is 0 or more, got {self.pictures}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(BenchmarkSettings, "benchmark", argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
