"""Train a multi-label classifier: which classes an image holds, and where it sees them.

python -m tools.train_classifier --split train --val-split val --run-dir runs/classifier
python -m tools.train_classifier --config tools/configs/classifier_resnet18_sgd.yaml \
    --split train --val-split val --run-dir runs/resnet18

It is a localizer with other defaults, so every command that takes a localizer takes it: evaluate
(class-wise AP, accuracy, boxes), view_heatmaps, gallery, detect, and ``--rescore-from`` of a
detector. With --model.pooling mean it is a linear layer after average pooling, and its heatmaps are
class activation maps. The epoch of the highest image mAP on --val-split is kept as the best
checkpoint.

Tiles of the rainforest (Planet, "Understanding the Amazon from Space") are read with their labels;
resnet18_two_branch and resnet18_four_channel see their near infrared:

python -m tools.train_classifier --config tools/configs/rainforest_four_channel.yaml \
    --images train-tif-v2 --labels train_v2.csv --run-dir runs/rainforest
"""

from tools.cli.command import Command
from tools.runs.kinds import TrainClassifierSettings

main = Command("train_classifier", TrainClassifierSettings, "tools.training.localizer", __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
