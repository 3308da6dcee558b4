"""The boxes of all images in one array, and the object each detection overlaps most.

``data.evaluation.voc_eval`` says which of them are hits, and computes AP.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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


def tabulate_objects(annotations: Sequence[Annotation], num_classes: int) -> BoxTable:
    """All objects of a split, checked; a table of no rows if there are none.

    Raises:
        ValueError: an image annotated twice, or boxes or labels that are not well-formed. The
            message names the image.
    """
    ids = [annotation.image_id for annotation in annotations]
    if len(set(ids)) < len(ids):
        raise ValueError(f"image {Counter(ids).most_common(1)[0][0]} is annotated twice")
    try:
        return _join(
            [annotation.boxes for annotation in annotations],
            [annotation.labels for annotation in annotations],
            [annotation.difficult for annotation in annotations],
            num_classes,
        )
    except (ValueError, RuntimeError):  # all at once is fast; one at a time names the image
        for annotation in annotations:
            check_annotation(annotation, num_classes)
        raise


def tabulate_detections(
    detections: Mapping[str, Detections], annotations: Sequence[Annotation], num_classes: int
) -> BoxTable:
    """All detections of a split, checked; a table of no rows if there are none.

    Args:
        detections: by image id, original pixels; an image that is not a key has none.
        annotations: all images of the split; each once.
        num_classes: C.

    Raises:
        ValueError: detections of an image that is not annotated, or boxes, labels or scores that
            are not well-formed. The message names the image.
    """
    ids = [annotation.image_id for annotation in annotations]
    if unknown := detections.keys() - set(ids):
        image_id = next(image_id for image_id in detections if image_id in unknown)
        raise ValueError(f"detections of image {image_id}, which is not among the annotations")
    empty = no_detections()
    per_image = [detections.get(image_id, empty) for image_id in ids]
    try:
        return _join(
            [of_image.boxes for of_image in per_image],
            [of_image.labels for of_image in per_image],
            [of_image.scores for of_image in per_image],
            num_classes,
        )
    except (ValueError, RuntimeError):
        for image_id, of_image in zip(ids, per_image, strict=True):
            check_detections(of_image, num_classes, context=f"detections of image {image_id}")
        raise


def nearest_objects(detections: BoxTable, objects: BoxTable) -> tuple[Floats, Ints]:
    """For each of D detections the object of its class and image that it overlaps most.

    Returns:
        The overlap ``[D]``, intersection over union in 0 .. 1, and the object's row ``[D]``, the
        first of equals; 0 and -1 where it overlaps no such object.
    """
    best_iou = np.zeros(len(detections.boxes))
    nearest = np.full(len(detections.boxes), -1)
    for rows, candidates in same_group(detections.groups, objects):
        shared, area, other = shared_areas(detections.boxes[rows], objects.boxes[candidates])
        iou = shared / (area + other - shared)
        better = iou > best_iou[rows]
        best_iou[rows[better]] = iou[better]
        nearest[rows[better]] = candidates[better]
    return best_iou, nearest


def same_group(groups: Ints, objects: BoxTable) -> Iterator[tuple[Ints, Ints]]:
    """Pair boxes with the first object of their group, then with the second, and so on.

    Args:
        groups: ``[n]`` of the boxes.
        objects: to pair them with.

    Yields:
        Positions of the boxes whose group has so many objects, rising, and the objects' rows.
    """
    by_group = np.argsort(objects.groups, kind="stable")
    count = np.bincount(objects.groups, minlength=groups.max(initial=-1) + 1)
    of_box = count[groups]
    places = np.flatnonzero(of_box)
    left, first = of_box[places], (np.cumsum(count) - count)[groups[places]]
    for turn in itertools.count():
        if not len(places):
            return
        yield places, by_group[first + turn]
        more = left > turn + 1
        places, first, left = places[more], first[more], left[more]


def shared_areas(boxes: Floats, others: Floats) -> tuple[Floats, Floats, Floats]:
    """Areas that boxes ``[n, 4]`` share with others ``[n, 4]``, their own, those of the others."""
    x1, y1, x2, y2 = boxes.T
    left, top, right, bottom = others.T
    width = np.maximum(np.minimum(x2, right) - np.maximum(x1, left), 0)
    height = np.maximum(np.minimum(y2, bottom) - np.maximum(y1, top), 0)
    return width * height, (x2 - x1) * (y2 - y1), (right - left) * (bottom - top)


def _join(
    boxes: list[Tensor], labels: list[Tensor], values: list[Tensor], num_classes: int
) -> BoxTable:
    """Stack those of all images; errors do not name the image."""
    if not boxes:
        return BoxTable(np.zeros((0, 4)), np.zeros(0, dtype=np.int64), np.zeros(0))
    per_box, counts, per_value = (
        np.array(list(map(Tensor.numel, column))) for column in (boxes, labels, values)
    )
    if (per_box != 4 * counts).any() or (per_value != counts).any():
        raise ValueError("numbers of boxes, labels and values disagree")
    if any(boxes[image].dim() != 2 for image in np.flatnonzero(counts == 0)):
        raise ValueError("boxes are not [n, 4]")  # torch.cat passes over an empty [0]
    every_box, every_label, every_value = map(torch.cat, (boxes, labels, values))
    if every_label.dim() != 1 or every_value.dim() != 1:
        raise ValueError("labels or values are not [n]")
    check_boxes(every_box)
    check_labels(every_label, num_classes)
    if not torch.isfinite(every_value).all():
        raise ValueError("a score is not finite")
    return BoxTable(
        every_box.detach().cpu().double().numpy(),
        np.repeat(np.arange(len(labels)) * num_classes, counts) + every_label.cpu().numpy(),
        every_value.detach().cpu().double().numpy(),
    )
