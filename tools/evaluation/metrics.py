"""Every number of a split from image scores and detections, whichever model they come from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.datasets.image_set import ImageSet
from data.evaluation.error_kinds import error_kinds
from data.evaluation.image_metrics import eval_classification, mean_over_present
from data.evaluation.matching import ClassMatches, match_detections
from data.evaluation.voc_eval import PrecisionRecall, ap_of_matches, corloc, precision_recall
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
    """

    scores: Floats
    detections: dict[str, Detections]
    metrics: dict[str, float]
    per_class: dict[str, dict[str, float | None]]
    threshold_curve: dict[float, float]
    box_curves: dict[str, list[tuple[float, float]]]


def summarize(
    dataset: ImageSet,
    scores: Floats,
    detections: dict[str, Detections],
    top_scoring: Mapping[str, Detections],
    *,
    further: Mapping[str, Floats] | None = None,
    threshold_curve: dict[float, float] | None = None,
) -> Evaluation:
    """Compare with the annotations.

    Args:
        dataset: the split.
        scores: ``[N, C]`` probabilities that an image holds a class.
        detections: by image id, for AP, recall of boxes and kinds of errors.
        top_scoring: by image id, with the top-scoring box of each class whatever its score, for
            CorLoc.
        further: other numbers by name, ``[C]`` each.
        threshold_curve: kept in the evaluation as it is.
    """
    annotations, count = dataset.annotations, len(dataset.classes)
    image = eval_classification(
        scores, dataset.targets.double().numpy(), dataset.weights.double().numpy()
    )
    matches = match_detections(detections, annotations, num_classes=count)
    top1 = match_detections(top_scoring, annotations, num_classes=count)
    columns = {
        "image_map": image.average_precision,
        "f2": image.f_beta,
        "recall": image.recall,
        "box_map_11point": ap_of_matches(matches, use_07_metric=True).per_class,
        "box_map_area": ap_of_matches(matches, use_07_metric=False).per_class,
        "corloc": corloc(top1).per_class,
        "box_recall": np.array([_final_recall(of_class) for of_class in matches]),
        **(further or {}),
        **{f"errors_{kind}": fractions for kind, fractions in error_kinds(matches).items()},
    }
    return Evaluation(
        scores,
        detections,
        {name: mean_over_present(column) for name, column in columns.items()},
        {
            name: {key: _number(column[label]) for key, column in columns.items()}
            for label, name in enumerate(dataset.classes)
        },
        threshold_curve or {},
        {
            name: _thinned(precision_recall(of_class))
            for name, of_class in zip(dataset.classes, matches, strict=True)
            if of_class.num_objects
        },
    )


def _final_recall(matches: ClassMatches) -> float:
    """Fraction of a class's objects that some detection hits, however low its score."""
    return float(matches.is_hit.sum()) / matches.num_objects if matches.num_objects else math.nan


def _thinned(curve: PrecisionRecall) -> list[tuple[float, float]]:
    step = max(1, len(curve.recall) // CURVE_POINTS)
    return list(zip(curve.recall[::step].tolist(), curve.precision[::step].tolist(), strict=True))


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
