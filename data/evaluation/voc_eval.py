"""Detection AP and CorLoc by the rules of the VOC2007 devkit, on numpy in float64.

Both are read off a table of matches (``data.evaluation.matching``). Zero-based half-open
boxes need no ``+ 1``: their plain intersection over union is the devkit's. A class without objects
is nan and left out of every mean.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.evaluation.image_metrics import mean_over_present
from data.evaluation.matching import ClassMatches, MatchTable, match_detections
from data.evaluation.overlap import nearest_objects
from data.types import Annotation, Detections

Floats = NDArray[np.float64]

# MATLAB's 0:.1:1 to the bit. At a recall of exactly 3/10 the fourth point is not reached, at 6/10
# and 7/10 the seventh and eighth are; k * 0.1 and k / 10 each differ from it somewhere.
RECALL_THRESHOLDS = (0.0, 0.1, 0.2, 0.1 * 3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True, slots=True)
class DetectionAP:
    """One fraction per class: an AP, or for CorLoc a fraction of images.

    Attributes:
        per_class: ``[C]`` float64 in 0 .. 1; nan where the class has no object that counts.
    """

    per_class: Floats

    @property
    def mean(self) -> float:
        """Mean over the classes that have objects; nan if none has."""
        return mean_over_present(self.per_class)


def eval_detection_voc(
    detections: Mapping[str, Detections],
    annotations: Sequence[Annotation],
    *,
    num_classes: int = 20,
    iou_threshold: float = 0.5,
    use_07_metric: bool = True,
) -> DetectionAP:
    """Average precision of each class over all annotated images.

    Args:
        detections: by image id, original pixels; an image that is not a key has none.
        annotations: all images of the split, difficult objects included.
        num_classes: C.
        iou_threshold: least overlap of a hit, in (0, 1]; equality is a hit.
        use_07_metric: the 11-point rule of VOC2007 or, if False, the area of VOC2010.

    Returns:
        APs in 0 .. 1. A class with objects but without detections has 0, a class without objects
        nan; without images all are nan.

    Raises:
        ValueError: as ``match_detections``.

    Source: ``VOCevaldet.m`` of the VOC2007 devkit. One difference: where all detections of a class
    are ignored, the devkit's 0/0 gives nan; here its AP is 0, as without them.
    """
    matches = match_detections(
        detections, annotations, num_classes=num_classes, iou_threshold=iou_threshold
    )
    return ap_of_matches(matches, use_07_metric=use_07_metric)


def ap_of_matches(matches: MatchTable, *, use_07_metric: bool) -> DetectionAP:
    """Average precision of each class from its marks; nan for a class without objects."""
    per_class = np.full(len(matches), np.nan)
    for label, of_class in enumerate(matches):
        if of_class.num_objects:
            counted = np.flatnonzero(of_class.is_hit[~of_class.is_ignored]) + 1
            hits = np.arange(1, len(counted) + 1)  # no other point is the best beyond a recall
            per_class[label] = average_precision(
                hits / of_class.num_objects, hits / counted, use_07_metric=use_07_metric
            )
    return DetectionAP(per_class)


def precision_recall(matches: ClassMatches) -> tuple[Floats, Floats]:
    """Recall and precision of the top-scoring 1, 2, ... detections of a class, ``[D]`` each.

    Ignored detections are left out, so no point is 0/0; without others the curve is empty. Recall
    never falls; it is nan if the class has no objects.
    """
    hits = np.cumsum(matches.is_hit[~matches.is_ignored], dtype=np.float64)
    recall = hits / matches.num_objects if matches.num_objects else np.full(len(hits), np.nan)
    return recall, hits / np.arange(1, len(hits) + 1)


def average_precision(recall: Floats, precision: Floats, *, use_07_metric: bool = True) -> float:
    """Summarize one curve by a number in 0 .. 1 (eleven times 1/11 is 1.0000000000000002).

    Args:
        recall: ``[D]`` float64, never falling and never nan.
        precision: ``[D]`` float64, beside it.
        use_07_metric: mean over eleven recalls of the best precision at that recall or beyond;
            if False, the area under this best precision.

    Returns:
        The AP; 0 for an empty curve.

    Source: ``VOCevaldet.m`` of the devkit of VOC2007, ``VOCap.m`` of that of VOC2010.
    """
    best_beyond = np.maximum.accumulate(precision[::-1])[::-1]
    if not use_07_metric:
        steps = np.diff(recall, prepend=0.0)
        return math.fsum((steps * best_beyond)[steps > 0])  # exact, so no order of adding matters
    ap = 0.0
    reached = np.searchsorted(recall, RECALL_THRESHOLDS)  # first point at that recall or beyond
    for best_precision in np.append(best_beyond, 0.0)[reached]:
        ap += float(best_precision) / len(RECALL_THRESHOLDS)  # in this order, for the last bit
    return ap


def corloc(matches: MatchTable) -> DetectionAP:
    """Fraction of a class's images whose top-scoring detection of the class lies on an object.

    An image counts for a class if it holds an object of it that is not difficult; difficult
    objects are ignored. No detection of the class is a miss. The first of equal scores is taken.

    Returns:
        Fractions in 0 .. 1; nan for a class without such images.

    Source: Deselaers, Alexe and Ferrari, IJCV 2012.
    """
    count = matches.num_classes
    objects = matches.objects.rows(matches.objects.values == 0)
    top1 = matches.detections.rows(matches.top1())
    iou, _ = nearest_objects(top1, objects)
    hits = np.bincount(top1.groups[iou >= matches.iou_threshold] % count, minlength=count)
    images = np.bincount(np.unique(objects.groups) % count, minlength=count)
    per_class = np.full(count, np.nan)
    np.divide(hits, images, out=per_class, where=images > 0)
    return DetectionAP(per_class)
