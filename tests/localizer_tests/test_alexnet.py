"""The report's network: its maps, its names, its first weights."""

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from localizer.builders import build_localizer
from localizer.model import Localizer
from localizer.settings import LocalizerSettings

Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def pretrained() -> Weights:
    weights: Weights = models.alexnet(weights=None).state_dict()
    return weights


@pytest.fixture(scope="module")
def network() -> Localizer:
    return build_localizer(LocalizerSettings(), 20)


@pytest.mark.parametrize(("side", "cells"), [(512, 29), (384, 21), (224, 11)])
def test_a_square_image_gives_the_known_number_of_cells(
    network: Localizer, side: int, cells: int
) -> None:
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, side, side)).shape == (1, 20, cells, cells)


def test_cell_i_is_centered_at_pixel_31_plus_16_i(network: Localizer) -> None:
    assert (network.geometry.offset, network.geometry.stride) == (31, 16)


def test_state_dict_names_are_those_of_torchvisions_alexnet(network: Localizer) -> None:
    layers = ["features.0", "features.3", "features.6", "features.8", "features.10"]
    layers += ["classifier.0", "classifier.2", "classifier.4"]
    names = {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    assert set(network.state_dict()) == names


def test_pretrained_weights_fill_the_features_by_name(pretrained: Weights) -> None:
    loaded = build_localizer(LocalizerSettings(), 20, pretrained).state_dict()
    for layer in (0, 3, 6, 8, 10):
        key = f"features.{layer}.weight"
        assert torch.equal(loaded[key], pretrained[key])
    assert loaded["classifier.4.weight"].shape == (20, 256, 1, 1)  # not the pretrained one


def test_weights_start_uniform_within_xaviers_bound(network: Localizer) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            filters, channels, height, width = layer.weight.shape
            bound = (6 / ((filters + channels) * height * width)) ** 0.5
            # the largest of at least 5120 uniform draws is nearly the bound
            assert 0.99 * bound < float(layer.weight.detach().abs().max()) <= bound
            assert not layer.get_parameter("bias").any()


def test_the_robust_network_holds_the_same_weights_by_name(network: Localizer) -> None:
    robust = build_localizer(LocalizerSettings(robust=True), 20)
    robust.load_state_dict(network.state_dict())
    key = "features.0.weight"
    assert torch.equal(robust.state_dict()[key], network.state_dict()[key])


def test_the_number_of_classes_is_that_of_the_maps() -> None:
    with torch.inference_mode():
        network = build_localizer(LocalizerSettings(), 3)
        assert network(torch.zeros(1, 3, 224, 224)).shape[1] == 3


@pytest.mark.usefixtures("rng")
def test_he_weights_keep_the_variance_under_rectifiers() -> None:
    weight = build_localizer(LocalizerSettings(init="he"), 3).state_dict()["features.3.weight"]
    fan_in = weight[0].numel()
    assert float(weight.square().mean() * fan_in) == pytest.approx(2, rel=0.02)  # 307 200 draws


def test_an_unknown_start_is_refused() -> None:
    with pytest.raises(ValueError, match=r"init is one of xavier, .*; got 'zeros'"):
        build_localizer(LocalizerSettings(init="zeros"), 3)  # type: ignore[arg-type]
