"""Batch norms folded into convolutions: the same features, fewer layers."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from localizer.backbones import backbone_named
from localizer.folding import fold_batch_norms
from localizer.weight_standardization import standardize

NAMES = ("alexnet", "resnet18", "efficientnet_lite0", "timm:resnetv2_50", "timm:convnext_atto")


def norms_of(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]


def with_statistics(model: nn.Module, rng: torch.Generator) -> nn.Module:
    """Batch norms that do something."""
    for norm in norms_of(model):
        for numbers in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
            if numbers is not None:
                numbers.data.copy_(torch.rand(numbers.shape, generator=rng) + 0.5)
    return model


@pytest.mark.parametrize("name", NAMES)
def test_folded_features_are_the_same_to_rounding(name: str, rng: torch.Generator) -> None:
    model = with_statistics(backbone_named(name).build(), rng).train()
    before = copy.deepcopy(model.state_dict())
    folded, images = fold_batch_norms(model), torch.randn(2, 3, 96, 64, generator=rng)
    assert model.training
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
    with torch.inference_mode():
        expected = model.eval()(images)
        torch.testing.assert_close(
            folded(images), expected, rtol=0, atol=float(1e-5 * expected.abs().max())
        )


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0"])
def test_no_batch_norm_is_left_of_a_backbone_of_convolutions(name: str) -> None:
    assert not norms_of(fold_batch_norms(backbone_named(name).build()))


class WithCondition(nn.Module):
    """Its path depends on the values, which no graph shows."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.layers(images)
        return features if features.mean() > 0 else -features


@pytest.mark.parametrize(
    "model",
    [
        WithCondition(),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
        nn.Sequential(parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)),
        standardize(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))),
    ],
    ids=["no_graph", "no_statistics", "computed_filters", "divided_filters"],
)
def test_what_cannot_be_folded_stays(model: nn.Module, rng: torch.Generator) -> None:
    folded, images = fold_batch_norms(model), torch.randn(1, 3, 8, 8, generator=rng)
    assert len(norms_of(folded)) == 1
    with torch.inference_mode():
        assert torch.equal(folded(images), model.eval()(images))
