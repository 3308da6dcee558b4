"""Images with a detector's boxes: during training, and sorted into hits and failures."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from data.datasets.image_set import ImageSet
from data.evaluation.matching import match_detections
from data.evaluation.top1 import RIGHT, verdicts
from data.types import Detections
from tools.loggers.logger import Logger, image_tag
from tools.pages.draw import DETECTION, TRUTH, caption, draw_boxes, fit_height, sheet
from tools.pages.heatmaps import BATCHES, IMAGE_SEED, IMAGES, chosen_images

HEIGHT = 240
FRACTION = 0.5  # of the image's best score, below which a detection is not drawn
MAX_BOXES = 6  # drawn on an image


def log_detections(
    logger: Logger,
    dataset: ImageSet,
    detections: Mapping[str, Detections],
    *,
    epoch: int,
    step: int,
) -> None:
    """The same images at every evaluation, with their top-scoring detections and the true boxes."""
    for number, index in enumerate(chosen_images(dataset, BATCHES * IMAGES)):
        batch, image = divmod(number, IMAGES)
        logger.image(
            image_tag(epoch, step, batch, image, "boxes"),
            image_with_detections(dataset, index, detections[dataset.ids[index]]),
            step,
        )


def image_with_detections(dataset: ImageSet, index: int, detections: Detections) -> Tensor:
    """An image with its top-scoring detections and the true boxes, ``[3, H, W]`` uint8.

    Detections with at least half of the best score are drawn, at most six.
    """
    annotation = dataset.annotations[index]
    drawn = draw_boxes(dataset[index].image, annotation.boxes, TRUTH)
    shown = _top_scoring(detections)
    texts = [
        f"{dataset.classes[label]} {score:.2f}"
        for label, score in zip(shown.labels.tolist(), shown.scores.tolist(), strict=True)
    ]
    drawn = draw_boxes(drawn, shown.boxes, DETECTION, texts)
    return caption(fit_height(drawn, HEIGHT), annotation.image_id)


def _top_scoring(detections: Detections) -> Detections:
    scores = detections.scores
    order = scores.argsort(descending=True, stable=True)[:MAX_BOXES]
    order = order[scores[order] >= FRACTION * scores.max()] if len(order) else order
    return detections[order]


def detection_sheets(
    dataset: ImageSet, detections: Mapping[str, Detections], *, count: int = 20
) -> dict[str, Tensor]:
    """Images in which the top-scoring detection of some class is right, and those where none is.

    Args:
        dataset: the split; images without non-difficult objects are in neither sheet.
        detections: by image id.
        count: images in both sheets together, chosen at random but the same in every run.

    Returns:
        Sheets by heading; a sheet without images is left out.
    """
    letters = verdicts(
        match_detections(detections, dataset.annotations, num_classes=len(dataset.classes))
    )
    hits = [RIGHT in of_image for of_image in zip(*letters, strict=True)]
    order = np.random.default_rng(IMAGE_SEED).permutation(len(dataset)).tolist()
    countable = [i for i in order if (~dataset.annotations[i].difficult).any()]
    sheets = {
        heading: [i for i in countable if hits[i] == is_hit][: count // 2]
        for heading, is_hit in (
            ("Detections: the top-scoring one of a class hits", True),
            ("Detections: none of the top-scoring ones hits", False),
        )
    }
    return {
        heading: sheet(
            [image_with_detections(dataset, i, detections[dataset.ids[i]]) for i in chosen],
            columns=5,
        )
        for heading, chosen in sheets.items()
        if chosen
    }
