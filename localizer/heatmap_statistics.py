"""Where heatmaps of present classes lie: on the object or beside it, on all of it or on a part.

Point accuracy: the fraction of images in which the highest cell is in a box of the class, grown by
``POINT_TOLERANCE``. Heatmap coverage: the fraction of an object's cells above the threshold. Peak
over mean: how sharp a heatmap is, 1 for a constant one.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.types import Annotation
from localizer.heatmaps import normalize_range, peak_point
from localizer.localize import ImageHeatmaps

POINT_TOLERANCE = 18  # pixels of the original that a peak may miss its box by (Oquab et al., 2015)


def present_labels(annotation: Annotation) -> list[int]:
    """Classes with an object that is not difficult, ascending."""
    return sorted(set(annotation.labels[~annotation.difficult].tolist()))


Value = tuple[str, int, float]  # name of a statistic, class, and what an image gives it


def statistics_of(heatmaps: ImageHeatmaps, annotation: Annotation, threshold: float) -> list[Value]:
    """What one image gives; classes with objects that are not difficult take part."""
    values, countable = list[Value](), ~annotation.difficult
    for label in present_labels(annotation):
        boxes = annotation.boxes[countable & (annotation.labels == label)]
        network_boxes = boxes / heatmaps.to_original
        fraction = normalize_range(heatmaps.logits[label])
        values.append(("point_accuracy", label, _peak_is_inside(heatmaps, label, boxes)))
        mean = float(fraction.mean())
        if mean > 0:
            values.append(("peak_mean_ratio", label, 1 / mean))
        for inside in _cells_inside(heatmaps, fraction, network_boxes):
            covered = float((inside >= threshold).float().mean())
            values.append(("heatmap_coverage", label, covered))
    return values


class HeatmapStatistics:
    """Sums over images of the three statistics, for present classes."""

    def __init__(self, num_classes: int) -> None:
        self.sums = {
            name: np.zeros(num_classes)
            for name in ("point_accuracy", "heatmap_coverage", "peak_mean_ratio")
        }
        self.counts = {name: np.zeros(num_classes) for name in self.sums}

    def per_class(self) -> dict[str, NDArray[np.float64]]:
        """Means by name, ``[C]`` each, nan for an absent class."""
        means = {}
        for name, sums in self.sums.items():
            means[name] = np.full(len(sums), np.nan)
            np.divide(sums, self.counts[name], out=means[name], where=self.counts[name] > 0)
        return means

    def add(self, values: Sequence[Value]) -> None:
        """Count those of one image."""
        for name, label, value in values:
            self.sums[name][label] += value
            self.counts[name][label] += 1


def _peak_is_inside(heatmaps: ImageHeatmaps, label: int, boxes: Tensor) -> bool:
    """Whether the peak lies in a box grown by the tolerance; boxes in the original image."""
    point = torch.tensor(peak_point(heatmaps.logits[label], heatmaps.geometry))
    x, y = point * heatmaps.to_original[:2]
    grown = boxes + torch.tensor([-1.0, -1.0, 1.0, 1.0]) * POINT_TOLERANCE
    inside = (grown[:, 0] <= x) & (x < grown[:, 2]) & (grown[:, 1] <= y) & (y < grown[:, 3])
    return bool(inside.any())


def _cells_inside(heatmaps: ImageHeatmaps, fraction: Tensor, boxes: Tensor) -> list[Tensor]:
    """For each box the values of the cells centered in it; a box without any is left out."""
    half = heatmaps.geometry.stride / 2
    ys, xs = (heatmaps.geometry.edges(count)[:-1] + half for count in fraction.shape)
    values = []
    for x1, y1, x2, y2 in boxes.tolist():
        inside = fraction[(ys >= y1) & (ys < y2)][:, (xs >= x1) & (xs < x2)]
        if inside.numel():
            values.append(inside)
    return values
