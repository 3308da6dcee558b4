"""A localizer's heatmaps and boxes on one image."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from data.datasets.image_set import ImageSet
from data.types import Detections
from localizer.localize import ImageHeatmaps, localize, predict_heatmaps
from localizer.model import LocalizerHead
from tools.inputs.samples import Samples, both_views
from tools.models.device import Device
from tools.models.settings import BoxSettings


def heatmaps_of(
    model: LocalizerHead,
    inputs: Sequence[Samples],
    dataset: ImageSet,
    index: int,
    device: Device,
) -> ImageHeatmaps:
    """What a localizer says of one image, the mean of the upright and the flipped view.

    The maps are those of the first scale, the image logits are the mean over all.
    """
    by_size = []
    for samples in inputs:
        pair = both_views(samples, index, device)
        height, width = pair.sizes[0].tolist()
        with device.autocast():
            by_size.append(
                predict_heatmaps(
                    model, pair.images, (height, width), dataset.annotations[index].image_size
                )
            )
    image_logits = torch.stack([heatmaps.image_logits for heatmaps in by_size]).mean(dim=0)
    return replace(by_size[0], image_logits=image_logits)


def every_box(heatmaps: ImageHeatmaps, boxes: BoxSettings) -> Detections:
    """Every box of every class, however low its score."""
    return localize(
        heatmaps,
        thresholds=boxes.thresholds,
        mode=boxes.mode,
        min_cells=boxes.min_cells,
        score_threshold=0.0,
        max_detections=10_000,
    )
