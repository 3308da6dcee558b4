"""Train and evaluate every row of the result tables, one after another.

python -m tools.make_results --weights-dir ../weights

A row is one entry of tools/configs/results.yaml with one seed. Its numbers are written into
tools/results/ROW-seedN.json; rows that have a file are skipped, interrupted ones continue. After
each row the tables in tools/results/README.md are written anew from those files. A row takes two to
twenty minutes on two cores, the first one of a frozen backbone ten more for its features.
"""

import sys
from collections.abc import Sequence

from tools.cli.command import run_command
from tools.pipelines.settings import MakeResultsSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(
        "make_results", MakeResultsSettings, "tools.pipelines.results", argv, __doc__
    )


if __name__ == "__main__":
    sys.exit(main())
