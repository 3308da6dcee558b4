"""How well images are labeled: AP, F-beta, recall, accuracy and loss of each class of a data set.

Works on numpy float64 arrays ``[N, C]``, images by classes. Entries of weight 0 are left out of
their class. A class without a positive entry of weight 1 is nan and left out of every mean.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LOWEST_LOG = -100.0  # of a probability, that of torch.nn.BCELoss


@dataclass(frozen=True, slots=True)
class ImageMetrics:
    """Three numbers for each class; ``mean_over_present`` gives their means.

    Attributes:
        average_precision: ``[C]`` float64 in 0 .. 1; nan for a class without positives, as below.
        f_beta: ``[C]`` float64 in 0 .. 1.
        recall: ``[C]`` float64 in 0 .. 1.
    """

    average_precision: Floats
    f_beta: Floats
    recall: Floats


def eval_classification(
    scores: Floats, targets: Floats, weights: Floats, *, beta: float = 2, threshold: float = 0.5
) -> ImageMetrics:
    """Class-wise AP, F-beta and recall of image scores.

    AP is the sum of precision times step of recall; equal scores make one step, so the order of the
    images does not matter. In F-beta recall weighs beta times as much as precision.

    Args:
        scores: ``[N, C]`` float64, finite, higher is more confident.
        targets: ``[N, C]`` float64 in {0, 1}.
        weights: ``[N, C]`` float64 in {0, 1}; an entry of weight 0 is left out.
        beta: how much recall weighs against precision in F.
        threshold: F and recall take a score above it as positive; one equal to it is not.

    Returns:
        The metrics; all nan without images.

    Raises:
        TypeError: something is not a float64 array.
        ValueError: shapes differ or are not ``[N, C]``, a score is not finite, a target or weight
            is neither 0 nor 1, or beta is not positive.

    Source: of AP, scikit-learn's ``average_precision_score``.
    """
    check_image_scores(scores, targets, weights)
    if not beta > 0:
        raise ValueError(f"beta is above 0; got {beta}")
    positives = (weights * targets).sum(axis=0)  # [C]
    positives[positives == 0] = np.nan  # and so are the metrics of the class
    above = weights * (scores > threshold)
    hits = (targets * above).sum(axis=0)
    f_beta = (1 + beta**2) * hits / (beta**2 * positives + above.sum(axis=0))
    return ImageMetrics(_average_precision(scores, targets, weights), f_beta, hits / positives)


def accuracy(scores: Floats, targets: Floats, weights: Floats, *, threshold: float = 0.5) -> Floats:
    """Fraction of the images whose label is predicted, ``[C]`` float64.

    Args:
        scores: ``[N, C]``, as above; so are the others, and what is raised.
        targets: ``[N, C]``.
        weights: ``[N, C]``.
        threshold: a score above it predicts the class; one equal to it does not.
    """
    check_image_scores(scores, targets, weights)
    is_right = (scores > threshold) == targets
    fractions: Floats = (weights * is_right).sum(axis=0) / _counts(targets, weights)
    return fractions


def cross_entropy(scores: Floats, targets: Floats, weights: Floats) -> Floats:
    """Mean binary cross-entropy of the image scores, ``[C]`` float64, 0 or more; lower is better.

    With all classes present and all weights 1 its mean over the classes is what a localizer learns
    from, ``localizer.loss.multilabel_bce``. Logarithms are at least -100, so a certain and wrong
    score costs 100.

    Args:
        scores: ``[N, C]`` probabilities; shapes and what else is raised are as above.
        targets: ``[N, C]``.
        weights: ``[N, C]``.

    Raises:
        ValueError: a score is outside of 0 .. 1.
    """
    check_image_scores(scores, targets, weights)
    outside = scores[(scores < 0) | (scores > 1)]
    if len(outside):
        raise ValueError(f"scores are probabilities, in 0 .. 1; got {outside[0]}")
    with np.errstate(divide="ignore"):  # log(0)
        of_labels = np.where(targets == 1, np.log(scores), np.log1p(-scores))
    losses = weights * -np.maximum(of_labels, LOWEST_LOG)
    means: Floats = losses.sum(axis=0) / _counts(targets, weights)
    return means


def _counts(targets: Floats, weights: Floats) -> Floats:
    """Images that count for each class, ``[C]``; nan without a positive one."""
    return np.where((weights * targets).any(axis=0), weights.sum(axis=0), np.nan)


def _average_precision(scores: Floats, targets: Floats, weights: Floats) -> Floats:
    # Imported here because it takes a second, which the rest of this module does not need.
    from sklearn.metrics import average_precision_score

    per_class = np.full(scores.shape[1], np.nan)
    for label in np.flatnonzero((targets * weights).any(axis=0)):
        counted = weights[:, label] == 1
        per_class[label] = average_precision_score(targets[counted, label], scores[counted, label])
    return per_class


def mean_over_present(per_class: Floats) -> float:
    """Mean of the entries that are not nan; nan if there are none."""
    present = per_class[~np.isnan(per_class)]
    return float(present.mean()) if len(present) else float("nan")


def check_image_scores(scores: Floats, targets: Floats, weights: Floats) -> None:
    """Refuse anything but three float64 ``[N, C]``: finite, in {0, 1}, in {0, 1}.

    Raises:
        TypeError: something is not a float64 array.
        ValueError: shapes, a score that is not finite, or a target or weight that is not 0 or 1.
    """
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
