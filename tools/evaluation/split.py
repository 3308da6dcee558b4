"""Predictions for a split compared with its annotations, whichever model makes them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch

from data.datasets.image_set import ImageSet
from data.evaluation.matching import MatchTable, match_detections
from data.evaluation.metrics import Floats, corlocs
from data.evaluation.voc_eval import corloc
from data.shard import join_shards
from data.types import Annotation, Detections
from localizer.boxes import heatmaps_to_boxes
from localizer.heatmap_statistics import (
    HeatmapStatistics,
    Value,
    present_labels,
    statistics_of,
)
from localizer.localize import ImageHeatmaps
from localizer.settings import BoxSettings
from tools.cli.console import saying, track
from tools.evaluation.metrics import Evaluation, summarize
from tools.models.device import evaluation_mode
from tools.models.ranks import gather, shard
from tools.prediction.predictions import Prediction, Predictions

Seen = TypeVar("Seen")
_Best = dict[float, Detections]
_OfImage = tuple[Floats, Detections, Detections, list[Value], _Best]
CURVE_THRESHOLDS = tuple(round(0.1 + 0.05 * k, 2) for k in range(15))


def evaluate(predictions: Predictions, *, description: str = "evaluation") -> Evaluation:
    """Predict for every image and compare with the annotations.

    CorLoc takes the top-scoring box of each class, whatever its score; AP takes detections above
    1e-4. Every module gets its own mode back afterward.

    Args:
        predictions: of a split.
        description: for the progress.

    Raises:
        Interrupted: a signal came.
    """
    dataset, boxes = predictions.dataset, predictions.boxes
    curve = ThresholdCurve(predictions)

    def look(annotation: Annotation, prediction: Prediction) -> _OfImage:
        heatmaps, values = prediction.heatmaps, list[Value]()
        if heatmaps is not None and boxes is not None:
            values = statistics_of(heatmaps, annotation, boxes.thresholds[0])
        scores = prediction.image_scores.numpy()
        best = curve.best_of(heatmaps, annotation)
        return scores, prediction.detections, prediction.top1, values, best

    seen = _look(predictions, description, look)
    scores, detections, top_scoring, values, best = zip(*seen, strict=True)
    statistics = HeatmapStatistics(len(dataset.classes))
    for of_image in values:
        statistics.add(of_image)
    with saying("comparing with the annotations"):
        return summarize(
            dataset,
            np.stack(scores),
            dict(zip(dataset.ids, detections, strict=True)),
            dict(zip(dataset.ids, top_scoring, strict=True)),
            heatmaps=statistics.per_class() if boxes else None,
            threshold_curve=curve.corloc(best),
        )


def evaluate_corloc(
    predictions: Predictions, *, description: str
) -> tuple[dict[str, Floats], dict[float, float]]:
    """CorLoc alone, of the images that the labels came from.

    Args:
        predictions: of these images.
        description: for the progress.

    Returns:
        CorLoc ``[C]`` by name of the metric, see ``data.evaluation.metrics.corlocs``, and its mean
        by threshold of the heatmaps.
    """
    dataset, curve = predictions.dataset, ThresholdCurve(predictions)

    def look(annotation: Annotation, prediction: Prediction) -> tuple[Detections, _Best]:
        return prediction.top1, curve.best_of(prediction.heatmaps, annotation)

    top_scoring, best = zip(*_look(predictions, description, look), strict=True)
    return corlocs(_matches(dataset, top_scoring)), curve.corloc(best)


def _look(
    predictions: Predictions, description: str, look: Callable[[Annotation, Prediction], Seen]
) -> list[Seen]:
    """What is kept of every image, in their order; each rank looks at its part."""
    annotations = predictions.dataset.annotations
    part = shard().of(range(len(annotations)))
    with evaluation_mode(predictions.module):
        seen = [
            look(annotations[index], predictions[index])
            for index in track(part, description, total=len(part))
        ]
    return join_shards(gather(seen))


def _matches(dataset: ImageSet, top_scoring: Sequence[Detections]) -> MatchTable:
    count, by_id = len(dataset.classes), dict(zip(dataset.ids, top_scoring, strict=True))
    return match_detections(by_id, dataset.annotations, num_classes=count)


class ThresholdCurve:
    """CorLoc against the threshold of the heatmaps' boxes; empty for a model without heatmaps."""

    def __init__(self, predictions: Predictions) -> None:
        self.dataset = predictions.dataset
        self.boxes = {
            threshold: replace(predictions.boxes, thresholds=(threshold,))
            for threshold in CURVE_THRESHOLDS
            if predictions.boxes is not None
        }

    def best_of(self, heatmaps: ImageHeatmaps | None, annotation: Annotation) -> _Best:
        """The best box of each present class of an image, by threshold."""
        if heatmaps is None:
            return {}
        present = present_labels(annotation)
        return {t: _best_boxes(heatmaps, present, boxes) for t, boxes in self.boxes.items()}

    def corloc(self, best: Sequence[_Best]) -> dict[float, float]:
        """Mean CorLoc by threshold; of every image in their order."""
        return {
            t: corloc(_matches(self.dataset, [of_image[t] for of_image in best])).mean
            for t in self.boxes
        }


def _best_boxes(heatmaps: ImageHeatmaps, labels: list[int], boxes: BoxSettings) -> Detections:
    """The best box of each of some classes."""
    best, maps, _ = heatmaps_to_boxes(
        heatmaps.logits[labels], heatmaps.geometry, heatmaps.network_size, boxes, max_boxes=1
    )
    of_boxes = torch.tensor(labels, dtype=torch.int64)[maps]
    return Detections(best * heatmaps.to_original, of_boxes, torch.ones(len(best)))
