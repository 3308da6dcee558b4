"""The numbers of a split from image scores and detections, whichever model they come from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.datasets.image_set import ImageSet
from data.evaluation.image_metrics import mean_over_present
from data.evaluation.matching import match_detections
from data.evaluation.metrics import METRICS, Comparison
from data.evaluation.voc_eval import precision_recall
from data.types import Detections

CURVE_POINTS = 100

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The numbers of a model on a split.

    Attributes:
        scores: ``[N, C]`` probabilities in the order of the data set.
        detections: by image id; score at least 1e-4, at most 100 an image.
        metrics: means over the classes, by their names in ``report.json``.
        per_class: the same numbers for each class by name, None where it is absent.
        threshold_curve: CorLoc by heatmap threshold; empty for a detector.
        box_curves: (recall, precision) of each class's detections by name, thinned to about a
            hundred points; none of a class without objects.
        tail_accuracy_curve: of each class by name, see ``TailAccuracy.curves``.
    """

    scores: Floats
    detections: dict[str, Detections]
    metrics: dict[str, float]
    per_class: dict[str, dict[str, float | None]]
    threshold_curve: dict[float, float]
    box_curves: dict[str, list[tuple[float, float]]]
    tail_accuracy_curve: dict[str, dict[str, list[float]]]


def summarize(
    dataset: ImageSet,
    scores: Floats,
    detections: dict[str, Detections],
    top_scoring: Mapping[str, Detections],
    *,
    heatmaps: Mapping[str, Floats] | None = None,
    threshold_curve: dict[float, float] | None = None,
) -> Evaluation:
    """Compare with the annotations by every metric of ``METRICS`` that the model has.

    Args:
        dataset: the split.
        scores: ``[N, C]`` probabilities that an image holds a class.
        detections: by image id, for AP, recall of boxes and kinds of errors.
        top_scoring: by image id, with the top-scoring box of each class whatever its score, for
            CorLoc.
        heatmaps: statistics of heatmaps by name, ``[C]`` each; None for a model without any.
        threshold_curve: kept in the evaluation as it is.
    """
    annotations, count = dataset.annotations, len(dataset.classes)
    matches = match_detections(detections, annotations, num_classes=count)
    comparison = Comparison(
        scores,
        dataset.targets.double().numpy(),
        dataset.weights.double().numpy(),
        matches=matches,
        top1=match_detections(top_scoring, annotations, num_classes=count, objects=matches.objects),
        heatmaps=heatmaps or {},
    )
    every = {name: metric.per_class(comparison) for name, metric in METRICS.items()}
    columns = {name: column for name, column in every.items() if column is not None}
    return Evaluation(
        scores,
        detections,
        {name: mean_over_present(column) for name, column in columns.items()},
        {
            name: {key: number_or_none(column[label]) for key, column in columns.items()}
            for label, name in enumerate(dataset.classes)
        },
        threshold_curve or {},
        {
            name: _thinned(*precision_recall(of_class))
            for name, of_class in zip(dataset.classes, comparison.matches, strict=True)
            if of_class.num_objects
        },
        {dataset.classes[label]: curve for label, curve in comparison.tail.curves().items()},
    )


def _thinned(recall: Floats, precision: Floats) -> list[tuple[float, float]]:
    step = max(1, len(recall) // CURVE_POINTS)
    return list(zip(recall[::step].tolist(), precision[::step].tolist(), strict=True))


def number_or_none(value: float) -> float | None:
    """The number for a file, or None for nan: there is nothing to measure."""
    return None if math.isnan(value) else float(value)
