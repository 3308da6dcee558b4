"""How many objects a set of proposals finds with how many boxes: the limit of any detector on it.

A set is cut by one score for all images, so "n boxes" means n per image on average: more in
images with many high scores. Proposals without scores are cut image by image, in their order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import box_iou

from data.types import Annotation, Proposals

IOUS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
COUNTS = (10, 30, 100, 200, 300, 500, 1000, 1500, 2000, 3000, 4000)


@dataclass(frozen=True, slots=True)
class FoundObjects:
    """Every object that is not difficult, and how many boxes it takes to find it.

    Attributes:
        needed: ``[G, 10]`` float64, boxes an image until one overlaps the object by ``IOUS``;
            infinite if none ever does.
        labels: ``[G]`` int64.
        sides: ``[G]`` float64, square root of the object's area in pixels.
        boxes: proposals an image, on average.
        empty: ids of the images without any proposal.
    """

    needed: NDArray[np.float64]
    labels: NDArray[np.int64]
    sides: NDArray[np.float64]
    boxes: float
    empty: tuple[str, ...]

    def recall(
        self, counts: Sequence[float] = COUNTS, *, chosen: NDArray[np.bool_] | None = None
    ) -> dict[str, list[float]]:
        """Fractions of the objects that are found, by number of boxes.

        Args:
            counts: boxes an image; infinite for all there are.
            chosen: ``[G]`` true for the objects to look at, None for all.

        Returns:
            One number per count under ``0.5``, ``0.7`` and ``average`` (over all ``IOUS``);
            not-a-number if there are no such objects.
        """
        needed = self.needed if chosen is None else self.needed[chosen]
        if not len(needed):
            return {name: [float("nan")] * len(counts) for name in ("0.5", "0.7", "average")}
        fractions = np.stack(
            [((needed <= count) & np.isfinite(needed)).mean(axis=0) for count in counts]
        )  # [counts, IOUS]
        return {
            "0.5": fractions[:, IOUS.index(0.5)].tolist(),
            "0.7": fractions[:, IOUS.index(0.7)].tolist(),
            "average": fractions.mean(axis=1).tolist(),
        }


def find_objects(
    proposals: Mapping[str, Proposals], annotations: Sequence[Annotation]
) -> FoundObjects:
    """Look for every object among the proposals of its image.

    Raises:
        KeyError: an image that the proposals do not know.
        ValueError: no images.
    """
    if not annotations:
        raise ValueError("recall of no images")
    per_image = [proposals[annotation.image_id] for annotation in annotations]
    ranks = _ranks(per_image)
    needed, labels, sides = [], [], []
    for annotation, of_image, rank in zip(annotations, per_image, ranks, strict=True):
        countable = ~annotation.difficult
        boxes = annotation.boxes[countable].double()
        labels.append(annotation.labels[countable].numpy())
        sides.append((boxes[:, 2:] - boxes[:, :2]).prod(dim=1).sqrt().numpy())
        overlaps = box_iou(of_image.boxes.double(), boxes).numpy()  # [R, G]
        reached = overlaps[:, :, None] >= np.array(IOUS)  # [R, G, IOUS]
        first = np.where(reached, rank[:, None, None], np.inf)
        needed.append(first.min(axis=0, initial=np.inf))
    return FoundObjects(
        np.concatenate(needed),
        np.concatenate(labels),
        np.concatenate(sides),
        sum(len(of_image.boxes) for of_image in per_image) / len(per_image),
        tuple(
            annotation.image_id
            for annotation, of_image in zip(annotations, per_image, strict=True)
            if not len(of_image.boxes)
        ),
    )


def _ranks(per_image: Sequence[Proposals]) -> list[NDArray[np.float64]]:
    """For every box: the boxes per image, on average, when it is the last one taken."""
    if any(of_image.scores is None for of_image in per_image):
        return [np.arange(1.0, len(of_image.boxes) + 1) for of_image in per_image]
    known = [of_image.scores for of_image in per_image if of_image.scores is not None]
    scores = torch.cat(known).numpy()
    order = np.argsort(-scores, kind="stable")
    ranks = np.empty(len(scores))
    ranks[order] = np.arange(1, len(scores) + 1) / len(per_image)
    ends = np.cumsum([len(of_image.boxes) for of_image in per_image])
    return np.split(ranks, ends[:-1])
