"""The boxes of all images in one array, and the object each detection overlaps most.

``data.evaluation.voc_eval`` says which of them are hits, and computes AP.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.checks import check_annotation, check_boxes, check_detections, check_labels
from data.types import Annotation, Detections, no_detections

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BoxTable:
    """One row per box, images in the order of the annotations, then in the order within the image.

    Attributes:
        boxes: ``[n, 4]`` float64, original pixels.
        groups: ``[n]`` int64, ``image * num_classes + label``: one class in one image.
        values: ``[n]`` float64; a detection's score, or 1 for a difficult object and 0 for others.
    """

    boxes: Floats
    groups: Ints
    values: Floats

    def rows(self, chosen: Ints | NDArray[np.bool_]) -> "BoxTable":
        """The rows with these numbers, or where this ``[n]`` is true."""
        return BoxTable(self.boxes[chosen], self.groups[chosen], self.values[chosen])


def tabulate_boxes(
    detections: Mapping[str, Detections], annotations: Sequence[Annotation], num_classes: int
) -> tuple[BoxTable, BoxTable]:
    """All objects and all detections, checked.

    Args:
        detections: by image id, original pixels; an image that is not a key has none.
        annotations: all images of the split.
        num_classes: C.

    Returns:
        The objects and the detections; tables of no rows if there are none.

    Raises:
        ValueError: an image annotated twice, detections of an image that is not annotated, or
            boxes, labels or scores that are not well-formed. The message names the image.
    """
    annotated = Counter(annotation.image_id for annotation in annotations)
    for image_id, count in annotated.items():
        if count > 1:
            raise ValueError(f"image {image_id} is annotated twice")
    for image_id in detections:
        if image_id not in annotated:
            raise ValueError(f"detections of image {image_id}, which is not among the annotations")
    empty = no_detections()
    per_image = [detections.get(annotation.image_id, empty) for annotation in annotations]
    try:
        return (
            _join([(a.boxes, a.labels, a.difficult) for a in annotations], num_classes),
            _join([(d.boxes, d.labels, d.scores) for d in per_image], num_classes),
        )
    except ValueError:  # all rows at once is fast; one image at a time names the image
        for annotation, of_image in zip(annotations, per_image, strict=True):
            check_annotation(annotation, num_classes)
            context = f"detections of image {annotation.image_id}"
            check_detections(of_image, num_classes, context=context)
        raise


def nearest_objects(detections: BoxTable, objects: BoxTable) -> tuple[Floats, Ints]:
    """For each of D detections the object of its class and image that it overlaps most.

    Returns:
        The overlap ``[D]``, intersection over union in 0 .. 1, and the object's row ``[D]``, the
        first of equals; 0 and -1 where it overlaps no such object.
    """
    by_group = np.argsort(objects.groups, kind="stable")
    num_groups = detections.groups.max(initial=-1) + 1
    count = np.bincount(objects.groups, minlength=num_groups)
    next_object = (np.cumsum(count) - count)[detections.groups]
    num_left = count[detections.groups]
    best_iou = np.zeros(len(detections.boxes))
    nearest = np.full(len(detections.boxes), -1)
    rows = np.flatnonzero(num_left)
    while len(rows):  # one round for the first object of every group, one for the second, ...
        candidate = by_group[next_object[rows]]
        shared, area, other = shared_areas(detections.boxes[rows], objects.boxes[candidate])
        iou = shared / (area + other - shared)
        better = iou > best_iou[rows]
        best_iou[rows[better]] = iou[better]
        nearest[rows[better]] = candidate[better]
        next_object[rows] += 1
        num_left[rows] -= 1
        rows = rows[num_left[rows] > 0]
    return best_iou, nearest


def shared_areas(boxes: Floats, others: Floats) -> tuple[Floats, Floats, Floats]:
    """Areas that boxes share with others, their own, and those of the others.

    Args:
        boxes: ``[n, 4]``, or one ``[4]`` for all others.
        others: ``[n, 4]``.
    """
    low, high = np.maximum(boxes, others)[..., :2], np.minimum(boxes, others)[..., 2:]
    shared = np.maximum(high - low, 0).prod(axis=-1)
    own, theirs = ((each[..., 2:] - each[..., :2]).prod(axis=-1) for each in (boxes, others))
    return shared, own, theirs


def _join(images: list[tuple[Tensor, Tensor, Tensor]], num_classes: int) -> BoxTable:
    """Stack (boxes, labels, values) of all images; errors do not name the image."""
    for boxes, labels, values in images:
        count = len(boxes)
        if boxes.shape != (count, 4) or labels.shape != (count,) or values.shape != (count,):
            raise ValueError(f"shapes {boxes.shape}, {labels.shape} and {values.shape} disagree")
    if not images:
        return BoxTable(np.zeros((0, 4)), np.zeros(0, dtype=np.int64), np.zeros(0))
    boxes, labels, values = (torch.cat(column) for column in zip(*images, strict=True))
    check_boxes(boxes)
    check_labels(labels, num_classes)
    if not torch.isfinite(values).all():
        raise ValueError("a score is not finite")
    image = np.repeat(np.arange(len(images)), [len(boxes) for boxes, _, _ in images])
    return BoxTable(
        boxes.detach().cpu().double().numpy(),
        image * num_classes + labels.cpu().numpy(),
        values.detach().cpu().double().numpy(),
    )
