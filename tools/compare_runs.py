"""Compare finished runs: a table for the terminal, for a README and for a browser, and curves.

python -m tools.compare_runs --runs "[runs/lite0, runs/lite0_robust, runs/wsddn]" --out runs/compare

Reads the report.json and metrics.jsonl that evaluate and the trainings wrote; no model is loaded.
Writes compare.html (table and overlaid curves), compare.md and compare.json, and prints the table.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.engine.command import run_command


@dataclass(frozen=True, kw_only=True)
class CompareRunsSettings:
    """Settings of one comparison."""

    runs: tuple[Path, ...]
    """Run folders, or folders of reports, each with a report.json."""

    out: Path
    """Folder for the files."""

    curves: str = ""
    """Only curves whose name holds this, such as train/ or corloc; all when empty."""

    def __post_init__(self) -> None:
        """Refuse a comparison of nothing."""
        if not self.runs:
            raise ValueError("--runs: name one run or more")
        if len(set(self.runs)) < len(self.runs):
            raise ValueError("--runs: one is named twice")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(CompareRunsSettings, "compare_runs", argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
