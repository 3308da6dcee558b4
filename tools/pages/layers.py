"""A model in words: its layers, where its cells lie, how large its maps are."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from data.collate import pad_stack
from localizer.backbones import Backbone, Geometry, backbone_named
from tools.cli.console import echo, saying, table
from tools.pages.settings import DescribeSettings
from tools.runs.saved import load_run

BACKBONE_SIZES = (512,)  # where no run says which
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Described:
    """A model to be described.

    Attributes:
        model: in evaluation mode, with its frozen weights marked.
        backbone: its own, or itself.
        sizes: of images.
        heatmaps: where their cells lie; None of a model without heatmaps.
        pooling: as if where the cells lay that proposals are pooled from; None without proposals.
    """

    model: nn.Module
    backbone: Backbone
    sizes: Sequence[int]
    heatmaps: Geometry | None = None
    pooling: Geometry | None = None


def run(settings: DescribeSettings) -> None:
    """Print what the model is."""
    with saying("building the model"):
        described = _open(settings)
    model, backbone = described.model, described.backbone
    padded = f", sides padded to multiples of {backbone.multiple}" if backbone.multiple > 1 else ""
    echo(f"backbone: {backbone.channels} channels, {_place(backbone.geometry)}{padded}")
    if described.heatmaps:
        echo(f"heatmaps: {_place(described.heatmaps)}")
    if described.pooling:
        echo(f"proposals are pooled as if with {_place(described.pooling)}")
    shapes = [output_shapes(described, size) for size in described.sizes]
    for size, by_name in zip(described.sizes, shapes, strict=True):
        features = "features" if "features" in by_name else ""
        words = f"image {size}x{size}: features {_by(by_name[features][2:])}"
        if described.heatmaps:
            words += f", heatmaps {_by(by_name[''][2:])}"
        echo(words)
    echo(*layer_table(model, shapes[0]))


def _open(settings: DescribeSettings) -> Described:
    if settings.run_dir is None:
        row = backbone_named(settings.backbone)
        return Described(row.build().eval(), row, settings.image_sizes or BACKBONE_SIZES)
    saved = load_run(settings.run_dir)
    if saved.settings.frozen_backbone:
        saved.model.features.requires_grad_(False)
    sizes = settings.image_sizes or saved.settings.evaluation_sizes
    if saved.takes_proposals:
        detector, _ = saved.detector()
        return Described(detector, detector.backbone, sizes, pooling=detector.head.geometry)
    localizer, _ = saved.localizer()
    return Described(localizer, localizer.backbone, sizes, heatmaps=localizer.geometry)


def output_shapes(described: Described, size: int) -> Shapes:
    """Shapes of what modules give for one square image, by their names; the model's own is ``""``.

    Modules that are not called, or give something else than a tensor, have none.

    Raises:
        ValueError: the image is too small for a cell.
    """
    shapes: Shapes = {}
    hooks = [
        module.register_forward_hook(partial(_note, shapes, name))
        for name, module in described.model.named_modules()
    ]
    backbone = described.backbone
    image = torch.zeros(backbone.input_channels, size, size)
    images = pad_stack([image], multiple=backbone.multiple)
    whole = [torch.tensor([[0.0, 0.0, size, size]])] if described.pooling else []
    try:
        with torch.inference_mode():
            described.model(images, *whole)
    except RuntimeError as error:
        raise ValueError(f"--image-sizes {size}: {error}") from error
    finally:
        for hook in hooks:
            hook.remove()
    return shapes


def _note(shapes: Shapes, name: str, module: nn.Module, inputs: object, output: object) -> None:
    if isinstance(output, Tensor):
        shapes[name] = tuple(output.shape)


def layer_table(model: nn.Module, shapes: Shapes) -> list[str]:
    """A line for each module that has weights of its own, or is called and has no parts; totals."""
    rows = []
    modules = sorted(model.named_modules(), key=lambda each: not each[0].startswith("features"))
    for name, module in modules:
        own = list(module.parameters(recurse=False))
        is_layer = name in shapes and not (list(module.children()) or type(module) is nn.Identity)
        if own or is_layer:
            output = _by(shapes[name][1:]) if name in shapes else "-"
            frozen = "frozen" if own and not any(weight.requires_grad for weight in own) else ""
            count = f"{sum(weight.numel() for weight in own):,}"
            rows.append((name, type(module).__name__, output, count, frozen))
    lines = table(("layer", "kind", "output", "parameters", ""), *rows)
    weights = list(model.parameters())
    total = sum(weight.numel() for weight in weights)
    learning = sum(weight.numel() for weight in weights if weight.requires_grad)
    return [*lines, f"{total:,} parameters, {learning:,} of them learn"]


def _place(geometry: Geometry) -> str:
    return f"stride {geometry.stride}, offset {geometry.offset:g} pixels"


def _by(sides: Sequence[int]) -> str:
    return "x".join(map(str, sides))
