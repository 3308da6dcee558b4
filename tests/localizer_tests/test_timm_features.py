"""Models of timm as backbones: where their cells lie, which images and weights they take."""

import copy
import pickle
import subprocess
import sys
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from localizer.backbones import Geometry, backbone_named, load_backbone_weights
from localizer.builders import build_localizer
from localizer.settings import LocalizerSettings
from localizer.timm_features import TimmFeatures

# By hand: strided 3x3 windows leave cell 0 on pixel 0, on 31 where TensorFlow pads on the right; a
# patch is centered in itself.
GEOMETRIES = {
    "timm:resnet34": Geometry(32, 0),
    "timm:efficientnet_b0": Geometry(32, 0),
    "timm:tf_efficientnet_lite0": Geometry(32, 31),
    "timm:convnext_atto": Geometry(32, 15.5),
    "timm:inception_v3": Geometry(32, 37),  # unpadded: 1 + 2 + 2 + 4 + 4 + 8 + 16
    "timm:davit_tiny": Geometry(32, 14),  # 7x7 stride 4, then half of 4 + 8 + 16
    "timm:test_vit": Geometry(16, 7.5),
    "timm:vit_tiny_patch16_224": Geometry(16, 7.5),
    "timm:vit_small_patch14_dinov2": Geometry(14, 6.5),
}
SMALL = ["timm:test_efficientnet", "timm:test_vit"]


@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_cells_of_a_model_are_where_its_windows_say(name: str) -> None:
    assert backbone_named(name).geometry == GEOMETRIES[name]


@pytest.mark.parametrize(
    "name",
    ["timm:resnet34", "timm:tf_efficientnet_lite0", "timm:convnext_atto", "timm:test_vit"],
)
def test_a_bright_square_moves_the_cell_that_answers_most(name: str, rng: torch.Generator) -> None:
    backbone = backbone_named(name)
    network = backbone.build().eval()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):  # positive answers do not cancel, means do not grow
            weight = layer.weight.detach().abs()
            layer.weight.data = weight / weight.sum(dim=(1, 2, 3), keepdim=True)
    stride, cells = backbone.geometry.stride, 7
    centers = backbone.geometry.edges(cells)[:-1] + stride / 2
    dark = torch.zeros(1, 3, cells * stride, cells * stride)
    for _ in range(6):
        top, left = (stride * (2.5 + 2 * torch.rand(2, generator=rng))).int().tolist()
        bright = dark.clone()
        bright[:, :, top : top + stride, left : left + stride] = 0.1
        with torch.inference_mode():
            answer = (network(bright) - network(dark))[0].abs().sum(dim=0)
        row, column = divmod(int(answer.argmax()), cells)
        # a wrong offset would show at some of the places: 0 .. .5 strides become .5 .. 1
        assert abs(centers[row] - top - stride / 2) < 0.6 * stride
        assert abs(centers[column] - left - stride / 2) < 0.6 * stride


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [(64, 96), (32, 224)])
def test_images_of_any_size_in_whole_cells_have_a_map(name: str, size: tuple[int, int]) -> None:
    backbone = backbone_named(name)
    with torch.inference_mode():
        maps = backbone.build().eval()(torch.zeros(1, 3, *size))
    cells = [side // backbone.geometry.stride for side in size]
    assert backbone.multiple == backbone.geometry.stride
    assert list(maps.shape) == [1, backbone.channels, *cells]


def test_mean_and_deviation_of_the_input_are_those_of_the_weights() -> None:
    row = backbone_named("timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    assert (row.mean, row.std) == ((0.5,) * 3, (0.5,) * 3)
    assert backbone_named("timm:resnet34").mean == (0.485, 0.456, 0.406)


def test_a_name_gives_the_same_row_and_moves_no_generator(rng: torch.Generator) -> None:
    before = rng.get_state()
    row = backbone_named("timm:test_convnext")
    assert torch.equal(rng.get_state(), before)
    assert backbone_named("timm:test_convnext") is row


@pytest.mark.parametrize("name", SMALL)
def test_a_model_and_its_row_can_be_copied(name: str) -> None:
    model = build_localizer(LocalizerSettings(name), 3).eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(copy.deepcopy(model)(images), model(images))
    row = pickle.loads(pickle.dumps(backbone_named(name)))
    assert isinstance(row.build(), TimmFeatures)


# What is refused


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("timm:resnet3", r"timm has no model 'resnet3' \(did you mean resnet34, .*\?\)"),
        ("timm:resnet34.a9_in1k", r"no model 'resnet34.a9_in1k' \(did you mean resnet34.a"),
        ("timm:qqqqqqqq", r"no model 'qqqqqqqq' \(timm.list_models"),
        ("timm:hf-hub:timm/resnet34.a1_in1k", "timm has no model"),  # no code from elsewhere
        ("timm:convit_tiny", "convit_tiny cannot be a backbone: .* doesn't match model"),
        ("timm:nf_regnet_b0", "nf_regnet_b0 cannot be a backbone: its cells lie on no grid"),
    ],
)
def test_a_model_that_cannot_be_a_backbone_is_refused(name: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        backbone_named(name)


def test_timm_is_not_imported_before_it_is_named() -> None:
    program = "from localizer.backbones import backbone_named as b; import sys; b('resnet18'); "
    program += "sys.exit('timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# Weights


def weights_of(name: str) -> dict[str, Tensor]:
    return dict(timm.create_model(name.removeprefix("timm:")).state_dict())


@pytest.mark.parametrize("name", [*SMALL, "timm:test_convnext", "timm:test_resnet"])
def test_a_backbone_takes_the_layout_of_timm_without_its_classifier(name: str) -> None:
    weights, features = weights_of(name), backbone_named(name).build()
    load_backbone_weights(features, backbone_named(name), weights)
    for key, tensor in features.state_dict().items():
        assert torch.equal(tensor, weights[key.removeprefix("network.")])
    assert not [key for key in features.state_dict() if "head." in key or "fc." in key]


def test_the_map_is_the_last_one_that_timm_gives() -> None:
    weights, features = weights_of("test_efficientnet"), backbone_named(SMALL[0]).build().eval()
    load_backbone_weights(features, backbone_named(SMALL[0]), weights)
    model: Any = timm.create_model("test_efficientnet").eval()
    model.load_state_dict(weights)
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        (maps,) = model.forward_intermediates(images, indices=1, intermediates_only=True)
        torch.testing.assert_close(features(images), maps)


@pytest.mark.parametrize("name", SMALL)
def test_keys_that_are_missing_or_foreign_are_named(name: str) -> None:
    backbone, weights = backbone_named(name), weights_of(name)
    features = backbone.build()
    key = next(iter(features.state_dict())).removeprefix("network.")
    without = {k: v for k, v in weights.items() if k != key}
    with pytest.raises(ValueError, match=f"the state dictionary: lacks {key}$"):
        load_backbone_weights(features, backbone, without)
    with pytest.raises(ValueError, match=r"has unknown conv9\.weight$"):
        load_backbone_weights(features, backbone, weights | {"conv9.weight": torch.zeros(1)})
