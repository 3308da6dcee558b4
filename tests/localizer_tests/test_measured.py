"""Offsets that are measured: those of the known backbones, and those of layers by hand."""

import pytest
import torch
from torch import Tensor, nn

from localizer.backbones import BACKBONES
from localizer.measured import measured_offset


@pytest.mark.parametrize("name", BACKBONES)
def test_what_is_measured_of_a_known_backbone_is_what_is_written(name: str) -> None:
    backbone = BACKBONES[name]
    geometry, network = backbone.geometry, backbone.build().eval()
    measured = measured_offset(network, geometry.stride, channels=backbone.input_channels)
    assert measured == geometry.offset


class Gated(nn.Module):
    """Each channel times a gate that sees the whole image."""

    def forward(self, features: Tensor) -> Tensor:
        return features * features.mean(dim=(2, 3), keepdim=True).sigmoid()


class Attending(nn.Module):
    """Tokens that see all others, beside themselves."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.linear = nn.Linear(channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        tokens = self.linear(self.norm(features.flatten(2).mT))
        seen = nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)
        return features + seen.mT.reshape(features.shape)


@pytest.mark.parametrize(
    ("layers", "stride", "offset"),
    [
        ([nn.Conv2d(3, 4, 16, stride=16)], 16, 7.5),  # a patch covers pixels 0 .. 15
        ([nn.Conv2d(3, 4, 3, stride=2, padding=1)], 2, 0),
        ([nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(4, 4, 2, stride=2)], 4, 2),  # 1 + half of 2
        ([nn.Conv2d(3, 4, 4, stride=4), nn.MaxPool2d(3, stride=2, padding=1)], 8, 1.5),
        ([nn.Conv2d(3, 4, 4, stride=4), nn.MaxPool2d(2)], 8, 3.5),
        ([nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.AvgPool2d(2)], 4, 1),
        ([nn.Conv2d(3, 4, 4, stride=4), nn.AvgPool2d(13, stride=1, padding=6)], 4, 1.5),
        ([nn.Conv2d(3, 4, 4, stride=4), nn.Conv2d(4, 4, 3, padding=2, dilation=2)], 4, 1.5),
        ([nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), Gated()], 2, 0),
        ([nn.Conv2d(3, 4, 8, stride=8), Attending(4)], 8, 3.5),
    ],
)
def test_an_offset_is_that_of_the_windows(
    layers: list[nn.Module], stride: int, offset: float
) -> None:
    assert measured_offset(nn.Sequential(*layers).eval(), stride) == offset


def test_measuring_leaves_a_network_as_it_was() -> None:
    network = BACKBONES["resnet18"].build().eval()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}

    measured_offset(network, 32)

    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
    assert all(weight.grad is None for weight in network.parameters())


class Apart(nn.Module):
    """Two paths, of which the second lies half a pixel farther."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        pooled = nn.functional.avg_pool2d(images, 2).mean(dim=1, keepdim=True)
        seen: Tensor = self.conv(images) + pooled
        return seen


@pytest.mark.parametrize(
    ("network", "stride"),
    [
        (nn.Conv2d(3, 4, 4, stride=4), 8),
        (nn.Conv2d(3, 4, (4, 3), stride=4), 4),  # 1.5 in rows, 1 in columns
        (Apart(), 2),  # 0 and .5, which count the same
        (nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.Softmax(dim=1)), 4),  # of equal values
    ],
    ids=["another stride", "other columns", "between the halves", "no pixel counts"],
)
def test_cells_that_lie_on_no_grid_are_refused(network: nn.Module, stride: int) -> None:
    with pytest.raises(ValueError, match=f"on no grid of stride {stride}: strides .* offsets"):
        measured_offset(network, stride)
