"""Score a stored evaluation's images once more and compare with what was stored.

python -m tools.check_reproduction --run-dir runs/lite0 --split test

Opens the run as evaluate did, with the checkpoint, sizes, proposals and rescoring that report.json
tells, and prints AP stored and anew, the mean and the largest difference of the image scores, and
the largest of the detections' scores. A run that stood --beside is checked with the one that was
named first. The code is evaluate's; features of frozen backbones are computed anew in $TMPDIR, and
nothing is written into the run. It takes as long as an evaluation without cached features.

Ends with 0 if no score differs by more than --tolerance; on the same machine the last line says
0.0. Ends with 1 otherwise: lines say what has changed since then (weights, libraries, threads), and
the last one names the image and the class that differ most. Ends with 2 if there is no such
evaluation, or if images or classes are others.
"""

from tools.cli.command import Command
from tools.evaluation.settings import CheckReproductionSettings

main = Command(
    "check_reproduction", CheckReproductionSettings, "tools.evaluation.reproduction", __doc__
)

if __name__ == "__main__":
    raise SystemExit(main())
