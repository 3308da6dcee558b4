"""Errors of a class's top-scoring detections: a part of an object, a group, background.

Learning from labels alone finds the part that shows a class best; this counts how often.
"""

import numpy as np
from numpy.typing import NDArray

from data.evaluation.matching import MatchTable
from data.evaluation.overlap import same_group, shared_areas

KINDS = ("hit", "duplicate", "part", "group", "localization", "background")
LEAST_OVERLAP = 0.1  # IoU below which a detection is background
INSIDE = 0.9  # fraction of a detection in one object that makes it a part of it
GROUPED = 0.5  # fraction of an object in a detection that makes it one of a group

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def error_kinds(matches: MatchTable) -> dict[str, Floats]:
    """Kinds of each class's N top-scoring detections, N being its number of objects.

    A detection is a hit as for AP, or a ``duplicate`` on an object that is taken. Otherwise it is
    ``group`` if it holds half of two objects of its class, ``part`` if nine tenths of it lie in
    one, ``localization`` if it overlaps one by .1 or more, and ``background`` if not. Detections
    on difficult objects are left out, as for AP.

    Returns:
        For each of ``KINDS`` the fractions ``[C]`` of those detections; they sum to 1. nan for a
        class without objects or without detections.

    Source: the first N and the overlap of .1 are those of Hoiem, Chodpathumwan and Dai, 2012.
    """
    rows, is_hit, labels = [], [], []
    for label, of_class in enumerate(matches):
        counted = np.flatnonzero(~of_class.is_ignored)[: of_class.num_objects]
        rows.append(of_class.rows[counted])
        is_hit.append(of_class.is_hit[counted])
        labels.append(np.full(len(counted), label))
    if not rows:
        return {kind: np.zeros(0) for kind in KINDS}
    kinds = _kinds(np.concatenate(rows), np.concatenate(is_hit), matches)
    counts = np.zeros((len(matches), len(KINDS)))
    np.add.at(counts, (np.concatenate(labels), kinds), 1)
    with np.errstate(invalid="ignore"):  # nothing by nothing is nan
        fractions = counts / counts.sum(axis=1, keepdims=True)
    return dict(zip(KINDS, fractions.T, strict=True))


def _kinds(rows: Ints, is_hit: Bools, matches: MatchTable) -> Ints:
    """Positions in ``KINDS`` of some detections, of which some are hits."""
    boxes, groups = matches.detections.boxes[rows], matches.detections.groups[rows]
    num_held, is_part = np.zeros(len(rows)), np.zeros(len(rows), dtype=bool)
    for places, candidates in same_group(groups, matches.objects):
        shared, area, areas = shared_areas(boxes[places], matches.objects.boxes[candidates])
        num_held[places] += shared >= GROUPED * areas
        is_part[places] |= shared >= INSIDE * area
    iou = matches.iou[rows]
    conditions = {  # the first that holds
        "hit": is_hit,
        "duplicate": iou >= matches.iou_threshold,
        "group": num_held >= 2,
        "part": is_part,
        "localization": iou >= LEAST_OVERLAP,
    }
    places_of = [KINDS.index(kind) for kind in conditions]
    return np.select(list(conditions.values()), places_of, KINDS.index("background"))
