"""A localizer on a split: image scores, detections, and every number that the reports show."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from data.image_metrics import eval_classification, mean_over_present
from data.image_set import ImageSet
from data.types import Detections
from data.voc_eval import corloc, eval_detection_voc
from localizer.boxes import heatmap_to_boxes
from localizer.heat_shapes import HeatShapes, present_labels
from localizer.localize import ImageHeatmaps, localize, predict_heatmaps
from localizer.model import LocalizerHead
from tools.engine.device import Device
from tools.engine.interrupts import check_interrupted
from tools.engine.progress import track
from tools.engine.samples import Samples, both_views
from tools.engine.settings import BoxSettings

CURVE_THRESHOLDS = tuple(round(0.1 + 0.05 * k, 2) for k in range(15))
MAX_DETECTIONS = 100
SCORE_THRESHOLD = 1e-4

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a localizer reaches on a split.

    Attributes:
        scores: ``[N, C]`` probabilities in the order of the data set.
        detections: by image id; score at least 1e-4, at most 100 an image.
        metrics: means over the classes, by their names in ``report.json``.
        per_class: the same numbers for each class by name, None where it is absent.
        threshold_curve: CorLoc by heatmap threshold.
    """

    scores: Floats
    detections: dict[str, Detections]
    metrics: dict[str, float]
    per_class: dict[str, dict[str, float | None]]
    threshold_curve: dict[float, float]


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside of it; afterwards every module has its own mode back."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def heatmaps_of(
    model: LocalizerHead,
    scales: Sequence[Samples],
    dataset: ImageSet,
    index: int,
    device: Device,
) -> ImageHeatmaps:
    """What a localizer says of one picture, the mean of the upright and the mirrored view.

    The maps are those of the first scale, the image logits are the mean over all.
    """
    found = []
    for samples in scales:
        pair = both_views(samples, index, device)
        height, width = pair.sizes[0].tolist()
        with device.autocast():
            found.append(
                predict_heatmaps(
                    model, pair.images, (height, width), dataset.annotations[index].image_size
                )
            )
    image_logits = torch.stack([heatmaps.image_logits for heatmaps in found]).mean(dim=0)
    return replace(found[0], image_logits=image_logits)


def evaluate_localizer(
    model: LocalizerHead,
    scales: Sequence[Samples],
    dataset: ImageSet,
    boxes: BoxSettings,
    device: Device,
    *,
    what: str = "evaluation",
) -> Evaluation:
    """Score every picture of a split and compare with its annotations.

    CorLoc takes the best box of each class with an object that is not difficult, whatever its
    score; mAP takes detections above 1e-4. Every module gets its own mode back afterwards.

    Raises:
        Interrupted: a signal came.
    """
    scores = np.zeros((len(dataset), len(dataset.classes)))
    every: dict[str, Detections] = {}
    best: dict[float, dict[str, Detections]] = {t: {} for t in CURVE_THRESHOLDS}
    shapes = HeatShapes(len(dataset.classes))
    with evaluation_mode(model):
        for index in track(range(len(dataset)), what, total=len(dataset)):
            check_interrupted()
            heatmaps = heatmaps_of(model, scales, dataset, index, device)
            annotation = dataset.annotations[index]
            scores[index] = heatmaps.image_logits.double().sigmoid().numpy()
            every[annotation.image_id] = _detect(heatmaps, boxes)
            shapes.add(heatmaps, annotation, boxes.thresholds[0])
            present = present_labels(annotation)
            for threshold, found in best.items():
                found[annotation.image_id] = _best_boxes(heatmaps, present, threshold, boxes)
    return _summarize(dataset, scores, every, best, shapes)


def _detect(heatmaps: ImageHeatmaps, boxes: BoxSettings) -> Detections:
    """Every box of every class, however low its score."""
    return localize(
        heatmaps,
        thresholds=boxes.thresholds,
        mode=boxes.mode,
        min_cells=boxes.min_cells,
        score_threshold=0.0,
        max_detections=10_000,
    )


def _best_boxes(
    heatmaps: ImageHeatmaps, labels: list[int], threshold: float, boxes: BoxSettings
) -> Detections:
    """The best box of each of some classes, at one threshold."""
    found = [
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
    counts = torch.tensor([len(rows) for rows in found], dtype=torch.int64)
    best = torch.cat([torch.zeros(0, 4), *found]) * heatmaps.to_original
    return Detections(
        best,
        torch.tensor(labels, dtype=torch.int64).repeat_interleave(counts),
        torch.ones(len(best)),
    )


def _summarize(
    dataset: ImageSet,
    scores: Floats,
    every: dict[str, Detections],
    best: dict[float, dict[str, Detections]],
    shapes: HeatShapes,
) -> Evaluation:
    classes, annotations = dataset.classes, dataset.annotations
    count = len(classes)
    detections = {image_id: _keep(found) for image_id, found in every.items()}
    image = eval_classification(
        scores, dataset.targets.double().numpy(), dataset.weights.double().numpy()
    )
    columns = {
        "image_map": image.average_precision,
        "f2": image.f_beta,
        "recall": image.recall,
        "box_map_11point": eval_detection_voc(detections, annotations, num_classes=count).per_class,
        "box_map_area": eval_detection_voc(
            detections, annotations, num_classes=count, use_07_metric=False
        ).per_class,
        "corloc": corloc(every, annotations, num_classes=count).per_class,
        **shapes.per_class(),
    }
    return Evaluation(
        scores,
        detections,
        {name: mean_over_present(column) for name, column in columns.items()},
        {
            name: {key: _number(column[label]) for key, column in columns.items()}
            for label, name in enumerate(classes)
        },
        {
            threshold: corloc(found, annotations, num_classes=count).mean
            for threshold, found in best.items()
        },
    )


def _keep(found: Detections) -> Detections:
    kept = torch.nonzero(found.scores >= SCORE_THRESHOLD)[:MAX_DETECTIONS, 0]
    return Detections(found.boxes[kept], found.labels[kept], found.scores[kept])


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
