"""The report's networks: AlexNet without its last pooling, and a small convolutional classifier."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from localizer.backbones import BACKBONES, Geometry, load_backbone_weights
from localizer.model import Localizer

INITIALIZERS: dict[str, Callable[[Tensor], Tensor]] = {
    "xavier": nn.init.xavier_uniform_,  # Glorot and Bengio, 2010
    "he": nn.init.kaiming_normal_,  # He et al., 2015
}

# Fraction of the channels that the robust variant drops. The whole network learns with it: on the
# synthetic data set half of them cost 9 points of image mAP, a fifth costs one and covers nearly as
# much.
ROBUST_DROPOUT = 0.2


class LocalizerAlexNet(Localizer):
    """512x512 in, C heatmaps of 29x29 out (384 gives 21x21, 224 gives 11x11).

    State-dict names are ``features.{0,3,6,8,10}`` and ``classifier.{0,2,4}``, so ImageNet
    weights of torchvision's AlexNet load by name. Cell (i, j) is centered at pixel index 31 + 16 i.
    """

    def __init__(
        self,
        num_classes: int = 20,
        *,
        pooling: str = "max",
        pooling_value: float = 0.0,
        channel_dropout: float = 0.0,
    ) -> None:
        backbone = BACKBONES["alexnet"]
        classifier = nn.Sequential(
            nn.Conv2d(
                backbone.channels, 256, kernel_size=3
            ),  # no padding: one cell less on each side
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, kernel_size=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, num_classes, kernel_size=1),
        )
        stride, offset = backbone.geometry.stride, backbone.geometry.offset
        super().__init__(
            backbone,
            nn.Identity(),
            classifier,
            Geometry(stride, offset + stride),
            pooling=pooling,
            pooling_value=pooling_value,
            channel_dropout=channel_dropout,
        )


class LocalizerAlexNetRobust(LocalizerAlexNet):
    """The same network, trained while a fifth of conv5's channels are dropped at random.

    A class must then depend on many channels, so its map covers more of the object than the most
    salient part. Heatmaps are not dropped: a cell set to 0 would exceed negative logits, and a
    dropped class map would ignore its label.
    """

    def __init__(
        self,
        num_classes: int = 20,
        *,
        pooling: str = "max",
        pooling_value: float = 0.0,
        channel_dropout: float = ROBUST_DROPOUT,
    ) -> None:
        super().__init__(
            num_classes,
            pooling=pooling,
            pooling_value=pooling_value,
            channel_dropout=channel_dropout,
        )


def localizer_alexnet(
    state_dict: Mapping[str, Tensor] | None = None,
    num_classes: int = 20,
    *,
    robust: bool = False,
    pooling: str = "max",
    pooling_value: float = 0.0,
    init: str = "xavier",
) -> LocalizerAlexNet:
    """Build the plain or the robust network.

    Args:
        state_dict: ImageNet weights of torchvision's AlexNet for the features; None starts all
            layers as ``init`` says.
        num_classes: C.
        robust: drop channels while training.
        pooling: a key of ``localizer.pooling.POOLINGS``.
        pooling_value: its sharpness or fraction of cells.
        init: a key of ``INITIALIZERS`` for the layers that no weights are given for. Xavier is
            the report's; from scratch He learns several times faster under rectifiers.

    Raises:
        ValueError: the weights are not AlexNet's (names the keys), or an unknown ``init``.
    """
    kind = LocalizerAlexNetRobust if robust else LocalizerAlexNet
    model = kind(num_classes, pooling=pooling, pooling_value=pooling_value)
    if init not in INITIALIZERS:
        raise ValueError(f"init is one of {', '.join(INITIALIZERS)}; got {init!r}")
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            INITIALIZERS[init](layer.weight)
            nn.init.zeros_(layer.get_parameter("bias"))
    if state_dict is not None:
        load_backbone_weights(model.features, model.backbone, state_dict)
    return model
