"""A localizer on a split: image scores, detections, heatmaps, and how good they are."""

from collections.abc import Sequence

import numpy as np
import torch

from data.datasets.image_set import ImageSet
from data.evaluation.matching import match_detections
from data.evaluation.voc_eval import corloc
from data.types import Detections
from localizer.boxes import heatmap_to_boxes
from localizer.heatmap_statistics import HeatmapStatistics, present_labels
from localizer.localize import ImageHeatmaps
from localizer.model import LocalizerHead
from tools.cli.console import track
from tools.cli.signals import check_interrupted
from tools.evaluation.metrics import Evaluation, summarize
from tools.inputs.samples import Samples
from tools.models.device import Device, evaluation_mode
from tools.models.settings import BoxSettings
from tools.prediction.detector import MAX_DETECTIONS, SCORE_THRESHOLD
from tools.prediction.localizer import every_box, heatmaps_of

CURVE_THRESHOLDS = tuple(round(0.1 + 0.05 * k, 2) for k in range(15))


def evaluate_localizer(
    model: LocalizerHead,
    inputs: Sequence[Samples],
    dataset: ImageSet,
    boxes: BoxSettings,
    device: Device,
    *,
    description: str = "evaluation",
) -> Evaluation:
    """Score every image of a split and compare with its annotations.

    CorLoc takes the best box of each class with an object that is not difficult, whatever its
    score; mAP takes detections above 1e-4. Every module gets its own mode back afterward.

    Raises:
        Interrupted: a signal came.
    """
    scores = np.zeros((len(dataset), len(dataset.classes)))
    every: dict[str, Detections] = {}
    best: dict[float, dict[str, Detections]] = {t: {} for t in CURVE_THRESHOLDS}
    shapes = HeatmapStatistics(len(dataset.classes))
    with evaluation_mode(model):
        for index in track(range(len(dataset)), description, total=len(dataset)):
            check_interrupted()
            heatmaps = heatmaps_of(model, inputs, dataset, index, device)
            annotation = dataset.annotations[index]
            scores[index] = heatmaps.image_logits.double().sigmoid().numpy()
            every[annotation.image_id] = every_box(heatmaps, boxes)
            shapes.add(heatmaps, annotation, boxes.thresholds[0])
            present = present_labels(annotation)
            for threshold, of_images in best.items():
                of_images[annotation.image_id] = _best_boxes(heatmaps, present, threshold, boxes)
    count = len(dataset.classes)
    return summarize(
        dataset,
        scores,
        {image_id: _keep(detections) for image_id, detections in every.items()},
        every,
        further=shapes.per_class(),
        threshold_curve={
            threshold: corloc(
                match_detections(of_images, dataset.annotations, num_classes=count)
            ).mean
            for threshold, of_images in best.items()
        },
    )


def _best_boxes(
    heatmaps: ImageHeatmaps, labels: list[int], threshold: float, boxes: BoxSettings
) -> Detections:
    """The best box of each of some classes, at one threshold."""
    of_labels = [
        heatmap_to_boxes(
            heatmaps.logits[label],
            heatmaps.geometry,
            heatmaps.network_size,
            thresholds=(threshold,),
            mode=boxes.mode,
            min_cells=boxes.min_cells,
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


def _keep(detections: Detections) -> Detections:
    kept = torch.nonzero(detections.scores >= SCORE_THRESHOLD)[:MAX_DETECTIONS, 0]
    return Detections(detections.boxes[kept], detections.labels[kept], detections.scores[kept])
