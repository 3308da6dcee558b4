"""Train a WSDDN detector from image-level labels and a file of proposals.

python -m tools.make_proposals --split trainval --out runs/proposals/trainval.npz
python -m tools.train_wsddn --proposals runs/proposals/trainval.npz --run-dir runs/wsddn

A quarter of an hour on two cores with 992 images on the frozen EfficientNet-Lite0, two thirds of
it for features that are computed once. Then ``python -m tools.evaluate --run-dir runs/wsddn
--split test --proposals FILE`` gives the numbers and the report, and ``python -m tools.detect``
boxes any images.
"""

from tools.cli.command import Command
from tools.runs.kinds import TrainWsddnSettings

main = Command("train_wsddn", TrainWsddnSettings, "tools.training.wsddn", __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
