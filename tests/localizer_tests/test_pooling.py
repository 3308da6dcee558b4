import math

import pytest
import torch
from torch import Tensor

from localizer.pooling import (
    POOLINGS,
    log_sum_exp_pool_logits,
    max_pool_logits,
    mean_pool_logits,
    top_pool_logits,
)
from localizer.settings import LocalizerSettings

VALUES = {"max": 0.0, "mean": 0.0, "log_sum_exp": 2.0, "top": 0.5}  # a good one for each pooling
each_pooling = pytest.mark.parametrize("name", POOLINGS)


def maps(cells: list[list[float]]) -> Tensor:
    """One image, one class."""
    return torch.tensor(cells)[None, None]


def all_cells(logits: Tensor) -> Tensor:
    return torch.ones(len(logits), *logits.shape[2:], dtype=torch.bool)


def pool(name: str, logits: Tensor, valid: Tensor | None = None) -> Tensor:
    return POOLINGS[name](logits, all_cells(logits) if valid is None else valid, VALUES[name])


FOUR = maps([[1.0, 2.0], [3.0, 6.0]])


def test_max_takes_the_highest_cell_and_mean_every_cell() -> None:
    assert max_pool_logits(FOUR, all_cells(FOUR)).tolist() == [[6]]
    assert mean_pool_logits(FOUR, all_cells(FOUR)).tolist() == [[3]]


@pytest.mark.parametrize(
    ("sharpness", "pooled"), [(1.0, math.log(4 / 2)), (2.0, math.log(10 / 2) / 2)]
)
def test_log_sum_exp_is_the_logarithm_of_the_mean_exponential(
    sharpness: float, pooled: float
) -> None:
    logits = maps([[0.0, math.log(3)]])
    result = log_sum_exp_pool_logits(logits, all_cells(logits), sharpness)
    torch.testing.assert_close(result, torch.tensor([[pooled]]))


@pytest.mark.parametrize(
    ("sharpness", "pooled"),
    [
        (1e-3, 3),
        (1e3, 6),
    ],  # half of the sharpness times the variance, and log(4) / 1000 are missing
)
def test_log_sum_exp_lies_between_mean_and_maximum(sharpness: float, pooled: float) -> None:
    result = float(log_sum_exp_pool_logits(FOUR, all_cells(FOUR), sharpness))
    assert result == pytest.approx(pooled, abs=2e-3)
    assert 3 < result < 6


@pytest.mark.parametrize(
    ("fraction", "pooled"), [(0.5, (6 + 3) / 2), (0.26, (6 + 3) / 2), (1e-6, 6)]
)
def test_top_takes_the_mean_of_a_fraction_rounded_up(fraction: float, pooled: float) -> None:
    assert top_pool_logits(FOUR, all_cells(FOUR), fraction).tolist() == [[pooled]]


def test_top_counts_the_fraction_of_each_image_by_itself() -> None:
    logits = FOUR.repeat(2, 1, 1, 1)
    valid = torch.tensor([[[True, True], [True, True]], [[True, True], [False, False]]])
    assert top_pool_logits(logits, valid, 0.5).tolist() == [[4.5], [2]]


def test_classes_are_pooled_apart() -> None:
    logits = torch.cat([FOUR, -FOUR], dim=1)
    assert max_pool_logits(logits, all_cells(logits)).tolist() == [[6, -1]]


def test_log_sum_exp_of_huge_logits_is_finite() -> None:
    logits = maps([[1e4, 1e4]])
    assert float(log_sum_exp_pool_logits(logits, all_cells(logits), 5.0)) == pytest.approx(1e4)


@each_pooling
def test_a_constant_map_pools_to_its_constant(name: str) -> None:
    torch.testing.assert_close(pool(name, torch.full((1, 1, 3, 3), -7.0)), torch.tensor([[-7.0]]))


@each_pooling
@pytest.mark.parametrize("hidden", [1e6, -1e6, 0.0])
def test_cells_that_do_not_count_never_matter(name: str, hidden: float) -> None:
    padded = maps([[1.0, 2.0, hidden], [3.0, 6.0, hidden], [hidden, hidden, hidden]])
    valid = torch.zeros(1, 3, 3, dtype=torch.bool)
    valid[:, :2, :2] = True
    torch.testing.assert_close(pool(name, padded, valid), pool(name, FOUR))


@each_pooling
def test_cells_that_do_not_count_get_no_gradient(name: str) -> None:
    logits = FOUR.clone().requires_grad_()
    valid = torch.tensor([[[True, True], [True, False]]])
    (gradient,) = torch.autograd.grad(pool(name, logits, valid).sum(), logits)
    assert gradient[0, 0, 1, 1] == 0
    torch.testing.assert_close(gradient.sum(), torch.tensor(1.0))


@each_pooling
def test_negative_maps_with_hidden_cells_do_not_pool_to_zero(name: str) -> None:
    valid = torch.tensor([[[True, False], [False, False]]])
    torch.testing.assert_close(pool(name, FOUR - 10, valid), torch.tensor([[-9.0]]))


def test_the_gradient_reaches_the_highest_cell_or_the_top_fraction() -> None:
    logits, valid = FOUR.clone().requires_grad_(), all_cells(FOUR)
    (of_max,) = torch.autograd.grad(max_pool_logits(logits, valid).sum(), logits)
    (of_top,) = torch.autograd.grad(top_pool_logits(logits, valid, 0.5).sum(), logits)
    assert of_max.tolist() == [[[[0, 0], [0, 1]]]]
    assert of_top.tolist() == [[[[0, 0], [0.5, 0.5]]]]


@pytest.mark.parametrize(
    ("name", "values"),
    [("log_sum_exp", [0.0, -1.0, math.nan]), ("top", [0.0, -0.5, 1.5, math.nan])],
)
def test_a_value_that_a_pooling_cannot_use_is_refused(name: str, values: list[float]) -> None:
    for value in values:
        with pytest.raises(ValueError, match=rf"--model\.pooling-value .*, got {value}"):
            LocalizerSettings(pooling=name, pooling_value=value)


@each_pooling
def test_valid_cells_of_another_map_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"logits \[1, 1, 2, 2\] and valid cells \[1, 2, 3\]"):
        pool(name, FOUR, torch.ones(1, 2, 3, dtype=torch.bool))


@pytest.mark.parametrize(
    ("cells", "fraction", "taken"), [(100, 0.15, 15), (200, 0.15, 30), (50, 0.3, 15)]
)
def test_a_fraction_that_is_a_whole_number_of_cells_takes_just_these(
    cells: int, fraction: float, taken: int
) -> None:
    logits = torch.arange(float(cells)).view(1, 1, 1, cells)
    pooled = top_pool_logits(logits, torch.ones(1, 1, cells, dtype=torch.bool), fraction)
    assert pooled.item() == cells - 1 - (taken - 1) / 2
