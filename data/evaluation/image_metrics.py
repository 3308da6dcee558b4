"""How well images are labeled: AP, F-beta and recall of each class over a whole data set.

Works on numpy float64 arrays ``[N, C]``, images by classes. Entries of weight 0 are left out of
their class. A class without a positive entry of weight 1 is nan and left out of every mean.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ImageMetrics:
    """Three numbers for each class.

    Attributes:
        average_precision: ``[C]`` float64 in 0 .. 1; nan for a class without positives, as below.
        f_beta: ``[C]`` float64 in 0 .. 1.
        recall: ``[C]`` float64 in 0 .. 1.
    """

    average_precision: Floats
    f_beta: Floats
    recall: Floats

    @property
    def mean_average_precision(self) -> float:
        """Mean over the classes with positives; nan if there are none."""
        return mean_over_present(self.average_precision)

    @property
    def mean_f_beta(self) -> float:
        """Mean over the classes with positives; nan if there are none."""
        return mean_over_present(self.f_beta)

    @property
    def mean_recall(self) -> float:
        """Mean over the classes with positives; nan if there are none."""
        return mean_over_present(self.recall)

    @property
    def num_absent(self) -> int:
        """How many classes are nan and so out of the means."""
        return int(np.isnan(self.average_precision).sum())


def eval_classification(
    scores: Floats, targets: Floats, weights: Floats, *, beta: float = 2, threshold: float = 0.5
) -> ImageMetrics:
    """Class-wise AP, F-beta and recall of image scores.

    Args:
        scores: ``[N, C]`` float64, finite, higher is more confident.
        targets: ``[N, C]`` float64 in {0, 1}.
        weights: ``[N, C]`` float64 in {0, 1}; an entry of weight 0 is left out.
        beta: how much recall weighs against precision in F.
        threshold: F and recall take a score above it as positive.

    Returns:
        The metrics; all nan without images.

    Raises:
        TypeError: something is not a float64 array.
        ValueError: shapes differ or are not ``[N, C]``, a score is not finite, a target or weight
            is neither 0 nor 1, or beta is not positive.
    """
    return ImageMetrics(
        class_average_precision(scores, targets, weights),
        class_f_beta(scores, targets, weights, beta=beta, threshold=threshold),
        class_recall(scores, targets, weights, threshold=threshold),
    )


def class_average_precision(scores: Floats, targets: Floats, weights: Floats) -> Floats:
    """Average precision of each class: the sum of precision times step of recall.

    Equal scores make one step, so the order of the images does not matter.

    Args:
        scores: ``[N, C]`` float64, finite, higher is more confident.
        targets: ``[N, C]`` float64 in {0, 1}.
        weights: ``[N, C]`` float64 in {0, 1}; an entry of weight 0 is left out.

    Returns:
        ``[C]`` in 0 .. 1; nan for a class without positives.

    Raises:
        TypeError, ValueError: as :func:`eval_classification`.

    Source: scikit-learn's ``average_precision_score``.
    """
    _check(scores, targets, weights)
    # Imported here because it takes a second, which the rest of this module does not need.
    from sklearn.metrics import average_precision_score

    per_class = np.full(scores.shape[1], np.nan)
    for label in np.flatnonzero((targets * weights).any(axis=0)):
        counted = weights[:, label] == 1
        per_class[label] = average_precision_score(targets[counted, label], scores[counted, label])
    return per_class


def class_f_beta(
    scores: Floats, targets: Floats, weights: Floats, *, beta: float = 2, threshold: float = 0.5
) -> Floats:
    """F-beta of each class: recall weighs beta times as much as precision.

    Args:
        scores: ``[N, C]`` float64, finite.
        targets: ``[N, C]`` float64 in {0, 1}.
        weights: ``[N, C]`` float64 in {0, 1}; an entry of weight 0 is left out.
        beta: above 0.
        threshold: a score above it is positive; a score equal to it is not.

    Returns:
        ``[C]`` in 0 .. 1; 0 where no positive is found, nan for a class without positives.

    Raises:
        TypeError, ValueError: as :func:`eval_classification`.
    """
    if not beta > 0:
        raise ValueError(f"beta is above 0; got {beta}")
    hits, false_positives, misses = _count(scores, targets, weights, threshold)
    weighted = (1 + beta**2) * hits
    total = weighted + beta**2 * misses + false_positives
    return _ratio(weighted, total, hits + misses > 0)


def class_recall(
    scores: Floats, targets: Floats, weights: Floats, *, threshold: float = 0.5
) -> Floats:
    """Fraction of each class's positives that score above the threshold.

    Args:
        scores: ``[N, C]`` float64, finite.
        targets: ``[N, C]`` float64 in {0, 1}.
        weights: ``[N, C]`` float64 in {0, 1}; an entry of weight 0 is left out.
        threshold: a score equal to it is not above it.

    Returns:
        ``[C]`` in 0 .. 1; nan for a class without positives.

    Raises:
        TypeError, ValueError: as :func:`eval_classification`.
    """
    hits, _, misses = _count(scores, targets, weights, threshold)
    return _ratio(hits, hits + misses, hits + misses > 0)


def mean_over_present(per_class: Floats) -> float:
    """Mean of the entries that are not nan; nan if there are none."""
    present = per_class[~np.isnan(per_class)]
    return float(present.mean()) if len(present) else float("nan")


def _count(
    scores: Floats, targets: Floats, weights: Floats, threshold: float
) -> tuple[Floats, Floats, Floats]:
    """Hits, false positives and misses of each class, ``[C]`` each."""
    _check(scores, targets, weights)
    is_positive = (scores > threshold).astype(np.float64)
    hits = (weights * targets * is_positive).sum(axis=0)
    false_positives = (weights * (1 - targets) * is_positive).sum(axis=0)
    return hits, false_positives, (weights * targets).sum(axis=0) - hits


def _ratio(part: Floats, whole: Floats, is_present: NDArray[np.bool_]) -> Floats:
    ratio = np.full(len(whole), np.nan)
    np.divide(part, whole, out=ratio, where=is_present)
    return ratio


def _check(scores: Floats, targets: Floats, weights: Floats) -> None:
    arrays = {"scores": scores, "targets": targets, "weights": weights}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype != np.float64:
            kind = getattr(array, "dtype", "no dtype")
            raise TypeError(
                f"{name} is a numpy float64 array; got {type(array).__name__} of {kind}"
            )
        if array.ndim != 2 or array.shape != scores.shape:
            raise ValueError(
                f"scores, targets and weights are [N, C] alike; scores {list(scores.shape)}, "
                f"{name} {list(array.shape)}"
            )
    if not np.isfinite(scores).all():
        row, label = np.argwhere(~np.isfinite(scores))[0]
        raise ValueError(f"the score of image {row} for class {label} is {scores[row, label]}")
    for name in ("targets", "weights"):
        invalid = arrays[name][~np.isin(arrays[name], (0.0, 1.0))]
        if len(invalid):
            raise ValueError(f"{name} are 0 or 1; got {invalid[0]}")
