"""One table of a split's detections and objects, matched once, for every number about boxes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.evaluation.overlap import BoxTable, nearest_objects, tabulate_boxes
from data.types import Annotation, Detections

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ClassMatches:
    """How the D detections of one class were matched, by descending score.

    Attributes:
        rows: ``[D]`` int64, in the table of the detections. Equal scores keep the order of the
            images among the annotations, then the order within the image.
        is_hit: ``[D]`` bool; the first on an object that is not difficult.
        is_ignored: ``[D]`` bool; on a difficult object, neither hit nor false positive.
        num_objects: objects of the class that are not difficult.
    """

    rows: Ints
    is_hit: Bools
    is_ignored: Bools
    num_objects: int


@dataclass(frozen=True, slots=True)
class MatchTable:
    """Every detection with the one object of its class and image that it overlaps most.

    Attributes:
        objects: one row each, difficult ones with value 1.
        detections: one row each, their scores as values.
        iou: ``[D]`` float64, overlap with that object.
        nearest: ``[D]`` int64, row of that object, the first of equals; -1 where there is none.
        is_difficult: ``[D]`` bool; whether that object is.
        num_images: N.
        num_classes: C.
        iou_threshold: least overlap of a hit; equality is a hit.
    """

    objects: BoxTable
    detections: BoxTable
    iou: Floats
    nearest: Ints
    is_difficult: Bools
    num_images: int
    num_classes: int
    iou_threshold: float

    def __len__(self) -> int:
        return self.num_classes

    def __iter__(self) -> Iterator[ClassMatches]:
        """The classes in the order of their labels; arrays of length 0 without detections."""
        return map(self._of_class, range(self.num_classes))

    def top1(self) -> Ints:
        """Rows of the top-scoring detection of each class and image, the first of equals."""
        order = np.lexsort((-self.detections.values, self.detections.groups))  # stable
        groups = self.detections.groups[order]
        return order[np.flatnonzero(np.diff(groups, prepend=-1))]

    def _of_class(self, label: int) -> ClassMatches:
        """Mark hits as ``VOCevaldet.m`` of the VOC2007 devkit does."""
        rows = np.flatnonzero(self.detections.groups % self.num_classes == label)
        rows = rows[np.argsort(-self.detections.values[rows], kind="stable")]
        on_object = self.iou[rows] >= self.iou_threshold
        is_ignored = on_object & self.is_difficult[rows]
        candidates = np.flatnonzero(on_object & ~is_ignored)
        _, first = np.unique(self.nearest[rows[candidates]], return_index=True)
        is_hit = np.zeros(len(rows), dtype=bool)
        is_hit[candidates[first]] = True
        of_class = self.objects.groups % self.num_classes == label
        count = int((of_class & (self.objects.values == 0)).sum())
        return ClassMatches(rows, is_hit, is_ignored, count)


def match_detections(
    detections: Mapping[str, Detections],
    annotations: Sequence[Annotation],
    *,
    num_classes: int = 20,
    iou_threshold: float = 0.5,
) -> MatchTable:
    """Give every detection the object of its class and image that it overlaps most.

    It belongs to that object, the first of equals, also where another detection has taken it and
    another object overlaps enough.

    Args:
        detections: by image id, original pixels; an image that is not a key has none.
        annotations: all images of the split, difficult objects included.
        num_classes: C.
        iou_threshold: least overlap of a hit, in (0, 1]; equality is a hit.

    Raises:
        ValueError: a threshold outside of its range, an image annotated twice, detections of an
            image without annotation, or boxes, labels or scores that are not well-formed.

    Source: ``VOCevaldet.m`` of the VOC2007 devkit.
    """
    if not 0 < iou_threshold <= 1:
        raise ValueError(f"iou_threshold is an overlap in (0, 1]; got {iou_threshold}")
    objects, detected = tabulate_boxes(detections, annotations, num_classes)
    iou, nearest = nearest_objects(detected, objects)
    is_difficult = np.append(objects.values != 0, False)[nearest]  # the last one for -1
    return MatchTable(
        objects,
        detected,
        iou,
        nearest,
        is_difficult,
        num_images=len(annotations),
        num_classes=num_classes,
        iou_threshold=iou_threshold,
    )
