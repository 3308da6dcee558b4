"""A heatmap to boxes: connected components above a fraction of the map's range."""

import cv2
import numpy as np
import torch
from torch import Tensor

from localizer.backbones import Geometry
from localizer.settings import BoxSettings


def heatmap_to_boxes(
    heatmap: Tensor,
    geometry: Geometry,
    image_size: tuple[int, int],
    settings: BoxSettings,
    *,
    max_boxes: int = 10,
) -> tuple[Tensor, Tensor]:
    """Boxes around the hot regions of one class's heatmap.

    Args:
        heatmap: ``[h, w]`` logits of one image and class, valid cells only.
        geometry: of the map.
        image_size: (height, width) of the network image without padding; boxes are clipped to it.
        settings: each of its thresholds gives its own boxes; a cell is hot when its logit is at
            least ``min + t * (max - min)``. ``components`` boxes each 8-connected region,
            ``extent`` all hot cells together.
        max_boxes: most boxes that are returned, the best.

    Returns:
        boxes ``[k, 4]`` in pixels of the network image, each the union of its cells' squares, and
        scores ``[k]`` in (0, 1]: the region's highest value as a fraction of the map's range, so
        the region of the peak has 1. Sorted by score, then by area, larger first, then from top to
        bottom and from left to right. A constant map gives none.

    Raises:
        ValueError: a cell is not finite.
    """
    if not torch.isfinite(heatmap).all():
        raise ValueError("a heatmap has a cell that is not finite")
    values = heatmap.detach().float().cpu().numpy()
    low, high = float(values.min()), float(values.max())
    if not high > low:
        return torch.zeros(0, 4), torch.zeros(0)
    fractions = (values - low) / (high - low)
    regions = [
        region
        for threshold in settings.thresholds
        for region in _regions(fractions, values >= low + threshold * (high - low), settings)
    ]
    if not regions:
        return torch.zeros(0, 4), torch.zeros(0)
    cells, scores = (np.array(column) for column in zip(*regions, strict=True))
    area = (cells[:, 2] - cells[:, 0]) * (cells[:, 3] - cells[:, 1])
    order = np.lexsort((cells[:, 0], cells[:, 1], -area, -scores))[:max_boxes].copy()
    boxes = _cells_to_pixels(torch.from_numpy(cells[order]), geometry, image_size)
    return boxes, torch.from_numpy(scores[order]).float()


def _regions(
    fractions: np.ndarray, hot: np.ndarray, settings: BoxSettings
) -> list[tuple[tuple[int, int, int, int], float]]:
    """Half-open cell rectangles (x1, y1, x2, y2) and the highest fraction in each region."""
    if settings.mode == "extent":
        rows, columns = np.nonzero(hot)
        if len(rows) < settings.min_cells:
            return []
        rectangle = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        return [(rectangle, float(fractions[hot].max()))]
    count, numbers, stats, _ = cv2.connectedComponentsWithStats(hot.astype(np.uint8))
    regions = []
    for region in range(1, count):  # number 0 is the cells that are not hot
        left, top, width, height, size = (int(value) for value in stats[region])
        if size >= settings.min_cells:
            best = float(fractions[numbers == region].max())
            regions.append(((left, top, left + width, top + height), best))
    return regions


def _cells_to_pixels(cells: Tensor, geometry: Geometry, image_size: tuple[int, int]) -> Tensor:
    height, width = image_size
    limit = torch.tensor([width, height, width, height], dtype=torch.float32)
    return (geometry.start + geometry.stride * cells.float()).clamp(min=0).minimum(limit)
