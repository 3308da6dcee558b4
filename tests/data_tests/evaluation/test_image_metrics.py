import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.random import default_rng
from numpy.typing import NDArray

from data.evaluation.image_metrics import (
    accuracy,
    cross_entropy,
    eval_classification,
    mean_over_present,
)

Floats = NDArray[np.float64]


def column(*values: float) -> Floats:
    """One class."""
    return np.array(values, dtype=np.float64).reshape(-1, 1)


def slow_average_precision(scores: Floats, targets: Floats, weights: Floats) -> float:
    """For each threshold that occurs: precision times the step of recall; nan if no positives."""
    kept = [(s, t) for s, t, w in zip(scores, targets, weights, strict=True) if w == 1]
    positives = sum(t for _, t in kept)
    if positives == 0:
        return math.nan
    ap = before = 0.0
    for threshold in sorted({s for s, _ in kept}, reverse=True):
        above = [t for s, t in kept if s >= threshold]
        ap += sum(above) / len(above) * (sum(above) - before) / positives
        before = sum(above)
    return ap


def test_ap_sums_precision_over_the_steps_of_recall() -> None:
    metrics = eval_classification(column(0.9, 0.8, 0.7), column(1, 0, 1), column(1, 1, 1))
    assert metrics.average_precision.tolist() == pytest.approx([1 / 2 * 1 + 1 / 2 * 2 / 3])


def test_equal_scores_have_the_fraction_of_positives_as_ap() -> None:
    metrics = eval_classification(column(0, 0, 0, 0), column(1, 0, 0, 0), column(1, 1, 1, 1))
    assert metrics.average_precision.tolist() == [1 / 4]


def test_ap_leaves_out_entries_of_weight_zero() -> None:
    metrics = eval_classification(column(0.9, 0.8, 0.7), column(0, 1, 1), column(0, 1, 1))
    assert metrics.average_precision.tolist() == [1]


def test_ap_equals_a_slow_reference() -> None:
    rng = default_rng(0)
    for _ in range(40):
        shape = (int(rng.integers(1, 15)), 3)
        scores = rng.integers(0, 6, shape) / 5
        targets = (rng.random(shape) < 0.4).astype(np.float64)
        weights = (rng.random(shape) < 0.8).astype(np.float64)
        expected = [
            slow_average_precision(scores[:, c], targets[:, c], weights[:, c]) for c in range(3)
        ]
        actual = eval_classification(scores, targets, weights).average_precision
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-14)  # another order of adding


def test_f2_weighs_a_miss_four_times_as_much_as_a_false_positive() -> None:
    scores, weights = column(0.9, 0.9, 0.1), column(1, 1, 1)
    with_false_positive = eval_classification(scores, column(1, 0, 0), weights)
    with_miss = eval_classification(scores, column(1, 1, 1), weights)
    assert with_false_positive.f_beta.tolist() == [5 / (5 + 1)]
    assert with_miss.f_beta.tolist() == [10 / (10 + 4)]


def test_f1_is_the_harmonic_mean_of_precision_and_recall() -> None:
    scores, targets = column(0.9, 0.9, 0.1, 0.1), column(1, 0, 1, 1)
    metrics = eval_classification(scores, targets, np.ones((4, 1)), beta=1)
    assert metrics.f_beta.tolist() == pytest.approx([2 / (1 / (1 / 2) + 1 / (1 / 3))])


def test_a_score_equal_to_the_threshold_is_not_positive() -> None:
    scores, targets, weights = column(0.5, 0.75), column(1, 1), column(1, 1)
    assert eval_classification(scores, targets, weights).recall.tolist() == [1 / 2]
    lower = eval_classification(scores, targets, weights, threshold=0.25)
    assert lower.recall.tolist() == [1]


def test_f_and_recall_leave_out_entries_of_weight_zero() -> None:
    scores, targets = column(0.9, 0.9, 0.1), column(1, 0, 1)
    weights = column(1, 0, 0)
    metrics = eval_classification(scores, targets, weights)
    assert metrics.f_beta.tolist() == metrics.recall.tolist() == [1]


@pytest.mark.parametrize(
    ("targets", "weights"), [([[1, 0]], [[1, 1]]), ([[1, 1]], [[1, 0]])], ids=["absent", "ignored"]
)
def test_a_class_without_positives_stays_out_of_the_means(
    targets: list[list[float]], weights: list[list[float]]
) -> None:
    metrics = eval_classification(
        np.array([[0.9, 0.9]]), np.array(targets, dtype=float), np.array(weights, dtype=float)
    )
    right, loss = (
        metric(
            np.array([[0.9, 0.9]]), np.array(targets, dtype=float), np.array(weights, dtype=float)
        )
        for metric in (accuracy, cross_entropy)
    )
    for per_class in (metrics.average_precision, metrics.f_beta, metrics.recall, right):
        assert np.isnan(per_class).tolist() == [False, True]
        assert mean_over_present(per_class) == 1
    assert np.isnan(loss).tolist() == [False, True]
    assert mean_over_present(loss) == pytest.approx(-math.log(0.9))


def test_no_images_have_no_metrics() -> None:
    nothing = np.zeros((0, 3))
    metrics = eval_classification(nothing, nothing, nothing)
    assert np.isnan(metrics.f_beta).all()
    for metric in (accuracy, cross_entropy):
        assert np.isnan(metric(nothing, nothing, nothing)).all()
    assert math.isnan(mean_over_present(metrics.average_precision))


def test_beta_and_threshold_reach_the_metrics() -> None:
    scores, targets, weights = column(0.3, 0.3, 0.1), column(1, 0, 1), np.ones((3, 1))
    metrics = eval_classification(scores, targets, weights, beta=1, threshold=0.2)
    assert metrics.f_beta.tolist() == metrics.recall.tolist() == [1 / 2]
    metrics = eval_classification(scores, targets, weights)  # above 0.5 there is none
    assert metrics.f_beta.tolist() == metrics.recall.tolist() == [0]
    for beta in (0, -1, math.nan):
        with pytest.raises(ValueError, match=f"beta is above 0; got {beta}"):
            eval_classification(scores, targets, weights, beta=beta)


def test_the_order_of_images_does_not_matter() -> None:
    rng = default_rng(1)
    arrays = [rng.integers(0, 4, (30, 4)) / 4, *rng.integers(0, 2, (2, 30, 4)).astype(float)]
    order = rng.permutation(30)
    before = eval_classification(*arrays)
    after = eval_classification(*(array[order] for array in arrays))
    np.testing.assert_array_equal(after.average_precision, before.average_precision)
    np.testing.assert_array_equal(after.f_beta, before.f_beta)


def test_accuracy_is_the_fraction_of_labels_that_a_score_above_a_half_predicts() -> None:
    scores, targets = column(0.9, 0.9, 0.5, 0.1), column(1, 0, 1, 0)
    assert accuracy(scores, targets, np.ones((4, 1))).tolist() == [2 / 4]
    assert accuracy(scores, targets, column(1, 0, 1, 1)).tolist() == [2 / 3]
    assert accuracy(scores, targets, np.ones((4, 1)), threshold=0.25).tolist() == [3 / 4]


def test_the_loss_is_the_mean_of_the_logarithms_of_what_the_labels_were_given() -> None:
    scores, targets = column(0.5, 0.25, 0.75), column(1, 0, 0)
    parts = [math.log(2), -math.log(0.75), -math.log(0.25)]
    assert cross_entropy(scores, targets, np.ones((3, 1))).tolist() == pytest.approx(
        [sum(parts) / 3]
    )
    assert cross_entropy(scores, targets, column(1, 0, 1)).tolist() == pytest.approx(
        [(parts[0] + parts[2]) / 2]
    )


@pytest.mark.parametrize("certain", [False, True])
def test_the_loss_equals_that_of_torch_and_is_finite_for_certain_scores(certain: bool) -> None:
    rng = default_rng(2)
    scores, targets = rng.random((20, 3)), rng.integers(0, 2, (20, 3)).astype(float)
    if certain:
        scores = scores.round()
    expected = F.binary_cross_entropy(
        torch.from_numpy(scores), torch.from_numpy(targets), reduction="none"
    ).mean(dim=0)
    loss = cross_entropy(scores, targets, np.ones((20, 3)))
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    assert np.isfinite(loss).all()


@pytest.mark.parametrize("value", [-0.25, 1.5])
def test_the_loss_of_scores_that_are_no_probabilities_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=f"probabilities, in 0 .. 1; got {value}"):
        cross_entropy(column(0.5, value), column(1, 0), column(1, 1))


def test_means_are_over_the_classes_that_are_not_nan() -> None:
    assert mean_over_present(column(0, np.nan, 1)) == 1 / 2
    for nothing in (column(np.nan), np.zeros(0)):
        assert math.isnan(mean_over_present(nothing))


@pytest.mark.parametrize("wrong", [[[1.0]], np.ones((1, 1), dtype=np.float32)])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_anything_but_float64_arrays_is_refused(wrong: Any, place: int) -> None:
    arrays: list[Any] = [np.ones((1, 1))] * 3
    arrays[place] = wrong
    name = ("scores", "targets", "weights")[place]
    for metric in (eval_classification, accuracy, cross_entropy):
        with pytest.raises(TypeError, match=f"{name} is a numpy float64 array"):
            metric(*arrays)


@pytest.mark.parametrize(
    ("scores", "targets", "weights", "message"),
    [
        (np.ones((2, 3)), np.ones((3, 2)), np.ones((2, 3)), r"scores \[2, 3\], targets \[3, 2\]"),
        (np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 1)), r"scores \[2, 3\], weights \[2, 1\]"),
        (column(0.5, np.nan), column(1, 0), column(1, 1), "image 1 for class 0 is nan"),
        (column(np.inf, 0.5), column(1, 0), column(0, 1), "image 0 for class 0 is inf"),
        (column(0.5), column(-1), column(1), "targets are 0 or 1; got -1.0"),
        (column(0.5), column(np.nan), column(1), "targets are 0 or 1; got nan"),
        (column(0.5), column(1), column(0.5), "weights are 0 or 1; got 0.5"),
    ],
)
def test_malformed_arrays_are_refused(
    scores: Floats, targets: Floats, weights: Floats, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        eval_classification(scores, targets, weights)


def test_importing_the_metrics_imports_neither_scikit_learn_nor_torch() -> None:
    code = (
        "import sys, data.evaluation.image_metrics; print({'sklearn', 'torch'} & set(sys.modules))"
    )
    root = Path(__file__).parents[3]
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "set()"
