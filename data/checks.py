"""Checks that raise ``ValueError`` with the value and its file or image, where data comes in.

torchvision's operators accept not-a-number, inverted and outside boxes silently, so boxes are
checked before any of them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from data.types import Annotation, Detections, Proposals


def check_boxes(
    boxes: Tensor, image_size: tuple[int, int] | None = None, *, context: str = "boxes"
) -> None:
    """Raise unless the boxes are well-formed.

    Args:
        boxes: to check; ``[R, 4]`` floating point, R may be 0.
        image_size: (height, width) that must hold every box, or None for no such limit.
        context: words for the message, for example an image id or a file.

    Raises:
        ValueError: wrong shape or kind, a coordinate that is not finite, a box without area, or
            one outside of the image. The message names the first such row and the fraction of such
            boxes, since many of them mean another order of the columns, another base, or wrapped
            numbers.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not boxes.is_floating_point():
        raise ValueError(
            f"{context}: boxes are a floating-point [R, 4]; "
            f"got {list(boxes.shape)} of {str(boxes.dtype).removeprefix('torch.')}"
        )
    sides = boxes[:, 2:] - boxes[:, :2]
    if image_size is None and ((sides > 0) & (sides < torch.inf)).all():
        return  # the common case in one pass; a finite difference has finite ends
    _refuse(boxes, ~boxes.isfinite().all(dim=1), context, "are not finite")
    if image_size is not None:
        height, width = image_size
        ends = boxes.new_tensor([width, height, width, height])
        outside = ((boxes < 0) | (boxes > ends)).any(dim=1)
        _refuse(boxes, outside, context, f"leave {width}x{height}")
    empty = (boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])
    _refuse(boxes, empty, context, "have no area (x1 y1 x2 y2, x2 > x1 and y2 > y1)")


def check_annotation(annotation: Annotation, num_classes: int) -> None:
    """Raise unless boxes, labels and flags agree with each other and with the image.

    Raises:
        ValueError: naming the image.
    """
    context = f"image {annotation.image_id}"
    check_boxes(annotation.boxes, annotation.image_size, context=context)
    for name in ("labels", "difficult", "truncated"):
        _check_length(getattr(annotation, name), annotation.boxes, f"{context}: {name}")
    check_labels(annotation.labels, num_classes, context=context)


def check_labels(labels: Tensor, num_classes: int, *, context: str = "labels") -> None:
    """Raise unless labels are int64 in 0 .. C-1.

    Raises:
        ValueError: wrong kind, or the first label outside of the range.
    """
    if labels.dtype != torch.int64:
        raise ValueError(f"{context}: labels are int64, got {labels.dtype}")
    outside = labels[(labels < 0) | (labels >= num_classes)]
    if len(outside):
        raise ValueError(f"{context}: label {int(outside[0])} is not in 0 .. {num_classes - 1}")


def check_detections(
    detections: Detections, num_classes: int, *, context: str = "detections"
) -> None:
    """Raise unless boxes, labels and scores are finite and of one length.

    Raises:
        ValueError: naming ``context``.
    """
    check_boxes(detections.boxes, context=context)
    _check_length(detections.labels, detections.boxes, f"{context}: labels")
    _check_length(detections.scores, detections.boxes, f"{context}: scores")
    check_labels(detections.labels, num_classes, context=context)
    if not torch.isfinite(detections.scores).all():
        raise ValueError(f"{context}: a score is not finite")


def check_proposals(
    proposals: Proposals, image_size: tuple[int, int] | None = None, *, context: str = "proposals"
) -> None:
    """Raise unless boxes are well-formed and scores, where there are any, fit them.

    Args:
        proposals: to check.
        image_size: (height, width) that must hold every box, or None for no such limit.
        context: words for the message.

    Raises:
        ValueError: naming ``context``.
    """
    boxes, scores = proposals.boxes, proposals.scores
    check_boxes(boxes, image_size, context=context)
    if scores is not None and (scores.shape != (len(boxes),) or not scores.isfinite().all()):
        raise ValueError(f"{context}: {len(boxes)} boxes need as many finite scores")


def check_state_dict(
    expected: Mapping[str, Tensor], given: Mapping[str, Tensor], *, context: str
) -> None:
    """Raise unless the given tensors have the expected names and shapes, in any order.

    Raises:
        ValueError: naming ``context``, and the first tensors that are missing, unknown or of
            another shape.
    """
    missing = [key for key in expected if key not in given]
    unknown = [key for key in given if key not in expected]
    other = [
        f"{key} {list(given[key].shape)} instead of {list(expected[key].shape)}"
        for key in expected
        if key in given and given[key].shape != expected[key].shape
    ]
    wrong = {"lacks": missing, "has unknown": unknown, "has other shapes:": other}
    for problem, keys in wrong.items():
        if keys:
            raise ValueError(f"{context}: {problem} {name_first(keys, most=4)}")


def check_finite(tensors: Mapping[str, Tensor], *, context: str) -> None:
    """Raise unless every number is finite.

    Raises:
        ValueError: naming ``context`` and the first tensors with another one.
    """
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise ValueError(f"{context}: not all numbers are finite in {name_first(broken, most=4)}")


def name_first(names: Sequence[str], most: int = 5) -> str:
    """The first names for a message, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def without_path(path: Path, error: Exception) -> str:
    """The message of an error without the file that it begins with, in one line."""
    return " ".join(str(error).removeprefix(f"{path}: ").split())


def _check_length(values: Tensor, boxes: Tensor, context: str) -> None:
    if values.shape != (len(boxes),):
        raise ValueError(f"{context} have shape {list(values.shape)} for {len(boxes)} boxes")


def _refuse(boxes: Tensor, wrong: Tensor, context: str, problem: str) -> None:
    if wrong.any():
        fraction, row = float(wrong.double().mean()), int(wrong.nonzero()[0])
        percent = f"{fraction:.0%}" if fraction >= 0.01 else "less than 1%"
        raise ValueError(
            f"{context}: {percent} of the boxes {problem}: row {row} is {boxes[row].tolist()}"
        )
