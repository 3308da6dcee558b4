"""ResNets for four channels, RGB and near infrared, that start from weights of a ResNet for RGB.

The layers that see near infrared have no published weights and keep their initial ones.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

FIRST = "conv1.weight"
RGB, NEAR_INFRARED = slice(0, 3), slice(3, 4)  # of the channels

Weights = Mapping[str, Tensor]


class TwoBranch(nn.Module):
    """One network for RGB, one for near infrared; their feature maps are concatenated."""

    def __init__(self, build: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.rgb = build()
        self.near_infrared = with_first_layer(build(), channels=1)

    def forward(self, images: Tensor) -> Tensor:
        """``[B, 4, H, W]`` to ``[B, 2K, h, w]``."""
        maps = self.rgb(images[:, RGB]), self.near_infrared(images[:, NEAR_INFRARED])
        return torch.cat(maps, dim=1)


def with_first_layer(resnet: nn.Module, *, channels: int) -> nn.Module:
    """The network with a first layer for another number of channels, initialized as a ResNet's."""
    first = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
    resnet.add_module("conv1", first)
    return resnet


def weights_of_two_branches(own: Weights, published: Weights) -> Weights:
    """Both branches as published, but for the first layer of near infrared.

    Args:
        own: initial weights of a ``TwoBranch``.
        published: of a ResNet for RGB.
    """
    first = f"near_infrared.{FIRST}"
    branches = {
        f"{branch}.{key}": weight
        for branch in ("rgb", "near_infrared")
        for key, weight in published.items()
    }
    return {**branches, first: own[first]}


def weights_of_four_channels(own: Weights, published: Weights) -> Weights:
    """The network as published; its filters ``[K, 4, k, k]`` of near infrared are its own.

    Args:
        own: initial weights of a ResNet for four channels.
        published: of a ResNet for RGB.
    """
    filters = published.get(FIRST)
    if filters is None or filters.shape != own[FIRST][:, RGB].shape:
        return published  # of another network, which the caller refuses
    return {**published, FIRST: torch.cat([filters, own[FIRST][:, NEAR_INFRARED]], dim=1)}
