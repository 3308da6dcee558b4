"""One table of a split's detections and objects, matched once, for every number about boxes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from data.evaluation.overlap import (
    BoxTable,
    nearest_objects,
    tabulate_detections,
    tabulate_objects,
)
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


@dataclass(frozen=True)
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
        return iter(self._classes)

    def top1(self) -> Ints:
        """Rows of the top-scoring detection of each class and image, the first of equals."""
        groups, values = self.detections.groups, self.detections.values
        highest = np.full(self.num_images * self.num_classes, -np.inf)
        np.maximum.at(highest, groups, values)
        last_first = np.flatnonzero(values == highest[groups])[::-1]
        row = np.full(len(highest), -1)
        row[groups[last_first]] = last_first  # the last one that is written stays
        return row[row >= 0]

    def apart(self) -> "dict[str, MatchTable]":
        """Two tables: ``one`` of the images that hold one object of a class, ``several`` of others.

        For each class on its own the first has the images that hold exactly one object of it, the
        second those that hold more; both have the images that hold none. Difficult objects are not
        counted, and stay in the table with their image.
        """
        counting = self.objects.groups[self.objects.values == 0]
        counts = np.bincount(counting, minlength=self.num_images * self.num_classes)
        return {"one": self._of_groups(counts <= 1), "several": self._of_groups(counts != 1)}

    def _of_groups(self, is_kept: Bools) -> "MatchTable":
        """The table of some classes of some images, ``[N * C]`` as in ``BoxTable.groups``."""
        objects, rows = is_kept[self.objects.groups], is_kept[self.detections.groups]
        moved = np.append(np.cumsum(objects) - 1, -1)  # the last one for -1
        return replace(
            self,
            objects=self.objects.rows(objects),
            detections=self.detections.rows(rows),
            iou=self.iou[rows],
            nearest=moved[self.nearest[rows]],
            is_difficult=self.is_difficult[rows],
        )

    @cached_property
    def _classes(self) -> list[ClassMatches]:
        """Mark hits as ``VOCevaldet.m`` of the VOC2007 devkit does."""
        values = self.detections.values
        rows = [
            of_class[_best_first(values[of_class])]
            for of_class in _by_label(self.detections.groups, self.num_classes)
        ]
        is_on_object = self.iou >= self.iou_threshold
        is_ignored = is_on_object & self.is_difficult
        every = np.concatenate([*rows, np.zeros(0, dtype=np.int64)])
        last_first = every[(is_on_object & ~is_ignored)[every]][::-1]
        first = np.full(len(self.objects.boxes), -1)
        first[self.nearest[last_first]] = last_first  # the last one that is written stays
        is_hit = np.zeros(len(values), dtype=bool)
        is_hit[first[first >= 0]] = True
        counting = self.objects.groups[self.objects.values == 0] % self.num_classes
        counts = np.bincount(counting, minlength=self.num_classes).tolist()
        return [
            ClassMatches(of_class, is_hit[of_class], is_ignored[of_class], count)
            for of_class, count in zip(rows, counts, strict=True)
        ]


def match_detections(
    detections: Mapping[str, Detections],
    annotations: Sequence[Annotation],
    *,
    num_classes: int = 20,
    iou_threshold: float = 0.5,
    objects: BoxTable | None = None,
) -> MatchTable:
    """Give every detection the object of its class and image that it overlaps most.

    It belongs to that object, the first of equals, also where another detection has taken it and
    another object overlaps enough.

    Args:
        detections: by image id, original pixels; an image that is not a key has none.
        annotations: all images of the split, difficult objects included.
        num_classes: C.
        iou_threshold: least overlap of a hit, in (0, 1]; equality is a hit.
        objects: those of the annotations where a table of matches has them already.

    Raises:
        ValueError: a threshold outside of its range, an image annotated twice, detections of an
            image without annotation, or boxes, labels or scores that are not well-formed.

    Source: ``VOCevaldet.m`` of the VOC2007 devkit.
    """
    if not 0 < iou_threshold <= 1:
        raise ValueError(f"iou_threshold is an overlap in (0, 1]; got {iou_threshold}")
    if objects is None:
        objects = tabulate_objects(annotations, num_classes)
    detected = tabulate_detections(detections, annotations, num_classes)
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


def _by_label(groups: Ints, num_classes: int) -> list[Ints]:
    """Rows of each class, rising."""
    labels = (groups % num_classes).astype(np.min_scalar_type(num_classes))
    ends = np.cumsum(np.bincount(labels, minlength=num_classes))
    return np.split(np.argsort(labels, kind="stable"), ends[:-1])  # of small integers: linear


def _best_first(values: Floats) -> Ints:
    """The order by falling value, the first of equals first.

    As a stable sort, but several times faster where few values are equal.
    """
    order = np.argsort(-values)
    is_tied = np.diff(values[order]) == 0
    if is_tied.any():
        is_in_run = np.append(is_tied, False) | np.append(False, is_tied)
        rows, runs = order[is_in_run], np.cumsum(np.append(True, ~is_tied))[is_in_run]
        order[is_in_run] = rows[np.lexsort((rows, runs))]
    return order
