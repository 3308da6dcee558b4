"""Every number of a split, one row each: its name in files, its heading, how it is computed.

A metric is added as one row of ``METRICS``: evaluations, reports, tables, logs and result files
take what they find there.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from data.evaluation.error_kinds import KINDS, error_kinds
from data.evaluation.image_metrics import (
    ImageMetrics,
    accuracy,
    cross_entropy,
    eval_classification,
)
from data.evaluation.matching import MatchTable
from data.evaluation.tail_accuracy import TailAccuracy, eval_tail_accuracy
from data.evaluation.voc_eval import ap_of_matches, corloc

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """Predictions for a split beside its labels and objects; what a metric is computed from.

    Attributes:
        scores: ``[N, C]`` float64 probabilities that an image holds a class.
        targets: ``[N, C]`` float64 in {0, 1}.
        weights: ``[N, C]`` float64 in {0, 1}; an entry of weight 0 is left out.
        matches: of the detections.
        top1: of the top-scoring box of each class and image, whatever its score.
        heatmaps: means over the images of each class by name, ``[C]`` each; none of a model
            without heatmaps.
    """

    scores: Floats
    targets: Floats
    weights: Floats
    matches: MatchTable
    top1: MatchTable
    heatmaps: Mapping[str, Floats] = field(default_factory=dict)

    @cached_property
    def images(self) -> ImageMetrics:
        """How well the images are labeled."""
        return eval_classification(self.scores, self.targets, self.weights)

    @cached_property
    def tail(self) -> TailAccuracy:
        """How often the images that score high for a class hold it."""
        return eval_tail_accuracy(self.scores, self.targets, self.weights)

    @cached_property
    def box_ap_apart(self) -> dict[str, Floats]:
        """AP by area ``[C]`` of images with one object of the class, and of those with several.

        Each with the images that hold no object of it; difficult ones are not counted.
        """
        parts = self.matches.apart()
        return {
            name: ap_of_matches(part, use_07_metric=False).per_class for name, part in parts.items()
        }

    @cached_property
    def corlocs(self) -> dict[str, Floats]:
        """CorLoc ``[C]`` by name of the metric, see ``corlocs``."""
        return corlocs(self.top1)

    @cached_property
    def errors(self) -> dict[str, Floats]:
        """Fractions of each kind of error, ``[C]`` each."""
        return error_kinds(self.matches)


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of ``METRICS``.

    Attributes:
        heading: in tables.
        per_class: gives ``[C]`` float64, nan for a class that has nothing to measure; None where
            the model has no such number. The mean leaves nan out.
        is_headline: whether it is in the short tables: those that are printed, and the first one
            of a page.
        is_fraction: whether it is in 0 .. 1 and drawn as a bar of that length.
        meaning: in one sentence for a reader who sees the number for the first time; of those in
            the short tables.
    """

    heading: str
    per_class: Callable[[Comparison], Floats | None]
    is_headline: bool = True
    is_fraction: bool = True
    meaning: str = ""


def box_recall(matches: MatchTable) -> Floats:
    """Fraction of each class's objects that some detection hits, ``[C]``, however low its score."""
    return np.array(
        [
            float(of_class.is_hit.sum()) / of_class.num_objects
            if of_class.num_objects
            else math.nan
            for of_class in matches
        ]
    )


def corlocs(top1: MatchTable) -> dict[str, Floats]:
    """CorLoc ``[C]`` by the name of its metric.

    Of all images of a class, of those with exactly one object of it that is not difficult, and of
    those with several.
    """
    parts = {"corloc": top1, **{f"corloc_{name}": part for name, part in top1.apart().items()}}
    return {name: corloc(part).per_class for name, part in parts.items()}


def _fraction_of(kind: str) -> Metric:
    """The row of a kind of error."""
    return Metric(kind, lambda split: split.errors[kind], is_headline=False)


METRICS: dict[str, Metric] = {
    "image_map": Metric(
        "image mAP",
        lambda split: split.images.average_precision,
        meaning="How well the images' scores rank the images of a class.",
    ),
    "f2": Metric(
        "F2",
        lambda split: split.images.f_beta,
        meaning="Labels by a score above .5; missed ones count more than wrong ones.",
    ),
    "recall": Metric(
        "recall",
        lambda split: split.images.recall,
        meaning="Fraction of the images' labels that a score above .5 finds.",
    ),
    "accuracy": Metric(
        "accuracy",
        lambda split: accuracy(split.scores, split.targets, split.weights),
        is_headline=False,
    ),
    "tail_accuracy": Metric(
        "tail accuracy", lambda split: split.tail.per_class(), is_headline=False
    ),
    "image_loss": Metric(
        "image loss",
        lambda split: cross_entropy(split.scores, split.targets, split.weights),
        is_headline=False,
        is_fraction=False,
    ),
    "box_map_11point": Metric(
        "box mAP 11-point",
        lambda split: ap_of_matches(split.matches, use_07_metric=True).per_class,
        meaning="Precision of the boxes (IoU of .5) at 11 levels of recall; VOC 2007's rule.",
    ),
    "box_map_area": Metric(
        "box mAP area",
        lambda split: ap_of_matches(split.matches, use_07_metric=False).per_class,
        meaning="The same as the area below precision against recall; VOC's rule since 2010.",
    ),
    "corloc": Metric(
        "CorLoc",
        lambda split: split.corlocs["corloc"],
        meaning="Fraction of the images of a class whose top-scoring box is right.",
    ),
    "box_map_area_one": Metric(
        "box mAP area, one object",
        lambda split: split.box_ap_apart["one"],
        meaning="Of images that hold one object of the class.",
    ),
    "box_map_area_several": Metric(
        "box mAP area, several",
        lambda split: split.box_ap_apart["several"],
        meaning="Of images that hold several: each of them needs its own box.",
    ),
    "corloc_one": Metric(
        "CorLoc, one object",
        lambda split: split.corlocs["corloc_one"],
        meaning="Of images that hold one object of the class.",
    ),
    "corloc_several": Metric(
        "CorLoc, several",
        lambda split: split.corlocs["corloc_several"],
        meaning="Of images that hold several.",
    ),
    "box_recall": Metric("box recall", lambda split: box_recall(split.matches), is_headline=False),
    "point_accuracy": Metric(
        "point accuracy",
        lambda split: split.heatmaps.get("point_accuracy"),
        meaning="How often the hottest cell of a class lies in an object, or 18 pixels beside it.",
    ),
    "heatmap_coverage": Metric(
        "heatmap coverage",
        lambda split: split.heatmaps.get("heatmap_coverage"),
        meaning="Fraction of an object's box that is hotter than the threshold.",
    ),
    "peak_mean_ratio": Metric(
        "peak over mean",
        lambda split: split.heatmaps.get("peak_mean_ratio"),
        is_headline=False,
        is_fraction=False,
    ),
    **{f"errors_{kind}": _fraction_of(kind) for kind in KINDS},
}
"""By name in ``report.json``, in the order of the tables."""
