"""One builder for all localizers: the report's head on AlexNet, a 1x1 convolution on others."""

import math
from collections.abc import Mapping

from torch import Tensor, nn

from localizer.alexnet import localizer_alexnet
from localizer.backbones import BACKBONES, load_backbone_weights
from localizer.model import Localizer, SquareRoot

ROBUST_DROPOUT = 0.5  # fraction of the channels that a robust 1x1 head drops; AlexNet has its own
CLASS_PRIOR = 0.05  # a class is in about one image of twenty; heads start from there


def build_localizer(
    backbone: str,
    num_classes: int,
    *,
    pooling: str = "max",
    pooling_value: float = 0.0,
    robust: bool = False,
    init: str = "xavier",
    state_dict: Mapping[str, Tensor] | None = None,
) -> Localizer:
    """A localizer on a backbone of ``localizer.backbones``.

    A head of one 1x1 convolution begins by taking the square root of the features and removing mean
    and deviation of each channel, measured while training. Backbones differ a hundredfold in the
    size of their features, and so do channels; the root lowers single
    peaks, so maps cover more.

    Args:
        backbone: a key of ``BACKBONES``.
        num_classes: C.
        pooling: a key of ``localizer.pooling.POOLINGS``.
        pooling_value: its sharpness or fraction of cells.
        robust: drop a fraction of the channels while training.
        init: of AlexNet's new layers, see ``localizer_alexnet``; others start as torch does.
        state_dict: pretrained weights of the backbone, None for random ones.

    Raises:
        ValueError: an unknown backbone or pooling, or weights that are not the backbone's.
    """
    if backbone not in BACKBONES:
        raise ValueError(f"backbone is one of {', '.join(BACKBONES)}; got {backbone!r}")
    if backbone == "alexnet":
        return localizer_alexnet(
            state_dict,
            num_classes,
            robust=robust,
            pooling=pooling,
            pooling_value=pooling_value,
            init=init,
        )
    row = BACKBONES[backbone]
    last = nn.Conv2d(row.channels, num_classes, kernel_size=1)
    nn.init.constant_(last.get_parameter("bias"), math.log(CLASS_PRIOR / (1 - CLASS_PRIOR)))
    model = Localizer(
        row,
        nn.Sequential(SquareRoot(), nn.BatchNorm2d(row.channels, affine=False)),
        nn.Sequential(last),
        row.geometry,
        pooling=pooling,
        pooling_value=pooling_value,
        channel_dropout=ROBUST_DROPOUT if robust else 0.0,
    )
    if state_dict is not None:
        load_backbone_weights(model.features, row, state_dict)
    return model
