"""Images with a detector's boxes: while it learns, and sorted into good ones and failures."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from data.datasets.image_set import ImageSet
from data.evaluation.top1 import RIGHT, verdicts
from data.types import Detections
from tools.loggers.logger import Logger, image_tag, image_window
from tools.pages.draw import FOUND, TRUTH, caption, draw_boxes, fit_height, sheet
from tools.pages.heatmaps import BATCHES, IMAGE_SEED, IMAGES, chosen_images

HEIGHT = 240
FRACTION = 0.5  # of the image's best score, below which a detection is not drawn
MOST = 6  # boxes drawn on an image


def log_detections(
    logger: Logger,
    dataset: ImageSet,
    detections: Mapping[str, Detections],
    *,
    epoch: int,
    step: int,
    is_first: bool,
) -> None:
    """The same images at every evaluation, with their top-scoring detections and the true boxes.

    The first evaluation keeps its windows; every later one takes those of the one before.
    """
    for number, index in enumerate(chosen_images(dataset, BATCHES * IMAGES)):
        batch, image = divmod(number, IMAGES)
        found = detections[dataset.ids[index]]
        logger.image(
            image_tag(epoch, step, batch, image, "boxes"),
            image_with_detections(dataset, index, found),
            step,
            window=image_window(batch, image, is_first=is_first),
        )


def image_with_detections(dataset: ImageSet, index: int, found: Detections) -> Tensor:
    """An image with its top-scoring detections and the true boxes, ``[3, H, W]`` uint8.

    Drawn are detections with at least half of the best one's score, at most six.
    """
    annotation = dataset.annotations[index]
    drawn = draw_boxes(dataset[index].image, annotation.boxes, TRUTH)
    shown = _top_scoring(found)
    texts = [
        f"{dataset.classes[label]} {score:.2f}"
        for label, score in zip(shown.labels.tolist(), shown.scores.tolist(), strict=True)
    ]
    drawn = draw_boxes(drawn, shown.boxes, FOUND, texts)
    return caption(fit_height(drawn, HEIGHT), annotation.image_id)


def _top_scoring(found: Detections) -> Detections:
    order = found.scores.argsort(descending=True, stable=True)[:MOST]
    order = order[found.scores[order] >= FRACTION * found.scores.max()] if len(order) else order
    return Detections(found.boxes[order], found.labels[order], found.scores[order])


def detection_sheets(
    dataset: ImageSet, detections: Mapping[str, Detections], *, count: int = 20
) -> dict[str, Tensor]:
    """Images in which the top-scoring detection of some class is right, and those where none is.

    Args:
        dataset: the split; images without objects that count are in neither sheet.
        detections: by image id.
        count: images in both sheets together, drawn at random but the same in every run.

    Returns:
        Sheets by heading; a sheet without images is left out.
    """
    letters = verdicts(detections, dataset.annotations, len(dataset.classes))
    hits = [RIGHT in of_image for of_image in zip(*letters, strict=True)]
    good: list[int] = []
    failed: list[int] = []
    for index in np.random.default_rng(IMAGE_SEED).permutation(len(dataset)):
        if (~dataset.annotations[index].difficult).any():
            (good if hits[index] else failed).append(int(index))
    return {
        heading: sheet(
            [image_with_detections(dataset, i, detections[dataset.ids[i]]) for i in chosen],
            columns=5,
        )
        for heading, indices in (
            ("Detections: the top-scoring one of a class hits", good),
            ("Detections: none of the top-scoring ones hits", failed),
        )
        if (chosen := indices[: count // 2])
    }
