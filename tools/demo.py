"""From labels to boxes on a small synthetic data set, both ways, with a report.

python -m tools.demo --run-dir runs/demo

Draws the images, trains the plain and the robust localizer from scratch, makes proposals, trains a
detector on the plain one's backbone, and evaluates all three on test images; the report is
RUN/localizer/evaluations/test/report.html. Ten minutes on two cores that have bfloat16
instructions, about half an hour on two that have not. A demo that was stopped continues where it
was.
"""

import sys
from collections.abc import Sequence

from tools.cli.command import run_command
from tools.pipelines.settings import DemoSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command("demo", DemoSettings, "tools.pipelines.demo", argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
