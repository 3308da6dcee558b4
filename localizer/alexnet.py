"""The report's network: AlexNet without its last pooling, and a small convolutional classifier.

``LocalizerAlexNet``, and ``LocalizerAlexNetRobust`` whose settings say ``robust``.
"""

from collections.abc import Callable

from torch import Tensor, nn

from localizer.backbones import BACKBONES, Geometry
from localizer.model import Localizer
from localizer.settings import LocalizerSettings

INITIALIZERS: dict[str, Callable[[Tensor], Tensor]] = {
    "xavier": nn.init.xavier_uniform_,  # Glorot and Bengio, 2010
    "he": nn.init.kaiming_normal_,  # He et al., 2015
}

# Fraction of the channels that the robust variant drops. The whole network learns with it: on the
# synthetic data set half of them cost 9 points of image mAP, a fifth costs one and covers nearly as
# much.
ROBUST_DROPOUT = 0.2


def localizer_alexnet(settings: LocalizerSettings, num_classes: int = 20) -> Localizer:
    """512x512 in, C heatmaps of 29x29 out (384 gives 21x21, 224 gives 11x11).

    State-dict names are ``features.{0,3,6,8,10}`` and ``classifier.{0,2,4}``, so ImageNet
    weights of torchvision's AlexNet load by name. Cell (i, j) is centered at pixel index 31 + 16 i.

    Args:
        settings: pooling, robustness, and a key of ``INITIALIZERS`` for the first weights of all
            layers. Xavier is the report's; from scratch He learns several times faster under
            rectifiers.
        num_classes: C.

    Raises:
        ValueError: an unknown pooling or initializer.
    """
    if settings.init not in INITIALIZERS:
        raise ValueError(f"init is one of {', '.join(INITIALIZERS)}; got {settings.init!r}")
    backbone = BACKBONES["alexnet"]
    classifier = nn.Sequential(
        nn.Conv2d(backbone.channels, 256, kernel_size=3),  # no padding: a cell less on each side
        nn.ReLU(inplace=True),
        nn.Conv2d(256, 256, kernel_size=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(256, num_classes, kernel_size=1),
    )
    stride, offset = backbone.geometry.stride, backbone.geometry.offset
    geometry = Geometry(stride, offset + stride)
    model = Localizer(backbone, nn.Identity(), classifier, geometry, settings, ROBUST_DROPOUT)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            INITIALIZERS[settings.init](layer.weight)
            nn.init.zeros_(layer.get_parameter("bias"))
    return model
