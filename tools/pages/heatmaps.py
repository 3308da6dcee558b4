"""Heatmaps of the same images at every logged epoch, and their boxes at the end."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from data.datasets.image_set import ImageSet
from localizer.localize import ImageHeatmaps, localize
from tools.loggers.logger import Logger, image_tag
from tools.models.device import evaluation_mode
from tools.pages.draw import (
    DETECTION,
    TRUTH,
    caption,
    draw_boxes,
    fit_height,
    in_a_row,
    overlay_heatmap,
    sheet,
)
from tools.prediction.predictions import LocalizerPredictions

BATCHES, IMAGES = 4, 4  # images logged an epoch
IMAGE_SEED = 20  # the same images in every experiment
HEIGHT = 240


def chosen_images(dataset: ImageSet, count: int) -> list[int]:
    """Numbers of ``count`` images with a class that is known to be present, at most all.

    They are the same for every run on this split. Without any labels every image may be chosen.
    """
    has_class = (dataset.targets * dataset.weights).sum(dim=1) > 0
    if not dataset.weights.any():
        has_class[:] = True
    drawn = np.random.default_rng(IMAGE_SEED).permutation(np.flatnonzero(has_class.numpy()))
    return [int(index) for index in drawn[:count]]


def log_heatmaps(
    logger: Logger, predictions: LocalizerPredictions, *, epoch: int, step: int
) -> None:
    """Log four batches of four images, each with the heatmaps of its classes."""
    dataset = predictions.dataset
    with evaluation_mode(predictions.module):
        for number, index in enumerate(chosen_images(dataset, BATCHES * IMAGES)):
            batch, image = divmod(number, IMAGES)
            present = [dataset.classes[label] for label in _present(dataset, index)]
            logger.image(
                image_tag(epoch, step, batch, image, "_".join(present)),
                heatmap_row(dataset, index, predictions.heatmaps(index)),
                step,
            )


def heatmap_row(dataset: ImageSet, index: int, heatmaps: ImageHeatmaps) -> Tensor:
    """An image, and beside it each heatmap that ``shown_labels`` names: ``[3, H, W]`` uint8."""
    image = dataset[index].image
    panels = [(dataset.ids[index], image)]
    for label in shown_labels(dataset, index, heatmaps):
        panels.append((_words(dataset, heatmaps, label), overlay_heatmap(image, heatmaps, label)))
    return in_a_row([caption(fit_height(panel, HEIGHT), words) for words, panel in panels])


def box_sheet(models: Mapping[str, LocalizerPredictions], *, count: int = 20) -> Tensor:
    """Images with the heatmap of one of their classes, its top-scoring box, and the true ones.

    Args:
        models: predictions for the same images by name, shown side by side; plain and robust, for
            example.
        count: images, as ``chosen_images`` chooses them.

    Returns:
        ``[3, H, W]`` uint8; one white pixel if no image can be chosen.
    """
    dataset = next(iter(models.values())).dataset
    cells = [
        in_a_row([_boxed(name, predictions, index) for name, predictions in models.items()])
        for index in chosen_images(dataset, count)
    ]
    return sheet(cells, columns=2 if len(models) > 1 else 4)


def _present(dataset: ImageSet, index: int) -> list[int]:
    """Labels of an image's classes."""
    labels: list[int] = dataset.targets[index].nonzero()[:, 0].tolist()
    return labels


def shown_labels(dataset: ImageSet, index: int, heatmaps: ImageHeatmaps) -> list[int]:
    """An image's classes; without labels those above .5, or at least the most probable one."""
    known = _present(dataset, index)
    if known or dataset.weights[index].any():
        return known
    probabilities = heatmaps.image_logits.sigmoid()
    order: list[int] = probabilities.argsort(descending=True).tolist()
    return [label for label in order if probabilities[label] > 0.5] or order[:1]


def _boxed(name: str, predictions: LocalizerPredictions, index: int) -> Tensor:
    dataset = predictions.dataset
    heatmaps = predictions.heatmaps(index)
    label = shown_labels(dataset, index, heatmaps)[0]
    annotation = dataset.annotations[index]
    detections = localize(heatmaps, predictions.boxes, score_threshold=0.0, labels=[label])
    image = overlay_heatmap(dataset[index].image, heatmaps, label)
    image = draw_boxes(image, annotation.boxes[annotation.labels == label], TRUTH)
    image = draw_boxes(image, detections.boxes[:1], DETECTION)
    return caption(fit_height(image, HEIGHT), f"{name}: {_words(dataset, heatmaps, label)}")


def _words(dataset: ImageSet, heatmaps: ImageHeatmaps, label: int) -> str:
    """Class and probability."""
    return f"{dataset.classes[label]} {heatmaps.image_logits[label].sigmoid():.2f}"
