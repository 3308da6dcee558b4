"""Predictions for a split compared with its annotations, whichever model makes them."""

from dataclasses import replace

import numpy as np
import torch

from data.datasets.image_set import ImageSet
from data.evaluation.matching import match_detections
from data.evaluation.voc_eval import corloc
from data.types import Annotation, Detections
from localizer.boxes import heatmap_to_boxes
from localizer.heatmap_statistics import HeatmapStatistics, present_labels
from localizer.localize import ImageHeatmaps
from localizer.settings import BoxSettings
from tools.cli.console import track
from tools.cli.signals import check_interrupted
from tools.evaluation.metrics import Evaluation, Floats, summarize
from tools.models.device import evaluation_mode
from tools.prediction.predictions import Predictions

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
    scores = np.zeros((len(dataset), len(dataset.classes)))
    detections, top_scoring = {}, {}
    maps = None if predictions.boxes is None else HeatmapNumbers(dataset, predictions.boxes)
    with evaluation_mode(predictions.module):
        for index in track(range(len(dataset)), description, total=len(dataset)):
            check_interrupted()
            image_id, prediction = dataset.ids[index], predictions[index]
            scores[index] = prediction.image_scores.numpy()
            detections[image_id] = prediction.detections
            top_scoring[image_id] = prediction.top1
            if maps is not None and prediction.heatmaps is not None:
                maps.add(prediction.heatmaps, dataset.annotations[index])
    return summarize(
        dataset,
        scores,
        detections,
        top_scoring,
        heatmaps=maps.per_class() if maps else None,
        threshold_curve=maps.threshold_curve() if maps else None,
    )


class HeatmapNumbers:
    """What only heatmaps have: where they lie, and CorLoc against the threshold of their boxes."""

    def __init__(self, dataset: ImageSet, boxes: BoxSettings) -> None:
        self.dataset = dataset
        self.boxes = boxes
        self.statistics = HeatmapStatistics(len(dataset.classes))
        self.best: dict[float, dict[str, Detections]] = {t: {} for t in CURVE_THRESHOLDS}

    def add(self, heatmaps: ImageHeatmaps, annotation: Annotation) -> None:
        """Take an image in."""
        self.statistics.add(heatmaps, annotation, self.boxes.thresholds[0])
        present = present_labels(annotation)
        for threshold, of_images in self.best.items():
            of_images[annotation.image_id] = self._best_boxes(heatmaps, present, threshold)

    def per_class(self) -> dict[str, Floats]:
        """Columns by name, ``[C]`` each."""
        return self.statistics.per_class()

    def threshold_curve(self) -> dict[float, float]:
        """Mean CorLoc by threshold."""
        count = len(self.dataset.classes)
        return {
            threshold: corloc(
                match_detections(of_images, self.dataset.annotations, num_classes=count)
            ).mean
            for threshold, of_images in self.best.items()
        }

    def _best_boxes(
        self, heatmaps: ImageHeatmaps, labels: list[int], threshold: float
    ) -> Detections:
        """The best box of each of some classes, at one threshold."""
        of_labels = [
            heatmap_to_boxes(
                heatmaps.logits[label],
                heatmaps.geometry,
                heatmaps.network_size,
                replace(self.boxes, thresholds=(threshold,)),
                max_boxes=1,
            )[0]
            for label in labels
        ]
        counts = torch.tensor([len(rows) for rows in of_labels], dtype=torch.int64)
        best = torch.cat([torch.zeros(0, 4), *of_labels]) * heatmaps.to_original
        return Detections(
            best,
            torch.tensor(labels, dtype=torch.int64).repeat_interleave(counts),
            torch.ones(len(best)),
        )
