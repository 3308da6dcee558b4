"""From labels to boxes on a small synthetic data set, both ways, with a report.

python -m tools.demo --run-dir runs/demo

Draws the images, trains the plain and the robust localizer from scratch, makes proposals, trains a
detector on the plain one's backbone, and evaluates all three on test images; the report is
RUN/localizer/evaluations/test/report.html. Ten minutes on two cores that have bfloat16
instructions, a quarter of an hour on two that have not. A demo that was stopped continues where it
was.
"""

from tools.cli.command import Command
from tools.pipelines.settings import DemoSettings

main = Command("demo", DemoSettings, "tools.pipelines.demo", __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
