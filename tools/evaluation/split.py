"""Predictions for a split compared with its annotations, whichever model makes them."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch

from data.datasets.image_set import ImageSet
from data.evaluation.matching import MatchTable, match_detections
from data.evaluation.metrics import Floats, corlocs
from data.evaluation.voc_eval import corloc
from data.types import Annotation, Detections
from localizer.boxes import heatmaps_to_boxes
from localizer.heatmap_statistics import HeatmapStatistics, present_labels
from localizer.localize import ImageHeatmaps
from localizer.settings import BoxSettings
from tools.cli.console import saying, track
from tools.evaluation.metrics import Evaluation, summarize
from tools.models.device import evaluation_mode
from tools.prediction.predictions import Prediction, Predictions

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
    dataset = predictions.dataset
    scores, detections, top_scoring = [], {}, {}
    statistics, curve = HeatmapStatistics(len(dataset.classes)), ThresholdCurve(predictions)
    for annotation, prediction in _each(predictions, description):
        scores.append(prediction.image_scores.numpy())
        detections[annotation.image_id] = prediction.detections
        top_scoring[annotation.image_id] = prediction.top1
        if prediction.heatmaps is not None and predictions.boxes is not None:
            statistics.add(prediction.heatmaps, annotation, predictions.boxes.thresholds[0])
            curve.add(prediction.heatmaps, annotation)
    with saying("comparing with the annotations"):
        return summarize(
            dataset,
            np.stack(scores),
            detections,
            top_scoring,
            heatmaps=statistics.per_class() if predictions.boxes else None,
            threshold_curve=curve.corloc(),
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
    top_scoring, curve = {}, ThresholdCurve(predictions)
    for annotation, prediction in _each(predictions, description):
        top_scoring[annotation.image_id] = prediction.top1
        if prediction.heatmaps is not None:
            curve.add(prediction.heatmaps, annotation)
    return corlocs(_matches(predictions.dataset, top_scoring)), curve.corloc()


def _each(predictions: Predictions, description: str) -> Iterator[tuple[Annotation, Prediction]]:
    """Every image's annotation and prediction, made in evaluation mode."""
    annotations = predictions.dataset.annotations
    with evaluation_mode(predictions.module):
        for index, annotation in enumerate(track(annotations, description, total=len(annotations))):
            yield annotation, predictions[index]


def _matches(dataset: ImageSet, top_scoring: Mapping[str, Detections]) -> MatchTable:
    count = len(dataset.classes)
    return match_detections(top_scoring, dataset.annotations, num_classes=count)


class ThresholdCurve:
    """CorLoc against the threshold of the heatmaps' boxes; empty for a model without heatmaps."""

    def __init__(self, predictions: Predictions) -> None:
        self.dataset = predictions.dataset
        self.boxes = {
            threshold: replace(predictions.boxes, thresholds=(threshold,))
            for threshold in CURVE_THRESHOLDS
            if predictions.boxes is not None
        }
        self.best: dict[float, dict[str, Detections]] = {t: {} for t in self.boxes}

    def add(self, heatmaps: ImageHeatmaps, annotation: Annotation) -> None:
        """Take an image in."""
        present = present_labels(annotation)
        for threshold, boxes in self.boxes.items():
            best = _best_boxes(heatmaps, present, boxes)
            self.best[threshold][annotation.image_id] = best

    def corloc(self) -> dict[float, float]:
        """Mean CorLoc by threshold."""
        return {t: corloc(_matches(self.dataset, best)).mean for t, best in self.best.items()}


def _best_boxes(heatmaps: ImageHeatmaps, labels: list[int], boxes: BoxSettings) -> Detections:
    """The best box of each of some classes."""
    best, maps, _ = heatmaps_to_boxes(
        heatmaps.logits[labels], heatmaps.geometry, heatmaps.network_size, boxes, max_boxes=1
    )
    of_boxes = torch.tensor(labels, dtype=torch.int64)[maps]
    return Detections(best * heatmaps.to_original, of_boxes, torch.ones(len(best)))
