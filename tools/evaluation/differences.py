"""How far the scores of two evaluations of the same images are apart, and where they are most."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import box_iou

from data.types import Detections, no_detections

SAME_BOX = 0.999  # IoU from which two boxes are the same one

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest difference of some scores.

    Attributes:
        value: 0 or more.
        where: image, class and scores in words.
    """

    value: float
    where: str

    def __str__(self) -> str:
        return f"{short(self.value)} at most" + (f" ({self.where})" if self.value else "")


def short(value: float) -> str:
    """Three digits, and always a point or an exponent: 0.0, 0.123, 4.56e-06."""
    return str(float(f"{value:.3g}"))


def largest_of_scores(
    ids: Sequence[str], classes: Sequence[str], before: Floats, now: Floats
) -> Difference:
    """Of image scores.

    Args:
        ids: N names of images, at least one.
        classes: C names, at least one.
        before: ``[N, C]``.
        now: ``[N, C]``.
    """
    gaps = np.abs(now - before)
    row, label = divmod(int(gaps.argmax()), gaps.shape[1])
    where = f"image {ids[row]}, class {classes[label]}: score {before[row, label]:.6g} stored, "
    return Difference(float(gaps[row, label]), f"{where}{now[row, label]:.6g} anew")


def largest_of_detections(
    classes: Sequence[str], before: Mapping[str, Detections], now: Mapping[str, Detections]
) -> Difference:
    """Of detections by image id, see ``detection_differences``; 0 without any.

    Args:
        classes: names in the order of the labels.
        before: an image that it lacks has no detections.
        now: of every image.
    """
    largest = Difference(0.0, "")
    for image_id, ours in now.items():
        theirs = before.get(image_id, no_detections())
        for some, others, when in ((theirs, ours, "stored"), (ours, theirs, "anew")):
            gaps = detection_differences(some, others)
            if len(gaps) and float(gaps.max()) > largest.value:
                row = int(gaps.argmax())
                where = f"image {image_id}, class {classes[int(some.labels[row])]}: "
                where += f"detection of score {some.scores[row]:.6g} {when}"
                largest = Difference(float(gaps[row]), where)
    return largest


def detection_differences(detections: Detections, others: Detections) -> Tensor:
    """How far the score of each detection is from that of the same box and class among others.

    Args:
        detections: of an image; D may be 0.
        others: of the same image, maybe none.

    Returns:
        ``[D]`` float64; the whole score of a detection that is not among the others.
    """
    scores = detections.scores.double()
    is_same = box_iou(detections.boxes.double(), others.boxes.double()) >= SAME_BOX  # [D, E]
    is_same &= detections.labels[:, None] == others.labels
    gaps = (scores[:, None] - others.scores.double()).abs().masked_fill(~is_same, torch.inf)
    nearest = torch.cat([gaps, gaps.new_full((len(scores), 1), torch.inf)], dim=1).amin(dim=1)
    return torch.where(nearest.isfinite(), nearest, scores)
