"""What every training does around its model."""

from pathlib import Path

import pytest
from torch import nn

from tools.runs.kinds import TrainLocalizerSettings
from tools.training.run import training_mode


@pytest.mark.parametrize("is_trained", [False, True])
def test_batch_norms_of_a_trained_backbone_alone_keep_their_statistics(is_trained: bool) -> None:
    backbone = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    model = nn.Sequential(backbone, nn.BatchNorm2d(1)).eval()

    training_mode(TrainLocalizerSettings(run_dir=Path(), pretrained=is_trained), model, backbone)

    assert [module.training for module in (*backbone, model[1])] == [True, not is_trained, True]
