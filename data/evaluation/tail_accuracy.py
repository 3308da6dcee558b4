"""Accuracy among the images that score highest for a class, by how high that is.

Of the images that score above a threshold, .5 or more, tail accuracy is the fraction whose label is
predicted. Its curve takes ten thresholds from .5 to the class's highest score. No image lies above
the last one, which therefore has no accuracy; neither has a class whose scores never exceed .5, and
as in every metric of images a class without a positive entry of weight 1 counts nowhere.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.evaluation.image_metrics import Floats, check_image_scores, mean_over_present

LOWEST = 0.5  # a score above it predicts the class
POINTS = 10  # thresholds of a curve

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TailAccuracy:
    """The curves of C classes with their counts; T thresholds of each.

    Attributes:
        thresholds: ``[T, C]`` float64, rising from .5 to the class's highest score; nan for a class
            that is absent or whose scores do not reach .5.
        right: ``[T, C]`` int64, images above the threshold whose label is predicted.
        above: ``[T, C]`` int64, images above the threshold.
    """

    thresholds: Floats
    right: Counts
    above: Counts

    def accuracy(self, *, of_nothing: float = math.nan) -> Floats:
        """``[T, C]`` in 0 .. 1; ``of_nothing``, nan or 0, where no image lies above."""
        fractions = np.full(self.above.shape, of_nothing, dtype=np.float64)
        np.divide(self.right, self.above, out=fractions, where=self.above > 0)
        return fractions

    def per_class(self, *, of_nothing: float = math.nan) -> Floats:
        """``[C]``: means over the thresholds, without those that are nan; nan where all are."""
        columns = self.accuracy(of_nothing=of_nothing).T
        return np.array([mean_over_present(column) for column in columns])

    def curves(self) -> dict[int, dict[str, list[float]]]:
        """Thresholds, accuracy and counts by label; none of a class that is absent or below .5."""
        columns = {
            "threshold": self.thresholds,
            "accuracy": self.accuracy(),
            "right": self.right,
            "above": self.above,
        }
        return {
            int(label): {name: values[:, label].tolist() for name, values in columns.items()}
            for label in np.flatnonzero(~np.isnan(self.thresholds[0]))
        }


def eval_tail_accuracy(scores: Floats, targets: Floats, weights: Floats) -> TailAccuracy:
    """The curve of each class.

    Args:
        scores: ``[N, C]`` float64, finite.
        targets: ``[N, C]`` float64 in {0, 1}.
        weights: ``[N, C]`` float64 in {0, 1}; an entry of weight 0 is left out.

    Raises:
        TypeError: something is not a float64 array.
        ValueError: as ``check_image_scores`` says.
    """
    check_image_scores(scores, targets, weights)
    counted = np.where(weights == 1, scores, -np.inf)
    highest = counted.max(axis=0, initial=-np.inf)  # [C]
    has_range = (weights * targets).any(axis=0) & (highest >= LOWEST)
    thresholds = np.linspace(LOWEST, np.where(has_range, highest, np.nan), POINTS)
    is_above = counted > thresholds[:, None]  # [T, N, C]
    is_right = (scores > LOWEST) == targets
    return TailAccuracy(thresholds, (is_above & is_right).sum(axis=1), is_above.sum(axis=1))
