"""Accuracy among the images that score highest for a class."""

import math

import numpy as np
import pytest
from numpy.random import default_rng

from data.evaluation.image_metrics import Floats
from data.evaluation.tail_accuracy import TailAccuracy, eval_tail_accuracy


def column(*values: float) -> Floats:
    """One class."""
    return np.array(values, dtype=np.float64).reshape(-1, 1)


def tail_of(scores: Floats, targets: Floats, weights: Floats | None = None) -> TailAccuracy:
    return eval_tail_accuracy(scores, targets, np.ones_like(scores) if weights is None else weights)


def numbers(values: Floats) -> list[float | None]:
    """None for nan, which equals nothing."""
    return [None if math.isnan(value) else float(value) for value in values.ravel()]


FOUR = column(1, 0.9, 0.6, 0.4), column(1, 0, 1, 1)  # thresholds are 1/18 apart


def test_the_curve_goes_from_a_half_to_the_highest_score_with_its_counts() -> None:
    tail = tail_of(*FOUR)

    expected = [1 / 2 + k / 18 for k in range(10)]
    assert tail.thresholds[:, 0].tolist() == pytest.approx(expected, abs=1e-15)
    assert tail.thresholds[-1, 0] == 1
    assert tail.above[:, 0].tolist() == [3, 3, 2, 2, 2, 2, 2, 2, 1, 0]
    assert tail.right[:, 0].tolist() == [2, 2, 1, 1, 1, 1, 1, 1, 1, 0]


def test_it_is_the_mean_over_the_thresholds_that_some_image_exceeds() -> None:
    tail = tail_of(*FOUR)

    assert numbers(tail.accuracy()) == [2 / 3, 2 / 3, *[1 / 2] * 6, 1, None]
    assert tail.per_class().tolist() == [pytest.approx((2 * 2 / 3 + 6 / 2 + 1) / 9)]


def test_a_threshold_that_no_image_exceeds_counts_as_0_if_asked() -> None:
    tail = tail_of(*FOUR)

    assert tail.accuracy(of_nothing=0)[-1] == 0
    assert tail.per_class(of_nothing=0).tolist() == [pytest.approx((2 * 2 / 3 + 6 / 2 + 1) / 10)]


@pytest.mark.parametrize("highest", [0.5, 0.25])
def test_a_class_that_does_not_exceed_a_half_has_none(highest: float) -> None:
    tail = tail_of(column(highest, 0.1), column(1, 0))

    assert numbers(tail.per_class()) == [None]
    assert tail.per_class(of_nothing=0).tolist() == [0]
    assert not tail.above.any()


def test_a_class_that_does_not_reach_a_half_has_no_curve() -> None:
    scores, targets = np.array([[0.25, 0.5, 1], [0, 0, 0]]), np.array([[1.0, 1, 0], [1, 1, 1]])

    curves = tail_of(scores, targets).curves()

    assert list(curves) == [1, 2]
    assert curves[1]["threshold"] == [1 / 2] * 10
    assert curves[1]["above"] == [0] * 10
    assert curves[2]["above"] == [1] * 9 + [0]
    assert curves[2]["right"] == [0] * 10
    assert curves[2]["accuracy"][:9] == [0] * 9
    assert math.isnan(curves[2]["accuracy"][9])


@pytest.mark.parametrize(("target", "weight"), [(0, 1), (1, 0)], ids=["absent", "ignored"])
def test_a_class_without_positives_counts_nowhere(target: float, weight: float) -> None:
    tail = tail_of(column(1, 0.9), column(0, target), column(1, weight))

    assert numbers(tail.per_class()) == [None]
    assert tail.curves() == {}


def test_entries_of_weight_zero_neither_count_nor_stretch_the_range() -> None:
    scores, targets = (np.concatenate([array, column(1)]) for array in FOUR)

    tail = tail_of(2 * scores, targets, column(0, 1, 1, 1, 0))

    assert tail.thresholds[-1, 0] == 2 * 0.9
    assert tail.above[0, 0] == 3
    assert tail.right[0, 0] == 2


def test_nothing_that_is_known_gives_nothing() -> None:
    for count in (0, 2):
        tail = tail_of(np.ones((count, 3)), np.ones((count, 3)), np.zeros((count, 3)))
        assert numbers(tail.per_class()) == [None] * 3
        assert tail.curves() == {}


def test_it_equals_the_formula_written_as_loops() -> None:
    rng = default_rng(0)
    for _ in range(20):
        scores, targets = rng.random((20, 3)), rng.integers(0, 2, (20, 3)).astype(np.float64)
        weights = (rng.random((20, 3)) < 0.8).astype(np.float64)
        tail = tail_of(scores, targets, weights)
        for label in range(3):
            rows = [row for row in range(20) if weights[row, label]]
            assert any(targets[row, label] for row in rows)
            assert tail.thresholds[-1, label] == max(scores[row, label] for row in rows)
            for place, threshold in enumerate(tail.thresholds[:, label]):
                above = [row for row in rows if scores[row, label] > threshold]
                right = [row for row in above if targets[row, label] == 1]
                assert tail.above[place, label] == len(above)
                assert tail.right[place, label] == len(right)


def test_malformed_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="targets are 0 or 1; got 2"):
        tail_of(column(0.5), column(2))
    with pytest.raises(TypeError, match="scores is a numpy float64 array"):
        tail_of(np.ones((1, 1), dtype=np.float32), column(1))
