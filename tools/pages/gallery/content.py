"""The data of a gallery's page: names, scores, truth and boxes, as plain values for its JSON.

Boxes are stored as whole tenths of a pixel: exact enough for originals of any size, and short.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from data.checks import name_first
from data.datasets.image_set import ImageSet
from data.evaluation.image_metrics import eval_classification
from data.evaluation.matching import match_detections
from data.evaluation.top1 import verdicts
from data.types import Annotation, Detections, Proposals, no_detections
from tools.files.scores import SavedScores

PRESENT, ABSENT, IGNORED = "1", "0", "-"
MAX_PER_CLASS = 10  # detections of one class in one image; more would hide it
SHOWN_AT_FIRST = 0.75  # fraction of the present classes whose best box is shown at first


def by_name(dataset: ImageSet, scores: SavedScores, context: str) -> tuple[ImageSet, SavedScores]:
    """Images and their scores in the order of the images' names.

    Args:
        dataset: the split that was scored.
        scores: of the same images, in any order.
        context: prefix of the message.

    Raises:
        ValueError: images without scores, or scores without an image; names them.
    """
    problems = {
        "scores of images that do not exist": sorted(set(scores.ids) - set(dataset.ids)),
        "images without scores": sorted(set(dataset.ids) - set(scores.ids)),
    }
    parts = [f"{problem}: {name_first(names)}" for problem, names in problems.items() if names]
    if parts:
        raise ValueError(
            f"{context}: not the scores of {dataset.split} (evaluate --split {dataset.split} "
            f"writes them); {'; '.join(parts)}"
        )
    images = dataset.subset(sorted(range(len(dataset)), key=lambda row: dataset.ids[row]))
    row_of = {image_id: row for row, image_id in enumerate(scores.ids)}
    rows = [row_of[image_id] for image_id in images.ids]
    arrays = (array[rows] for array in (scores.scores, scores.targets, scores.weights))
    return images, SavedScores(tuple(images.ids), scores.classes, *arrays)


def gallery_content(
    dataset: ImageSet,
    scores: SavedScores,
    thumbnails: Sequence[str],
    *,
    detections: Mapping[str, Detections] | None,
    proposals: Mapping[str, Proposals] | None,
    heatmap: Mapping[str, Mapping[int, str]],
    every_box: bool = False,
) -> dict[str, Any]:
    """All that the page shows of the images, by key.

    Args:
        dataset: the images.
        scores: of the same images in the same order.
        thumbnails: file name of each image's thumbnail.
        detections: by image id, None if there are none.
        proposals: those to show, by image id.
        heatmap: file names of the heatmaps' thumbnails by image id and label.
        every_box: show each detection from the start; else the first few of a class from a score.
    """
    annotations = dataset.annotations
    judged = detections is not None and any(len(a.boxes) for a in annotations)
    return {
        "split": dataset.split,
        "classes": list(scores.classes),
        "names": list(scores.ids),
        "sizes": [[width, height] for height, width in (a.image_size for a in annotations)],
        "thumbs": list(thumbnails),
        "scores": scores.scores.T.tolist(),
        "average_precision": _average_precision(scores),
        "truth": _truth(scores),
        "labeled": bool(scores.weights.any()),
        "objects": [_objects(annotation) for annotation in annotations],
        "detections": None
        if detections is None
        else [
            _shown_detections(detections.get(image_id), None if every_box else MAX_PER_CLASS)
            for image_id in scores.ids
        ],
        "verdicts": verdicts(
            match_detections(detections or {}, annotations, num_classes=len(scores.classes))
        )
        if judged
        else None,
        "box_score": 0.0 if every_box else _first_box_score(detections or {}, scores),
        "proposals": None
        if proposals is None
        else [_tenths(proposals[image_id].boxes) for image_id in scores.ids],
        "heatmap": {
            str(row): {str(label): name for label, name in heatmap[image_id].items()}
            for row, image_id in enumerate(scores.ids)
            if heatmap.get(image_id)
        },
    }


def _average_precision(scores: SavedScores) -> list[float | None]:
    """AP of each class's image scores; None where no image is known to hold the class."""
    metrics = eval_classification(
        scores.scores.astype(np.float64),
        scores.targets.astype(np.float64),
        scores.weights.astype(np.float64),
    )
    return [None if np.isnan(ap) else float(ap) for ap in metrics.average_precision]


def _truth(scores: SavedScores) -> list[str]:
    letters = np.where(scores.targets > 0, PRESENT, ABSENT)
    letters = np.where(scores.weights == 0, IGNORED, letters)
    return ["".join(of_class) for of_class in letters.T]


def _objects(annotation: Annotation) -> list[list[int]]:
    """Label, 1 if difficult or 0, and box of each object."""
    return [
        [label, int(difficult), *box]
        for label, difficult, box in zip(
            annotation.labels.tolist(),
            annotation.difficult.tolist(),
            _tenths(annotation.boxes),
            strict=True,
        )
    ]


def _shown_detections(detections: Detections | None, most: int | None) -> list[list[float]]:
    """Label, score and box of each detection, highest score first, at most so many of a class."""
    if detections is None:
        return []
    best = detections.best_first()
    labels, scores, boxes = best.labels.tolist(), best.scores.tolist(), _tenths(best.boxes)
    rows, of_class = list[list[float]](), Counter[int]()
    for label, score, box in zip(labels, scores, boxes, strict=True):
        of_class[label] += 1
        if most is None or of_class[label] <= most:
            rows.append([label, float(f"{score:.4g}"), *box])
    return rows


def _first_box_score(detections: Mapping[str, Detections], scores: SavedScores) -> float:
    """The score at which most classes in images still show a box; 0 without any box.

    Where no label is known, of the class that each image scores highest for.
    """
    present, best = scores.targets, []
    if not scores.weights.any():
        present = scores.scores == scores.scores.max(axis=1, keepdims=True, initial=0)
    for image_id, of_image_present in zip(scores.ids, present, strict=True):
        of_image = detections.get(image_id, no_detections())
        for label in np.flatnonzero(of_image_present).tolist():
            of_class = of_image.scores[of_image.labels == label]
            best += [float(of_class.max())] if len(of_class) else []
    return float(np.quantile(best, 1 - SHOWN_AT_FIRST)) if best else 0.0


def _tenths(boxes: Tensor) -> list[list[int]]:
    """``[R, 4]`` pixels as whole tenths."""
    tenths: list[list[int]] = (boxes.double() * 10).round().long().tolist()
    return tenths
