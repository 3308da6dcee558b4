"""One builder for all localizers: the report's head on AlexNet, a 1x1 convolution on others."""

import math
from collections.abc import Mapping

from torch import Tensor, nn

from localizer.alexnet import localizer_alexnet
from localizer.model import Localizer, SquareRoot
from localizer.trunks import TRUNKS, load_trunk_weights

ROBUST_DROPOUT = 0.5  # share of the channels that a robust 1x1 head drops; AlexNet has its own
CLASS_PRIOR = 0.05  # a class is in about one picture of twenty; heads start from there


def build_localizer(
    trunk: str,
    num_classes: int,
    *,
    pooling: str = "max",
    pooling_value: float = 0.0,
    robust: bool = False,
    init: str = "xavier",
    state_dict: Mapping[str, Tensor] | None = None,
) -> Localizer:
    """A localizer on a trunk of ``localizer.trunks``.

    A head of one 1x1 convolution begins by taking the square root of the features and removing mean
    and deviation of each channel, measured while training. Trunks differ a hundredfold in the size
    of their features, and so do channels; the root keeps single peaks from deciding alone, so maps
    cover more.

    Args:
        trunk: a key of ``TRUNKS``.
        num_classes: C.
        pooling: a key of ``localizer.pooling.POOLINGS``.
        pooling_value: its sharpness or share of cells.
        robust: drop a share of the channels while training.
        init: of AlexNet's new layers, see ``localizer_alexnet``; others start as torch does.
        state_dict: published weights of the trunk, None for random ones.

    Raises:
        ValueError: an unknown trunk or pooling, or weights that are not the trunk's.
    """
    if trunk not in TRUNKS:
        raise ValueError(f"trunk is one of {', '.join(TRUNKS)}; got {trunk!r}")
    if trunk == "alexnet":
        return localizer_alexnet(
            state_dict,
            num_classes,
            robust=robust,
            pooling=pooling,
            pooling_value=pooling_value,
            init=init,
        )
    row = TRUNKS[trunk]
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
        load_trunk_weights(model.features, row, state_dict)
    return model
