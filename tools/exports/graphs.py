"""A model as a graph for other programs: tensors in, tensors out, sizes left open."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from localizer.model import Localizer
from wsddn.model import WSDDN
from wsddn.scores import combine_scores

SIDES = ((200, 264), (264, 200), (232, 232))  # of images to try a graph with, or a little more
PADDED = (40, 70)  # rows and columns
IMAGES = (2, 1, 3)  # in a batch; first the one that is traced
ROIS = (300, 1, 2000)
LEAST_ROI = 20.0  # pixels

Shape = tuple[int | str, ...]  # of a tensor; the name of a side that is left open


class LocalizerGraph(nn.Module):
    """Normalized images to heatmaps and image logits, of a localizer or classifier.

    Attributes:
        channels: of the images.
        inputs: shapes by name, in order.
        outputs: the same.
    """

    outputs: Mapping[str, Shape] = {
        "heatmap_logits": ("B", "C", "h", "w"),
        "image_logits": ("B", "C"),
    }

    def __init__(self, model: Localizer) -> None:
        super().__init__()
        self.model = model
        self.channels = model.backbone.input_channels
        self.inputs: dict[str, Shape] = {
            "images": ("B", self.channels, "H", "W"),
            "sizes": ("B", 2),
        }

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Two outputs.

        Args:
            images: ``[B, K, H, W]`` float32, normalized; sides are multiples of the backbone's.
            sizes: ``[B, 2]`` int64, (height, width) of each image without padding.
        """
        heatmaps = self.model(images)
        return heatmaps, self.model.pool(heatmaps, sizes)

    def examples(self, generator: torch.Generator) -> list[tuple[Tensor, ...]]:
        """Inputs at several sizes, at random; the last image of each batch is padded."""
        examples: list[tuple[Tensor, ...]] = []
        for count, sides in zip(IMAGES, _sides(self.model.backbone.multiple), strict=True):
            sizes = torch.tensor([sides]).repeat(count, 1)
            sizes[-1] -= torch.tensor(PADDED)
            examples.append((torch.randn(count, self.channels, *sides, generator=generator), sizes))
        return examples


class DetectorGraph(nn.Module):
    """One normalized image and its proposals to their scores.

    Attributes:
        channels: of the images.
        inputs: shapes by name, in order.
        outputs: the same.
    """

    outputs: Mapping[str, Shape] = dict.fromkeys(
        ("scores", "class_logits", "detection_logits"), ("R", "C")
    )

    def __init__(self, model: WSDDN) -> None:
        super().__init__()
        self.model = model
        self.channels = model.backbone.input_channels
        self.inputs: dict[str, Shape] = {"image": (1, self.channels, "H", "W"), "rois": ("R", 4)}
        if model.head.settings.box_score:
            self.inputs["roi_scores"] = ("R",)

    def forward(
        self, image: Tensor, rois: Tensor, roi_scores: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Scores and the two streams that they are made of, ``[R, C]`` each.

        Args:
            image: ``[1, K, H, W]`` float32, normalized; sides are multiples of the backbone's.
            rois: ``[R, 4]`` float32, in pixels of this image, half-open; at least one.
            roi_scores: ``[R]``, of a detector that multiplies by them.
        """
        output = self.model(image, rois, roi_scores)
        scores = combine_scores(output.class_logits, output.detection_logits)
        return scores, output.class_logits, output.detection_logits

    def examples(self, generator: torch.Generator) -> list[tuple[Tensor, ...]]:
        """Inputs at several sizes, with one to many rois, at random."""
        examples: list[tuple[Tensor, ...]] = []
        for count, sides in zip(ROIS, _sides(self.model.backbone.multiple), strict=True):
            room = torch.tensor(sides[::-1]) - LEAST_ROI
            first = torch.rand(count, 2, generator=generator) * room
            side = LEAST_ROI + torch.rand(count, 2, generator=generator) * (room - first)
            rois = torch.cat([first, first + side], dim=1)
            image = torch.randn(1, self.channels, *sides, generator=generator)
            scores = torch.rand(count, generator=generator)
            examples.append((image, rois, scores)[: len(self.inputs)])
        return examples


def graph_of(model: Localizer | WSDDN) -> LocalizerGraph | DetectorGraph:
    """The graph of a model in evaluation mode."""
    graph = DetectorGraph(model) if isinstance(model, WSDDN) else LocalizerGraph(model)
    return graph.eval().requires_grad_(False)


def trace(graph: LocalizerGraph | DetectorGraph) -> torch.export.ExportedProgram:
    """The graph as torch.export keeps it; sizes of its first example are left open.

    Raises:
        Exception: of many kinds, from torch, where the model's code depends on sizes.
    """
    example = graph.examples(torch.Generator().manual_seed(0))[0]
    open_sides = tuple(
        {axis: torch.export.Dim.DYNAMIC for axis, side in enumerate(shape) if isinstance(side, str)}
        for shape in graph.inputs.values()
    )
    with torch.no_grad():
        return torch.export.export(graph, example, dynamic_shapes=open_sides)


def _sides(multiple: int) -> list[tuple[int, int]]:
    """``SIDES`` in whole multiples."""
    return [
        (-(-height // multiple) * multiple, -(-width // multiple) * multiple)
        for height, width in SIDES
    ]
