"""Errors of a class's top-scoring detections: a part of an object, a group, background.

Learning from labels alone finds the part that shows a class best; this counts how often.
"""

import numpy as np
from numpy.typing import NDArray

from data.evaluation.matching import MatchTable
from data.evaluation.overlap import shared_areas

KINDS = ("hit", "duplicate", "part", "group", "localization", "background")
LEAST_OVERLAP = 0.1  # IoU below which a detection is background
INSIDE = 0.9  # fraction of a detection in one object that makes it a part of it
GROUPED = 0.5  # fraction of an object in a detection that makes it one of a group

Floats = NDArray[np.float64]


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
    fractions = {kind: np.full(len(matches), np.nan) for kind in KINDS}
    for label, of_class in enumerate(matches):
        counted = np.flatnonzero(~of_class.is_ignored)[: of_class.num_objects]
        if not len(counted):
            continue
        kinds = [
            "hit" if of_class.is_hit[place] else _kind_of_miss(int(of_class.rows[place]), matches)
            for place in counted
        ]
        for kind, of_kind in fractions.items():
            of_kind[label] = kinds.count(kind) / len(kinds)
    return fractions


def _kind_of_miss(row: int, matches: MatchTable) -> str:
    if matches.iou[row] >= matches.iou_threshold:
        return "duplicate"
    same_class = matches.objects.groups == matches.detections.groups[row]
    shared, area, areas = shared_areas(
        matches.detections.boxes[row], matches.objects.boxes[same_class]
    )
    if (shared >= GROUPED * areas).sum() >= 2:
        return "group"
    if (shared >= INSIDE * area).any():
        return "part"
    return "localization" if matches.iou[row] >= LEAST_OVERLAP else "background"
