"""Proposals for one image: selective search, edge boxes, or both. No annotation is looked at.

Every image is worked on at fixed sizes, so a score means the same in all of them. It sums two:
contours inside a box less those that cross its border (Zitnick and Dollar, "Edge Boxes", 2014), and
the contrast of edges at its border. Edge boxes have the first already. Selective search (Uijlings
et al., 2013) has no score: its boxes get a constant for the first, and more than twice the second.
The sum is raised the more, the fewer segments a box cuts and the more its colors differ.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import nms

from data.images import read_image
from data.parallel import map_parallel, usable_cores
from data.proposals.files import order_boxes
from data.proposals.objectness import (
    Array,
    Edges,
    Pixels,
    color_contrast,
    edge_contrast,
    shrink,
    whole_segments,
)
from data.proposals.settings import ProposeSettings
from data.types import Proposals

REVISION = 4  # another one gives other boxes or scores with the same settings
KAPPA = 1.5  # power of the perimeter
DENSITY = 0.65  # beta of edge boxes: overlap of those that are kept
STEPS = (0.65, 0.7)  # alpha: overlap of neighboring windows at the first size, at the others
LONGEST = (3.0, 3.3)  # greatest ratio of sides, likewise: five ratios of alpha .65, seven of .7
MOST_EDGE_BOXES = 2500  # of one image at one size
# k of the first segmentation and the step to the next, as a fraction of the size
SEARCH_SCALE = 0.3
EDGE_BORDER = 1.2  # weight of the edge contrast that is added to the score of edge boxes
SEARCH_BASE, SEARCH_BORDER = 0.25, 2.8  # constant and weight where there is no other score
WHOLE_SEGMENTS = 0.5  # increase of the score of a box that cuts no segment
COLOR_CONTRAST = 3.0  # increase for a box that shares no color with its surroundings
MOST_OVERLAP = 0.85  # boxes that overlap a better one by more are removed
REPEAT_OVERLAP, REPEAT = 0.65, 0.4  # scores of boxes that overlap a better one by more shrink


def propose(image: Tensor, settings: ProposeSettings) -> Proposals:
    """Boxes that may hold an object, the best first; the same ones every time.

    Args:
        image: ``[3, H, W]`` uint8 RGB.
        settings: method, sizes and limits.

    Returns:
        Boxes in pixels of the image with scores; none of an image that is narrower than
        ``min_size``.
    """
    cv2.setNumThreads(1)  # processes are the better use of cores
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    image_size = pixels.shape[:2]
    edges = [Edges.of(shrink(pixels, size)) for size in settings.edge_sizes]
    parts = []
    if settings.method in ("edge_boxes", "both"):
        boxes, scores = _edge_boxes(edges, image_size)
        border = edge_contrast(boxes, image_size, edges[0], KAPPA)
        parts.append((boxes, scores + EDGE_BORDER * border))
    if settings.method in ("selective_search", "both"):
        boxes = np.concatenate(
            [_search(pixels, size, settings.quality) for size in settings.search_sizes]
        )
        border = edge_contrast(boxes, image_size, edges[0], KAPPA)
        parts.append((boxes, SEARCH_BASE + SEARCH_BORDER * border))
    boxes, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
    scores = raise_scores(scores, boxes, pixels)
    sides = boxes[:, 2:] - boxes[:, :2]
    kept = (sides >= settings.min_size).all(axis=1) & (scores >= settings.min_score)
    boxes, scores = _without_repeats(*order_boxes(boxes[kept], scores[kept]))
    best = slice(min(settings.max_boxes, int((scores >= settings.min_score).sum())))
    return Proposals(torch.from_numpy(boxes[best]), torch.from_numpy(scores[best]))


def propose_files(
    paths: Sequence[Path], settings: ProposeSettings, *, processes: int
) -> Iterator[Proposals]:
    """The proposals of image files in their order, made in several processes.

    Args:
        paths: of the images.
        settings: as for ``propose``.
        processes: that work side by side; 0 for one a core.

    Raises:
        ValueError: a file does not decode; at its turn.
    """
    cv2.setNumThreads(1)  # a process that inherits a pool of threads waits forever to end it
    work = partial(_propose_file, settings)
    return map_parallel(work, paths, processes=processes or usable_cores())


def _propose_file(settings: ProposeSettings, path: Path) -> Proposals:
    return propose(read_image(path), settings)


def raise_scores(scores: Array, boxes: Array, pixels: Pixels) -> Array:
    """Scores ``[R]`` times 1.5 at most for whole segments and times 4 at most for own colors."""
    scores = scores * (1 + WHOLE_SEGMENTS * whole_segments(boxes, pixels))
    return scores * (1 + COLOR_CONTRAST * color_contrast(boxes, pixels))


def _without_repeats(boxes: Array, scores: Array) -> tuple[Array, Array]:
    """Remove near copies of better boxes; those that resemble a better one come after the others.

    So the first boxes of an image cover many places, and later ones the best places again.
    """
    best = _different(boxes, MOST_OVERLAP)
    boxes, scores = boxes[best], scores[best]
    repeats = np.ones(len(boxes), dtype=bool)
    repeats[_different(boxes, REPEAT_OVERLAP)] = False
    return order_boxes(boxes, np.where(repeats, REPEAT * scores, scores).astype(np.float32))


def _different(boxes: Array, overlap: float) -> NDArray[np.int64]:
    """Rows of ordered boxes that overlap no earlier one by more."""
    ranks = -torch.arange(len(boxes), dtype=torch.float32)  # no ties
    return np.asarray(nms(torch.from_numpy(boxes), ranks, overlap).numpy(), np.int64)


def _edge_boxes(sizes: list[Edges], image_size: tuple[int, int]) -> tuple[Array, Array]:
    """Boxes of every size, with the scores that they would have at the first."""
    boxes, scores = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
    for number, edges in enumerate(sizes):
        maker = cv2.ximgproc.createEdgeBoxes(
            alpha=STEPS[min(number, 1)],
            beta=DENSITY,
            kappa=KAPPA,
            maxAspectRatio=LONGEST[min(number, 1)],
            maxBoxes=MOST_EDGE_BOXES,
            minScore=0.01,
            minBoxArea=50,
        )
        corners, strengths = maker.getBoundingBoxes(edges.strength, edges.direction)
        if len(corners):  # else OpenCV gives no array of scores
            larger = max(edges.strength.shape) / max(sizes[0].strength.shape)
            boxes.append(_to_original(np.asarray(corners), edges.strength.shape, image_size))
            scores.append(np.asarray(strengths, np.float32).reshape(-1) * larger ** (KAPPA - 1))
    return np.concatenate(boxes), np.concatenate(scores, dtype=np.float32)


def _search(pixels: Pixels, size: int, quality: bool) -> Array:
    small = shrink(pixels, size)
    maker = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    maker.setBaseImage(np.ascontiguousarray(small[:, :, ::-1]))
    scale = round(SEARCH_SCALE * size)
    if quality:
        maker.switchToSelectiveSearchQuality(scale, scale)
    else:
        maker.switchToSelectiveSearchFast(scale, scale)
    return _to_original(np.asarray(maker.process()), small.shape[:2], pixels.shape[:2])


def _to_original(
    corner_and_size: NDArray[np.int32], small: tuple[int, ...], image_size: tuple[int, int]
) -> Array:
    """OpenCV's x y width height on the small image to boxes of the original."""
    boxes = corner_and_size.reshape(-1, 4).astype(np.float64)
    boxes[:, 2:] += boxes[:, :2]
    boxes *= np.array([image_size[1] / small[1], image_size[0] / small[0]] * 2)
    height, width = image_size
    return np.clip(boxes, 0, [width, height, width, height]).astype(np.float32)
