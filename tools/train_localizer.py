"""Train a localizer from image-level labels.

python -m tools.train_localizer --config tools/configs/localizer_lite0.yaml --run-dir runs/lite0

About ten minutes on two cores with 992 images, most of them to compute the features of the frozen
backbone, which is done once.
Then ``python -m tools.evaluate --run-dir runs/lite0 --split test`` gives the numbers and the
report. Of one's own images (--images, --labels) a fifth is held out to validate each epoch.
"""

from tools.cli.command import Command
from tools.runs.kinds import TrainLocalizerSettings

main = Command("train_localizer", TrainLocalizerSettings, "tools.training.localizer", __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
