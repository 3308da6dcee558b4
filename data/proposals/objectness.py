"""Signs of an object in a box: edges along its border, uncut segments, colors of its own.

Every measure looks at a small copy of the image of its own size, through sums of all that lies
above and to the left, so that thousands of boxes cost little more than one.
"""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]

BLUR = 1.5  # deviation in pixels, before the gradients
STRIP = 0.2  # fraction of a side that "just inside" and "just outside" reach
OUTSIDE = 0.5  # weight of the edges outside
SEGMENT_SIZE, SEGMENT_BLUR = 200, 0.8  # longest side and deviation in pixels
SEGMENT_SCALE, LEAST_SEGMENT = 100.0, 40  # k of the segmentation, least area in pixels
COLOR_SIZE, COLOR_BLUR = 150, 0.8  # longest side and deviation in pixels
COLOR_LEVELS = (5, 3, 3)  # of L, a and b


@dataclass(frozen=True, slots=True)
class Edges:
    """Thin edges of an image: strength 0 .. 1, and the direction across them in 0 .. pi."""

    strength: Array
    direction: Array

    @classmethod
    def of(cls, pixels: Pixels) -> "Edges":
        """Edges of ``[H, W, 3]`` RGB, of the same size."""
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


def edge_contrast(boxes: Array, image_size: tuple[int, int], edges: Edges, power: float) -> Array:
    """Edges just inside of the border less half of those just outside.

    Args:
        boxes: ``[R, 4]`` in pixels of the image.
        image_size: height and width of the image.
        edges: of the image at any size.
        power: divides by width plus height, in pixels of the edges, to the power of it.

    Returns:
        ``[R]``.
    """
    cells = _cells(boxes, image_size, edges.strength.shape)
    sides = cells[:, 2:] - cells[:, :2]
    reach = _reach(cells)
    inner = np.concatenate([cells[:, :2] + reach, cells[:, 2:] - reach], axis=1)
    inner[:, 2:] = np.maximum(inner[:, 2:], inner[:, :2])
    sums = np.asarray(cv2.integral(edges.strength), np.float64)
    around = _grown(cells, edges.strength.shape)
    inside, core, outside = (_total(sums, region) for region in (cells, inner, around))
    scores = (inside - core) - OUTSIDE * (outside - inside)
    return np.asarray(scores / np.maximum(sides.sum(axis=1), 1) ** power, np.float32)


def whole_segments(boxes: Array, pixels: Pixels) -> Array:
    """How few of the image's segments the border of a box cuts in two.

    "Superpixel straddling" of Alexe, Deselaers and Ferrari, "Measuring the objectness of image
    windows" (2012): 1 less the fraction of the box in segments that reach out of it, or of what
    reaches out if that is less.

    Args:
        boxes: ``[R, 4]`` in pixels of the image.
        pixels: ``[H, W, 3]`` RGB.

    Returns:
        ``[R]`` in 0 .. 1.
    """
    small = cv2.cvtColor(shrink(pixels, SEGMENT_SIZE), cv2.COLOR_RGB2Lab)
    maker = cv2.ximgproc.segmentation.createGraphSegmentation(
        sigma=SEGMENT_BLUR, k=SEGMENT_SCALE, min_size=LEAST_SEGMENT
    )
    segments = maker.processImage(small)
    sums = _sums_of_labels(segments)
    inside = _total(sums, _cells(boxes, pixels.shape, segments.shape))
    cut = np.minimum(inside, sums[-1, -1] - inside).sum(axis=1)
    return np.asarray(1 - cut / np.maximum(inside.sum(axis=1), 1), np.float32)


def color_contrast(boxes: Array, pixels: Pixels) -> Array:
    """How much the colors in a box differ from those around it.

    After the color contrast of Alexe et al. (2012): half of the chi-square distance of the two
    histograms, over levels of Lab that each cover the same area of the image.

    Args:
        boxes: ``[R, 4]`` in pixels of the image.
        pixels: ``[H, W, 3]`` RGB.

    Returns:
        ``[R]`` in 0 .. 1; half for the box of the whole image, which has nothing around it.
    """
    small = cv2.GaussianBlur(shrink(pixels, COLOR_SIZE), (0, 0), COLOR_BLUR)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2Lab)
    colors = np.zeros(lab.shape[:2], np.int64)
    for channel, levels in enumerate(COLOR_LEVELS):
        steps = np.quantile(lab[..., channel], np.arange(1, levels) / levels)
        colors = levels * colors + np.searchsorted(steps, lab[..., channel], "right")
    sums = _sums_of_labels(colors)
    cells = _cells(boxes, pixels.shape, colors.shape)
    inside = _total(sums, cells)
    outside = _total(sums, _grown(cells, colors.shape)) - inside
    inside, outside = (
        count / np.maximum(count.sum(axis=1, keepdims=True), 1) for count in (inside, outside)
    )
    distance = (inside - outside) ** 2 / np.maximum(inside + outside, 1e-6)
    return np.asarray(distance.sum(axis=1) / 2, np.float32)


def shrink(pixels: Pixels, longest_side: int) -> Pixels:
    """Proportions kept; a smaller image is enlarged, so that measures mean the same."""
    height, width = pixels.shape[:2]
    factor = longest_side / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


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


def _cells(boxes: Array, image_size: tuple[int, ...], size: tuple[int, ...]) -> NDArray[np.int64]:
    """Boxes of an image of one size in pixels of a copy of another."""
    scale = np.array([size[1] / image_size[1], size[0] / image_size[0]] * 2)
    return np.asarray(np.round(boxes * scale), np.int64)


def _reach(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.maximum(np.asarray(np.round((cells[:, 2:] - cells[:, :2]) * STRIP), np.int64), 1)


def _grown(cells: NDArray[np.int64], size: tuple[int, ...]) -> NDArray[np.int64]:
    """With what lies just outside, as far as the image reaches."""
    reach = _reach(cells)
    low = np.maximum(cells[:, :2] - reach, 0)
    high = np.minimum(cells[:, 2:] + reach, [size[1], size[0]])
    return np.concatenate([low, high], axis=1)


def _sums_of_labels(labels: NDArray[Any]) -> Array:
    """``[H + 1, W + 1, L]``: pixels of every label above and to the left."""
    every = np.arange(int(labels.max()) + 1)[:, None, None]
    parts = [cv2.integral(part) for part in (labels == every).astype(np.uint8)]
    return np.stack(parts, axis=2).astype(np.float32)


def _total(sums: NDArray[Any], cells: NDArray[np.int64]) -> NDArray[Any]:
    x1, y1, x2, y2 = cells.T
    return np.asarray(sums[y2, x2] - sums[y1, x2] - sums[y2, x1] + sums[y1, x1])
