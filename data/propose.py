"""Proposals for one picture: selective search, edge boxes, or both. No annotation is looked at.

Every picture is worked on at a fixed size, so a score means the same in all of them. It sums two:
contours inside a box less those that cross its border (Zitnick and Dollar, "Edge Boxes", 2014), and
edges just inside of its border less half of those just outside; both per perimeter to the power of
1.5. Edge boxes bring the first along. Selective search (Uijlings et al., 2013) has no score of its
own: its boxes get a constant for the first, and twice the second.
"""

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import nms

from data.proposals import order_boxes
from data.types import Proposals

Method = Literal["selective_search", "edge_boxes", "both"]
Array = NDArray[np.float32]

REVISION = 2  # another one gives other boxes or scores with the same settings
KAPPA = 1.5  # power of the perimeter
BLUR = 1.5  # deviation in pixels, before the gradients
STEP, DENSITY = 0.65, 0.65  # alpha and beta of edge boxes: overlap of neighbours, of survivors
STRIP = 0.2  # share of a side that "just inside" and "just outside" reach
OUTSIDE = 0.5  # weight of the edges outside
EDGE_BORDER = 1.4  # weight of the border score beside the one that edge boxes bring along
SEARCH_BASE, SEARCH_BORDER = 0.25, 2.8  # selective search has the border score alone
REPEAT_OVERLAP, REPEAT = 0.7, 0.45  # a box that overlaps a better one by more counts less than half
MOST_EDGE_BOXES = 3000  # of one picture
SEARCH_SCALE = 0.3  # k of the first segmentation and the step to the next, as a share of the size
MOST_OVERLAP = 0.85  # boxes that overlap a better one by more go


@dataclass(frozen=True, slots=True)
class ProposeSettings:
    """How proposals are made; the defaults were tuned on VOC2007 trainval.

    Attributes:
        method: which of the two, or both.
        quality: selective search with more colours and similarities, about six times slower.
        search_sizes: longest side in pixels of the pictures that selective search works on.
        edge_size: longest side in pixels of the picture that edge boxes work on.
        min_size: least width and height of a box, in pixels of the original.
        min_score: least score.
        max_boxes: most boxes of one picture, the best ones.
    """

    method: Method = "both"
    quality: bool = False
    search_sizes: tuple[int, ...] = (250, 200)
    edge_size: int = 350
    min_size: float = 10
    min_score: float = 0.098
    max_boxes: int = 4000


def propose(image: Tensor, settings: ProposeSettings) -> Proposals:
    """Boxes that may hold an object, the best first; the same ones every time.

    Args:
        image: ``[3, H, W]`` uint8 RGB.
        settings: how.

    Returns:
        Boxes in pixels of the image with scores; none of a picture that is narrower than
        ``min_size``.
    """
    cv2.setNumThreads(1)  # processes are the better use of cores
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    image_size = pixels.shape[:2]
    edges = _Edges.of(_shrink(pixels, settings.edge_size))
    found = []
    if settings.method in ("edge_boxes", "both"):
        boxes, scores = _edge_boxes(edges, image_size)
        found.append((boxes, scores + EDGE_BORDER * _border_scores(boxes, edges, image_size)))
    if settings.method in ("selective_search", "both"):
        boxes = np.concatenate(
            [_search(pixels, size, settings.quality) for size in settings.search_sizes]
        )
        border = _border_scores(boxes, edges, image_size)
        found.append((boxes, SEARCH_BASE + SEARCH_BORDER * border))
    boxes, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
    sides = boxes[:, 2:] - boxes[:, :2]
    kept = (sides >= settings.min_size).all(axis=1) & (scores >= settings.min_score)
    boxes, scores = _without_repeats(*order_boxes(boxes[kept], scores[kept]))
    sure = slice(min(settings.max_boxes, int((scores >= settings.min_score).sum())))
    return Proposals(torch.from_numpy(boxes[sure]), torch.from_numpy(scores[sure]))


def _without_repeats(boxes: Array, scores: Array) -> tuple[Array, Array]:
    """Near copies of better boxes go, and those that resemble a better one come after the others.

    So a few boxes of one picture are of many places, and many are of the best places several times.
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


@dataclass(frozen=True, slots=True)
class _Edges:
    """Thin edges of a picture: strength 0 .. 1, and the direction across them in 0 .. pi."""

    strength: Array
    direction: Array

    @classmethod
    def of(cls, pixels: NDArray[np.uint8]) -> "_Edges":
        # of floats: a and b then weigh as much as L; OpenCV's bytes enlarge L 2.55 times
        lab = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) / 100
        soft = cv2.GaussianBlur(lab, (0, 0), BLUR)
        slopes = [cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1)]
        strongest = (slopes[0] ** 2 + slopes[1] ** 2).argmax(axis=2)[..., None]
        across, down = (np.take_along_axis(map_, strongest, axis=2)[..., 0] for map_ in slopes)
        direction = np.arctan2(down, across)
        thin = _thinned(np.hypot(across, down), direction)
        peak = float(thin.max(initial=0.0)) or 1.0
        return cls(
            np.ascontiguousarray(thin / peak, np.float32),
            np.ascontiguousarray(np.mod(direction, math.pi), np.float32),
        )


def _thinned(strength: Array, direction: Array) -> Array:
    """Strengths that are no less than one pixel further to either side across the edge."""
    rows, columns = np.indices(strength.shape, dtype=np.float32)
    right, below = np.cos(direction), np.sin(direction)
    sides = [
        cv2.remap(
            strength,
            columns + sign * right,
            rows + sign * below,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for sign in (1, -1)
    ]
    return np.where((strength >= sides[0]) & (strength >= sides[1]), strength, 0)


def _edge_boxes(edges: _Edges, image_size: tuple[int, int]) -> tuple[Array, Array]:
    maker = cv2.ximgproc.createEdgeBoxes(
        alpha=STEP,
        beta=DENSITY,
        kappa=KAPPA,
        maxBoxes=MOST_EDGE_BOXES,
        minScore=0.01,
        minBoxArea=50,
    )
    boxes, scores = maker.getBoundingBoxes(edges.strength, edges.direction)
    if not len(boxes):  # then there are no scores at all
        return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    return (
        _to_original(np.asarray(boxes), edges.strength.shape, image_size),
        np.asarray(scores, np.float32).reshape(-1),
    )


def _search(pixels: NDArray[np.uint8], size: int, quality: bool) -> Array:
    small = _shrink(pixels, size)
    maker = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    maker.setBaseImage(np.ascontiguousarray(small[:, :, ::-1]))
    scale = round(SEARCH_SCALE * size)
    if quality:
        maker.switchToSelectiveSearchQuality(scale, scale)
    else:
        maker.switchToSelectiveSearchFast(scale, scale)
    return _to_original(np.asarray(maker.process()), small.shape[:2], pixels.shape[:2])


def _border_scores(boxes: Array, edges: _Edges, image_size: tuple[int, int]) -> Array:
    """Edges just inside of the border less half of those just outside, per perimeter."""
    height, width = edges.strength.shape
    sums = np.asarray(cv2.integral(edges.strength), np.float64)
    scale = np.array([width / image_size[1], height / image_size[0]] * 2)
    ends = np.array([width, height, width, height])
    cells = np.clip(np.round(boxes * scale).astype(np.int64), 0, ends)
    sides = cells[:, 2:] - cells[:, :2]
    reach = np.maximum(np.round(sides * STRIP).astype(np.int64), 1)
    grow = np.concatenate([-reach, reach], axis=1)
    inner = cells - grow
    inner[:, 2:] = np.maximum(inner[:, 2:], inner[:, :2])
    inside, core, around = (
        _total(sums, region) for region in (cells, inner, np.clip(cells + grow, 0, ends))
    )
    scores = (inside - core) - OUTSIDE * (around - inside)
    per_perimeter = scores / np.maximum(sides.sum(axis=1), 1) ** KAPPA
    return np.asarray(per_perimeter, np.float32)


def _total(sums: NDArray[np.float64], cells: NDArray[np.int64]) -> NDArray[np.float64]:
    x1, y1, x2, y2 = cells.T
    return np.asarray(sums[y2, x2] - sums[y1, x2] - sums[y2, x1] + sums[y1, x1])


def _shrink(pixels: NDArray[np.uint8], longest_side: int) -> NDArray[np.uint8]:
    """Proportions kept; a smaller picture is enlarged, so that scores mean the same."""
    height, width = pixels.shape[:2]
    factor = longest_side / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _to_original(
    corner_and_size: NDArray[np.int32], small: tuple[int, ...], image_size: tuple[int, int]
) -> Array:
    """OpenCV's x y width height on the small picture to boxes of the original."""
    boxes = corner_and_size.reshape(-1, 4).astype(np.float64)
    boxes[:, 2:] += boxes[:, :2]
    boxes *= np.array([image_size[1] / small[1], image_size[0] / small[0]] * 2)
    height, width = image_size
    return np.clip(boxes, 0, [width, height, width, height]).astype(np.float32)
