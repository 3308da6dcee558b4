"""Detectors on every backbone: their parts, and the pretrained weights that they take."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.ops import roi_pool

from localizer.backbones import BACKBONES
from wsddn.builders import PRETRAINED, PRETRAINED_WIDTH, build_wsddn
from wsddn.model import WSDDN
from wsddn.rois import pool_cells, roi_cells
from wsddn.settings import DetectorSettings

Weights = dict[str, Tensor]


def paper(backbone: str, **options: Any) -> DetectorSettings:
    return DetectorSettings(backbone, **{"width": PRETRAINED_WIDTH, "pool_size": 6, **options})


def small(backbone: str = "alexnet", state_dict: Weights | None = None, **options: Any) -> WSDDN:
    settings = DetectorSettings(backbone, width=8, pool_size=2, **options)
    return build_wsddn(settings, 3, state_dict)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_detector_on_every_backbone_scores_its_proposals(name: str, rng: torch.Generator) -> None:
    model = small(name).eval()
    image = torch.randn(1, model.backbone.input_channels, 96, 64, generator=rng)
    rois = torch.tensor([[0.0, 0, 30, 30], [10.0, 20, 60, 90], [0.0, 0, 64, 96]])

    with torch.inference_mode():
        output = model(image, rois)

    assert output.class_logits.shape == output.detection_logits.shape == (3, 3)
    assert output.fc7.shape == (3, 8)
    assert output.class_logits.isfinite().all()
    assert output.detection_logits.isfinite().all()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"backbone": "lenet"}, r"backbone is one of alexnet, .*; got 'lenet'"),
        ({"offset_fraction": -0.1}, "offset-fraction .* got -0.1"),
        ({"offset_fraction": 1.1}, "offset-fraction .* got 1.1"),
        ({"offset_fraction": math.nan}, "offset-fraction .* got nan"),
        ({"temperature": 0.0}, "temperature is above 0"),
        ({"dropout": 1.0}, "dropout is in"),
        ({"frozen_layers": -1}, "frozen-layers .* got -1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        small(**options)


# Where the cells lie


@pytest.mark.parametrize(
    ("fraction", "offset"),
    [(1.0, 15.0), (0.0, -0.5), (0.5, 7.25)],  # 15.5 pixels from the corner: all, none, half
)
def test_cells_are_moved_by_a_fraction_of_the_backbones_offset(
    fraction: float, offset: float
) -> None:
    geometry = small(offset_fraction=fraction).head.geometry

    assert (geometry.stride, geometry.offset) == (16, offset)


def rois_between_ties(count: int, rng: torch.Generator) -> Tensor:
    """Rois none of whose coordinates lies in the middle between multiples of 16."""
    corner = torch.rand(count, 2, generator=rng) * 300
    rois = torch.cat([corner, corner + 20 + torch.rand(count, 2, generator=rng) * 130], dim=1)
    distance = ((rois / 16) % 1 - 0.5).abs()
    return rois[(distance > 1e-3).all(dim=1)]  # 1e-3: far above the rounding of a division


def test_without_offset_rois_take_the_cells_and_features_of_plain_pooling(
    rng: torch.Generator,
) -> None:
    rois = rois_between_ties(200, rng)
    features = torch.randn(1, 3, 30, 30, generator=rng)
    cells = roi_cells(rois, small(offset_fraction=0.0).head.geometry, (30, 30))

    assert len(rois) > 150
    assert cells.equal((rois / 16).round().long())
    assert pool_cells(features, cells, 6).equal(roi_pool(features, [rois], 6, spatial_scale=1 / 16))


# What does not learn


@pytest.mark.parametrize(
    ("count", "frozen"),
    [
        (0, []),
        (1, ["features.0.weight", "features.0.bias"]),
        (2, [f"features.{layer}.{kind}" for layer in (0, 3) for kind in ("weight", "bias")]),
    ],
)
def test_the_first_convolutions_do_not_learn(count: int, frozen: list[str]) -> None:
    model = small(frozen_layers=count)

    fixed = [name for name, weight in model.named_parameters() if not weight.requires_grad]
    assert fixed == frozen


# Pretrained weights


@pytest.fixture(scope="module")
def alexnet_weights() -> Weights:
    weights: Weights = models.alexnet(weights=None).state_dict()
    return weights


def test_alexnets_pretrained_backbone_fc6_and_fc7_are_taken_by_name(
    alexnet_weights: Weights,
) -> None:
    model = build_wsddn(paper("alexnet"), 3, alexnet_weights)

    layers = {
        "features.0": model.features.get_submodule("0"),
        "features.10": model.features.get_submodule("10"),
        "classifier.1": model.head.fc6,
        "classifier.4": model.head.fc7,
    }
    for name, layer in layers.items():
        for kind in ("weight", "bias"):
            parameter, given = layer.get_parameter(kind), alexnet_weights[f"{name}.{kind}"]
            assert parameter.equal(given)
            assert parameter.requires_grad
            assert parameter.data_ptr() != given.data_ptr()


def test_another_width_takes_the_backbone_and_new_layers(alexnet_weights: Weights) -> None:
    model = build_wsddn(paper("alexnet", width=8), 3, alexnet_weights)

    first = model.features.get_submodule("0").get_parameter("weight")
    assert first.equal(alexnet_weights["features.0.weight"])
    assert model.head.fc6.weight.shape == (8, 256 * 6**2)


def test_a_backbone_without_pretrained_layers_takes_its_own_weights_alone() -> None:
    weights = models.squeezenet1_1(weights=None).state_dict()

    model = build_wsddn(paper("squeezenet1_1", pool_size=1), 3, weights)

    first = model.features.get_submodule("0").get_parameter("weight")
    assert first.equal(weights["features.0.weight"])
    assert model.head.fc6.weight.shape == (PRETRAINED_WIDTH, 512)


@pytest.mark.parametrize(("name", "pool_size"), [("alexnet", 6), ("vgg16", 7)])
def test_pretrained_layers_fit_the_pool_size_of_their_network(name: str, pool_size: int) -> None:
    with torch.device("meta"):  # shapes without memory
        pretrained: nn.Module = getattr(models, name)(weights=None)
        head = build_wsddn(paper(name, pool_size=pool_size), 3).head

    for key, layer in zip(PRETRAINED[name], (head.fc6, head.fc7), strict=True):
        assert pretrained.get_parameter(f"{key}.weight").shape == layer.weight.shape
        assert pretrained.get_parameter(f"{key}.bias").shape == layer.bias.shape


def test_weights_that_do_not_fit_are_refused(alexnet_weights: Weights) -> None:
    says = r"other shapes: classifier\.1\.weight \[4096, 9216\] instead of \[4096, 1024\]"
    with pytest.raises(ValueError, match=says):
        build_wsddn(paper("alexnet", pool_size=2), 3, alexnet_weights)
    backbone_only = {k: v for k, v in alexnet_weights.items() if k.startswith("features.")}
    with pytest.raises(ValueError, match=r"fc6 and fc7 .*: lacks classifier\.1\.weight"):
        build_wsddn(paper("alexnet", pool_size=1), 3, backbone_only)
    with pytest.raises(ValueError, match="the state dictionary: lacks"):
        small("squeezenet1_1", state_dict=alexnet_weights)
