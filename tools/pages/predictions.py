"""What a model predicts, drawn: the same images at every logged epoch, and sheets of a report."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from data.datasets.image_set import ImageSet
from data.evaluation.matching import match_detections
from data.evaluation.top1 import RIGHT, verdicts
from data.types import Detections
from localizer.localize import ImageHeatmaps
from tools.loggers.logger import Logger, image_tag
from tools.models.device import evaluation_mode
from tools.pages.draw import (
    DETECTION,
    TRUTH,
    caption,
    draw_boxes,
    draw_detections,
    fit_height,
    in_a_row,
    overlay_heatmap,
    sheet,
)
from tools.prediction.predictions import Prediction, Predictions

BATCHES, IMAGES = 4, 4  # images logged an epoch
IMAGE_SEED = 20  # the same images in every experiment
HEIGHT = 240
FRACTION = 0.5  # of the image's best score, below which a detection is not drawn
MAX_BOXES = 6  # drawn on an image


@dataclass(frozen=True, slots=True)
class Shown:
    """An image of a page.

    Attributes:
        image_id: its id.
        words: what is shown; maybe empty.
        image: ``[3, H, W]`` uint8.
    """

    image_id: str
    words: str
    image: Tensor


def chosen_images(dataset: ImageSet, count: int) -> list[int]:
    """Numbers of ``count`` images with a class that is known to be present, at most all.

    They are the same for every run on this split. Without any labels every image may be chosen.
    """
    has_class = (dataset.targets * dataset.weights).sum(dim=1) > 0
    if not dataset.weights.any():
        has_class[:] = True
    drawn = np.random.default_rng(IMAGE_SEED).permutation(np.flatnonzero(has_class.numpy()))
    return [int(index) for index in drawn[:count]]


def log_images(logger: Logger, predictions: Predictions, *, epoch: int, step: int) -> None:
    """Log four batches of four images, the same at every epoch.

    Each is shown with the heatmaps of its classes; of a model without heatmaps, with its
    top-scoring detections and the true boxes.
    """
    dataset = predictions.dataset
    with evaluation_mode(predictions.module):
        for number, index in enumerate(chosen_images(dataset, BATCHES * IMAGES)):
            batch, image = divmod(number, IMAGES)
            prediction = predictions[index]
            words = [dataset.classes[label] for label in _present(dataset, index)]
            if prediction.heatmaps is None:
                words.insert(0, "boxes")
                drawn = image_with_detections(dataset, index, prediction.detections)
            else:
                drawn = heatmap_row(dataset, index, prediction.heatmaps)
            logger.image(image_tag(epoch, step, batch, image, "_".join(words)), drawn, step)


def heatmap_row(dataset: ImageSet, index: int, heatmaps: ImageHeatmaps) -> Tensor:
    """An image, and beside it each heatmap that ``shown_labels`` names: ``[3, H, W]`` uint8."""
    image, scores = dataset[index].image, heatmaps.image_logits.sigmoid()
    panels = [(dataset.ids[index], image)]
    for label in shown_labels(dataset, index, scores):
        panels.append((_words(dataset, scores, label), overlay_heatmap(image, heatmaps, label)))
    return in_a_row([caption(fit_height(panel, HEIGHT), words) for words, panel in panels])


def shown_labels(dataset: ImageSet, index: int, scores: Tensor) -> list[int]:
    """An image's classes; without labels those above .5, or at least the most probable one.

    Args:
        dataset: the images.
        index: number of the image.
        scores: ``[C]`` in 0 .. 1, whether it holds each class.
    """
    known = _present(dataset, index)
    if known or dataset.weights[index].any():
        return known
    order: list[int] = scores.argsort(descending=True).tolist()
    return [label for label in order if scores[label] > 0.5] or order[:1]


def image_with_detections(dataset: ImageSet, index: int, detections: Detections) -> Tensor:
    """An image with its top-scoring detections, the true boxes and its id, ``[3, H, W]`` uint8.

    Detections with at least half of the best score are drawn, at most six.
    """
    return caption(_with_detections(dataset, index, detections), dataset.ids[index])


def _with_detections(dataset: ImageSet, index: int, detections: Detections) -> Tensor:
    best = detections.best_first()[:MAX_BOXES]
    shown = best[best.scores >= FRACTION * best.scores[:1]]
    drawn = draw_boxes(dataset[index].image, dataset.annotations[index].boxes, TRUTH, dashed=True)
    return fit_height(draw_detections(drawn, shown, dataset.classes), HEIGHT)


def boxed_images(models: Mapping[str, Predictions], *, count: int = 20) -> list[Shown]:
    """Images with the heatmap of one of their classes, its top-scoring box, and the true ones.

    Args:
        models: predictions for the same images by name, shown side by side; plain and robust, for
            example. Without heatmaps the boxes are drawn on the image alone.
        count: images, as ``chosen_images`` chooses them.

    Returns:
        Each with the class and its probability.
    """
    dataset = next(iter(models.values())).dataset
    shown = []
    for index in chosen_images(dataset, count):
        of_models = {
            name: _boxed(dataset, index, of_model[index]) for name, of_model in models.items()
        }
        words = "; ".join(f"{name}: {said}" for name, (said, _) in of_models.items())
        images = in_a_row([image for _, image in of_models.values()])
        shown.append(Shown(dataset.ids[index], words, images))
    return shown


def box_sheet(models: Mapping[str, Predictions], *, count: int = 20) -> Tensor:
    """``boxed_images`` in one ``[3, H, W]`` uint8; one white pixel if no image can be chosen."""
    shown = boxed_images(models, count=count)
    cells = [caption(one.image, f"{one.image_id}, {one.words}") for one in shown]
    return sheet(cells, columns=2 if len(models) > 1 else 4)


def detected_images(
    dataset: ImageSet, detections: Mapping[str, Detections], *, count: int = 20
) -> dict[str, list[Shown]]:
    """Images in which the top-scoring detection of some class is right, and those where none is.

    Args:
        dataset: the split; images without non-difficult objects are in neither group.
        detections: by image id.
        count: images in both groups together, chosen at random but the same in every run.

    Returns:
        Images by heading; a group without images is left out.
    """
    letters = verdicts(
        match_detections(detections, dataset.annotations, num_classes=len(dataset.classes))
    )
    hits = [RIGHT in of_image for of_image in zip(*letters, strict=True)]
    order = np.random.default_rng(IMAGE_SEED).permutation(len(dataset)).tolist()
    countable = [i for i in order if (~dataset.annotations[i].difficult).any()]
    groups = {}
    for heading, is_hit in (
        ("Detections: the top-scoring one of a class hits", True),
        ("Detections: none of the top-scoring ones hits", False),
    ):
        chosen = [i for i in countable if hits[i] == is_hit][: count // 2]
        if chosen:
            groups[heading] = [
                Shown(dataset.ids[i], "", _with_detections(dataset, i, detections[dataset.ids[i]]))
                for i in chosen
            ]
    return groups


def _present(dataset: ImageSet, index: int) -> list[int]:
    """Labels of an image's classes."""
    labels: list[int] = dataset.targets[index].nonzero()[:, 0].tolist()
    return labels


def _boxed(dataset: ImageSet, index: int, prediction: Prediction) -> tuple[str, Tensor]:
    """The class that is shown with its probability, and the image."""
    label = shown_labels(dataset, index, prediction.image_scores)[0]
    annotation, best = dataset.annotations[index], prediction.top1
    image = dataset[index].image
    if prediction.heatmaps is not None:
        image = overlay_heatmap(image, prediction.heatmaps, label)
    image = draw_boxes(image, annotation.boxes[annotation.labels == label], TRUTH, dashed=True)
    image = draw_boxes(image, best.boxes[best.labels == label][:1], DETECTION)
    return _words(dataset, prediction.image_scores, label), fit_height(image, HEIGHT)


def _words(dataset: ImageSet, scores: Tensor, label: int) -> str:
    """Class and probability."""
    return f"{dataset.classes[label]} {scores[label]:.2f}"
