"""Errors of a class's top-scoring detections: a part of an object, a group, background.

Learning from labels alone finds the part that shows a class best; this counts how often.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from data.evaluation.overlap import BoxTable, nearest_objects, shared_areas, tabulate_boxes
from data.evaluation.voc_eval import check_iou_threshold
from data.types import Annotation, Detections

KINDS = ("hit", "duplicate", "part", "group", "localization", "background")
LEAST_OVERLAP = 0.1  # IoU below which a detection is background
INSIDE = 0.9  # fraction of a detection in one object that makes it a part of it
GROUPED = 0.5  # fraction of an object in a detection that makes it one of a group

Floats = NDArray[np.float64]


def eval_error_kinds(
    detections: Mapping[str, Detections],
    annotations: Sequence[Annotation],
    *,
    num_classes: int = 20,
    iou_threshold: float = 0.5,
) -> dict[str, Floats]:
    """Kinds of each class's N top-scoring detections, N being its number of objects.

    A detection is a hit as for AP, or a ``duplicate`` on an object that is taken. Otherwise it is
    ``group`` if it holds half of two objects of its class, ``part`` if nine tenths of it lie in
    one, ``localization`` if it overlaps one by .1 or more, and ``background`` if not. Detections
    on difficult objects are left out, as for AP.

    Args:
        detections: by image id, original pixels; an image that is not a key has none.
        annotations: all images of the split, difficult objects included.
        num_classes: C.
        iou_threshold: least overlap of a hit.

    Returns:
        For each of ``KINDS`` the fractions ``[C]`` of those detections; they sum to 1. nan for a
        class without objects or without detections.

    Raises:
        ValueError: as ``data.evaluation.voc_eval.match_detections``.

    Source: the first N and the overlap of .1 are those of Hoiem, Chodpathumwan and Dai, 2012.
    """
    check_iou_threshold(iou_threshold)
    objects, detected = tabulate_boxes(detections, annotations, num_classes)
    iou, nearest = nearest_objects(detected, objects)
    is_difficult = objects.values != 0
    fractions = {kind: np.full(num_classes, np.nan) for kind in KINDS}
    for label in range(num_classes):
        count = int((objects.groups[~is_difficult] % num_classes == label).sum())
        rows = np.flatnonzero(detected.groups % num_classes == label)
        rows = rows[np.argsort(-detected.values[rows], kind="stable")]
        on_object = rows[iou[rows] >= iou_threshold]
        ignored = on_object[is_difficult[nearest[on_object]]]
        rows = rows[~np.isin(rows, ignored)][:count]
        if not len(rows):
            continue
        taken = set[int]()
        kinds = []
        for row in rows.tolist():
            if iou[row] < iou_threshold:
                kinds.append(_kind_of_miss(row, detected, objects, float(iou[row])))
            else:
                kinds.append("duplicate" if nearest[row] in taken else "hit")
                taken.add(int(nearest[row]))
        for kind, of_kind in fractions.items():
            of_kind[label] = kinds.count(kind) / len(kinds)
    return fractions


def _kind_of_miss(row: int, detected: BoxTable, objects: BoxTable, iou: float) -> str:
    same_class = objects.boxes[objects.groups == detected.groups[row]]
    shared, area, areas = shared_areas(detected.boxes[row], same_class)
    if (shared >= GROUPED * areas).sum() >= 2:
        return "group"
    if (shared >= INSIDE * area).any():
        return "part"
    return "localization" if iou >= LEAST_OVERLAP else "background"
