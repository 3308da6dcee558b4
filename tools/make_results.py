"""Train and evaluate every row of the README's tables, one after another.

python -m tools.make_results --weights-dir ../weights

A row is one line of tools/configs/results.yaml with one seed. What it reaches goes into
tools/results/ROW-seedN.json; rows that have a file are skipped, broken ones go on where they
were. After each row the tables of README.md are written anew from those files. A row takes two to
twenty minutes on two cores, the first one of a frozen trunk ten more for its features.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.engine.command import run_command
from tools.engine.settings import default_voc_root


@dataclass(frozen=True)
class MakeResultsSettings:
    """Settings of the run over all rows."""

    voc_root: Path | None = field(default_factory=default_voc_root)
    """Folder that holds VOC2007; $VOC_ROOT when not given."""

    weights_dir: Path | None = None
    """Folder with TRUNK*.pth files to use instead of downloads."""

    runs: Path = Path("runs/results")
    """Folder for the rows' runs."""

    only: str = ""
    """Only rows whose name begins so; empty for all."""

    tables_only: bool = False
    """Write the tables from the files that are there, train nothing."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(MakeResultsSettings, "make_results", argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
