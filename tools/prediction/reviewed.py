"""What follows from marked boxes: which of an image's boxes stay, and which labels it has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

from data.checks import check_boxes
from data.types import Detections
from tools.files.reviewed import ABSENT, RELABELED, MarkedBox, Reviewed

SAME = 0.5  # overlap with a marked box from which another box of its class is that box again


@dataclass(frozen=True, slots=True)
class ReviewedImage:
    """What a person has said of the boxes of one image, by label.

    Attributes:
        kept: accepted and relabeled boxes, with the class that they have now.
        marked: ``[R, 4]`` boxes with any mark, in pixels of the original.
        marked_labels: ``[R]``, of the class that they were found with.
        present: ``[C]`` bool, classes of the kept boxes.
        absent: ``[C]`` bool, classes that were marked so, and those of which every box that was not
            rejected has another class now.
        finished: ``[C]`` bool, absent classes, and those that keep a box and have none without a
            mark.
    """

    kept: Detections
    marked: Tensor
    marked_labels: Tensor
    present: Tensor
    absent: Tensor
    finished: Tensor

    def leave(self, detections: Detections) -> Detections:
        """The detections that are no marked or kept box of their class again."""
        boxes = torch.cat([self.marked, self.kept.boxes])
        labels = torch.cat([self.marked_labels, self.kept.labels])
        overlap = box_iou(detections.boxes, boxes) * (detections.labels[:, None] == labels)
        return detections[~(overlap >= SAME).any(dim=1)]

    def complete(self, detections: Detections) -> Detections:
        """The kept boxes, and of these detections those that are not one of the marked again."""
        left = self.leave(detections)
        return Detections(
            torch.cat([self.kept.boxes, left.boxes]),
            torch.cat([self.kept.labels, left.labels]),
            torch.cat([self.kept.scores, left.scores]),
        ).best_first()

    def to_find(self, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Targets and weights ``[C]`` of what may be found beside the kept boxes.

        A finished class is absent, and one that keeps a box need not have another.
        """
        targets = torch.where(self.finished, 0.0, targets)
        weights = torch.where(self.present, 0.0, weights)
        return targets, torch.where(self.finished, 1.0, weights)

    def correct(self, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Targets and weights ``[C]`` of the image with what is known now."""
        known = self.present | self.absent
        return torch.where(known, self.present.float(), targets), torch.where(known, 1.0, weights)


def review_images(
    reviewed: Reviewed, sizes: Mapping[str, tuple[int, int]], classes: Sequence[str]
) -> dict[str, ReviewedImage]:
    """By image; those of the file that are not among these are left out.

    Args:
        reviewed: what the file says.
        sizes: (height, width) of each image in pixels.
        classes: names in the order of the labels.

    Raises:
        ValueError: another class, or a box outside of its image; names the file and the image.
    """
    return {
        image: _review_image(rows, sizes[image], classes, f"{reviewed.path}: {image}")
        for image, rows in reviewed.boxes.items()
        if image in sizes
    }


def _review_image(
    rows: Sequence[MarkedBox], size: tuple[int, int], classes: Sequence[str], context: str
) -> ReviewedImage:
    for name in (name for row in rows for name in (row.class_name, row.new_class) if name):
        if name not in classes:
            raise ValueError(f"{context}: class {name!r} is not one of {', '.join(classes)}")
    marked = [row for row in rows if row.mark]
    kept = [row for row in rows if row.kept_class]
    boxes = _boxes(marked)
    check_boxes(boxes, size, context=context)
    present = _has({row.kept_class for row in kept}, classes)
    unmarked = _has({row.class_name for row in rows if not row.mark}, classes)
    renamed = _has({row.class_name for row in rows if row.mark == RELABELED}, classes)
    denied = _has({row.class_name for row in rows if row.mark == ABSENT}, classes)
    absent = (denied | (renamed & ~unmarked)) & ~present
    return ReviewedImage(
        kept=Detections(
            _boxes(kept),
            _labels([row.kept_class for row in kept], classes),
            torch.tensor([row.score for row in kept], dtype=torch.float32),
        ),
        marked=boxes,
        marked_labels=_labels([row.class_name for row in marked], classes),
        present=present,
        absent=absent,
        finished=absent | (present & ~unmarked),
    )


def _boxes(rows: Sequence[MarkedBox]) -> Tensor:
    return torch.tensor([row.corners for row in rows], dtype=torch.float32).reshape(-1, 4)


def _labels(names: Sequence[str], classes: Sequence[str]) -> Tensor:
    return torch.tensor([classes.index(name) for name in names], dtype=torch.int64)


def _has(names: set[str], classes: Sequence[str]) -> Tensor:
    return torch.tensor([name in names for name in classes], dtype=torch.bool)
