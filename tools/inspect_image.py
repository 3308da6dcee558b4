"""Look at one picture of a data set: where it lies, what it holds, its boxes drawn.

python -m tools.inspect_image --split trainval --index 2018

Prints name, file, size, classes and every object, and writes the picture with its boxes to --out
and, if asked, to visdom. With --proposals FILE the picture is drawn once more, with its ten best
proposals. Of VOC it works without the pictures, too: lists and XML are enough for the words.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.engine.command import run_command
from tools.engine.settings import LabelSettings, VisdomSettings


@dataclass(frozen=True, kw_only=True)
class InspectImageSettings(LabelSettings):
    """Settings of one look."""

    split: str = "trainval"
    """List that the picture is in."""

    index: int = 0
    """Its number in the list, from 0."""

    out: Path = Path("runs/inspected.jpg")
    """File for the picture with its boxes."""

    proposals: Path | None = None
    """File of proposals; the ten best are drawn into OUT_proposals.jpg."""

    visdom: VisdomSettings = field(default_factory=VisdomSettings)

    def __post_init__(self) -> None:
        """Refuse numbers that no list has."""
        super().__post_init__()
        if self.index < 0:
            raise ValueError(f"--index is 0 or more, got {self.index}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(InspectImageSettings, "inspect_image", argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
