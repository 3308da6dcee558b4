"""One builder for all localizers: the report's head on AlexNet, a 1x1 convolution on others."""

import math
from collections.abc import Mapping

from torch import Tensor, nn

from localizer.alexnet import localizer_alexnet
from localizer.backbones import backbone_named, load_backbone_weights
from localizer.model import Localizer, SignedRoot, SquareRoot
from localizer.settings import LocalizerSettings

ROBUST_DROPOUT = 0.5  # fraction of the channels that a robust 1x1 head drops; AlexNet has its own
CLASS_PRIOR = 0.05  # a class is in about one image of twenty; heads start from there


def build_localizer(
    settings: LocalizerSettings, num_classes: int, state_dict: Mapping[str, Tensor] | None = None
) -> Localizer:
    """A localizer on a backbone of ``localizer.backbones``.

    A head of one 1x1 convolution begins by taking the square root of the features and removing mean
    and deviation of each channel, measured while training. Backbones differ a hundredfold in the
    size of their features, and so do channels; the root lowers single peaks, so maps cover more.
    Features of timm's models that are not rectified keep their sign.

    Args:
        settings: backbone, pooling, robustness.
        num_classes: C.
        state_dict: pretrained weights of the backbone, None for random ones.

    Raises:
        ValueError: an unknown backbone, pooling or initializer, or weights that are not the
            backbone's; names them.
    """
    backbone = backbone_named(settings.backbone)
    if settings.backbone == "alexnet":
        model = localizer_alexnet(settings, num_classes)
    else:
        last = nn.Conv2d(backbone.channels, num_classes, kernel_size=1)
        nn.init.constant_(last.get_parameter("bias"), math.log(CLASS_PRIOR / (1 - CLASS_PRIOR)))
        root = SquareRoot() if backbone.rectified else SignedRoot()
        normalize = nn.Sequential(root, nn.BatchNorm2d(backbone.channels, affine=False))
        head, geometry = nn.Sequential(last), backbone.geometry
        model = Localizer(backbone, normalize, head, geometry, settings, ROBUST_DROPOUT)
    if state_dict is not None:
        load_backbone_weights(model.features, backbone, state_dict)
    return model
