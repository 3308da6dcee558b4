"""Networks of four channels: what they take from a network of three, and what they do not."""

import math

import pytest
import torch
from torch import Tensor
from torchvision import models

from localizer.backbones import BACKBONES, load_backbone_weights

HE = math.sqrt(2 / (64 * 7 * 7))  # deviation of the filters of a ResNet's first layer


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """Of a ResNet-18 whose first filters are unlike any initial ones."""
    weights: dict[str, Tensor] = models.resnet18(weights=None).state_dict()
    return weights | {"conv1.weight": torch.full((64, 3, 7, 7), 7.0)}


def loaded(name: str, published: dict[str, Tensor]) -> dict[str, Tensor]:
    features = BACKBONES[name].build()
    load_backbone_weights(features, BACKBONES[name], published)
    weights: dict[str, Tensor] = features.state_dict()
    return weights


def test_every_filter_of_four_channels_has_its_own_fourth_channel(
    published: dict[str, Tensor],
) -> None:
    weights = loaded("resnet18_four_channel", published)

    filters = weights.pop("conv1.weight")  # [64, 4, 7, 7]
    assert torch.equal(filters[:, :3], published["conv1.weight"])  # the last filter's, too
    assert filters[:, 3].std().item() == pytest.approx(HE, rel=0.1)
    deviations = filters[:, 3].flatten(1).std(dim=1)
    assert ((deviations > HE / 2) & (deviations < 2 * HE)).all()
    for key, weight in weights.items():
        assert torch.equal(weight, published[key]), key


def test_both_branches_are_published_but_for_the_first_layer_of_near_infrared(
    published: dict[str, Tensor],
) -> None:
    weights = loaded("resnet18_two_branch", published)

    first = weights.pop("near_infrared.conv1.weight")
    assert first.shape == (64, 1, 7, 7)
    assert first.std().item() == pytest.approx(HE, rel=0.1)
    for key, weight in weights.items():
        branch, _, own = key.partition(".")
        assert branch in ("rgb", "near_infrared")
        assert torch.equal(weight, published[own]), key


@pytest.mark.parametrize("channel", range(4))
def test_a_branch_sees_its_channels_alone(channel: int) -> None:
    network = BACKBONES["resnet18_two_branch"].build().eval()
    image = torch.randn(1, 4, 64, 64)
    other = image.clone()
    other[:, channel] += 1

    with torch.inference_mode():
        changed = (network(image) != network(other)).flatten(2).any(dim=2)[0]  # [1024]

    assert changed[:512].any() == (channel < 3)
    assert changed[512:].any() == (channel == 3)


@pytest.mark.parametrize("name", ["resnet18_two_branch", "resnet18_four_channel"])
@pytest.mark.parametrize("build", [models.resnet50, models.alexnet])
def test_weights_of_another_network_are_refused(name: str, build: object) -> None:
    assert callable(build)
    with pytest.raises(ValueError, match="the state dictionary"):
        loaded(name, build(weights=None).state_dict())
