"""The image-level loss where probabilities end, and the regularizer beside its formula."""

import math

import pytest
import torch
from torch import Tensor

from wsddn.loss import image_level_loss, spatial_regularizer
from wsddn.scores import combine_scores, log_scores


def test_the_loss_is_minus_the_logarithm_of_what_is_true() -> None:
    quarters = torch.full((1, 2), 1 / 4).log()

    loss = image_level_loss(quarters, torch.tensor([1.0, 0.0]), torch.ones(2))

    torch.testing.assert_close(loss, torch.tensor(math.log(4) - math.log(3 / 4)))


def test_a_class_of_weight_zero_is_ignored() -> None:
    quarters = torch.full((1, 2), 1 / 4).log()

    loss = image_level_loss(quarters, torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))

    torch.testing.assert_close(loss, torch.tensor(-math.log(3 / 4)))


def test_a_present_class_that_nothing_shows_still_learns() -> None:
    first = torch.tensor([[-60.0, 60.0]] * 3, requires_grad=True)

    loss = image_level_loss(log_scores(first, torch.zeros(3, 2)), torch.ones(2), torch.ones(2))
    torch.autograd.backward(loss)

    assert loss.isfinite()
    assert first.grad is not None
    assert (first.grad[:, 0] < -0.1).all()


def test_a_certain_but_absent_class_has_a_finite_loss_and_gradient() -> None:
    first = torch.tensor([[60.0, -60.0]] * 3, requires_grad=True)
    second = torch.zeros(3, 2, requires_grad=True)

    loss = image_level_loss(log_scores(first, second), torch.tensor([0.0, 0.0]), torch.ones(2))
    torch.autograd.backward(loss)

    assert loss.item() == pytest.approx(-math.log(1e-6), rel=0.1)
    assert first.grad is not None
    assert first.grad.isfinite().all()


@pytest.mark.parametrize("count", [1, 10, 2000])
def test_equal_proposals_give_the_loss_of_one(count: int) -> None:
    one = torch.tensor([[1.0, -2.0, 0.5]])
    targets, weights = torch.tensor([1.0, 0.0, 1.0]), torch.ones(3)

    losses = [
        image_level_loss(log_scores(rows, rows), targets, weights)
        for rows in (one, one.expand(count, 3))
    ]

    torch.testing.assert_close(losses[0], losses[1])


def test_no_proposals_are_refused() -> None:
    with pytest.raises(ValueError, match="without proposals"):
        image_level_loss(torch.zeros(0, 2), torch.ones(2), torch.ones(2))


BOXES = torch.tensor(
    [[0.0, 0, 10, 10], [0.0, 0, 10, 9], [0.0, 0, 10, 8], [0.0, 0, 10, 5], [50.0, 50, 60, 60]]
)  # overlaps with the first: 1, .9, .8, .5, 0


def test_the_regularizer_equals_its_formula() -> None:
    fc7 = torch.tensor([[1.0, 0.0], [3.0, 0.0], [1.0, 1.0], [9.0, 9.0], [9.0, 9.0]])
    scores = torch.tensor([[0.5, 0.1], [0.4, 0.1], [0.2, 0.1], [0.1, 0.1], [0.1, 0.1]])

    loss = spatial_regularizer(BOXES, fc7, scores, torch.tensor([1.0, 0.0]))

    # neighbors 1 and 2: (.4 * 2)^2 + (.2 * 1)^2, halved, over two classes
    torch.testing.assert_close(loss, torch.tensor((0.64 + 0.04) / 4))


def test_only_the_best_scored_neighbors_count() -> None:
    fc7 = torch.tensor([[1.0, 0.0], [3.0, 0.0], [1.0, 1.0], [9.0, 9.0], [9.0, 9.0]])
    scores = torch.tensor([[0.5], [0.4], [0.2], [0.1], [0.1]])

    loss = spatial_regularizer(BOXES, fc7, scores, torch.ones(1), top=1)

    torch.testing.assert_close(loss, torch.tensor(0.64 / 2))


def test_the_regularizers_gradient_is_that_of_finite_differences(rng: torch.Generator) -> None:
    fc7 = torch.randn(5, 3, generator=rng, dtype=torch.float64)
    scores = combine_scores(torch.randn(5, 2, generator=rng), torch.randn(5, 2, generator=rng))

    def at(values: Tensor) -> Tensor:
        return spatial_regularizer(BOXES, values, scores, torch.ones(2), min_iou=0.4)

    analytic = torch.func.jacrev(at)(fc7)
    step = 1e-2  # the formula is quadratic: central differences are exact but for float32
    for row in range(5):
        for column in range(3):
            shift = torch.zeros_like(fc7)
            shift[row, column] = step
            slope = (at(fc7 + shift) - at(fc7 - shift)).item() / (2 * step)
            assert analytic[row, column].item() == pytest.approx(slope, abs=1e-4)


def test_scores_take_no_gradient_from_the_regularizer() -> None:
    logits = torch.zeros(5, 1, requires_grad=True)
    fc7 = torch.arange(5.0)[:, None].requires_grad_()

    torch.autograd.backward(
        spatial_regularizer(BOXES, fc7, combine_scores(logits, logits), torch.ones(1))
    )

    assert logits.grad is None
    assert fc7.grad is not None
    assert (fc7.grad[:3] != 0).all()  # the best one and both of its neighbors


@pytest.mark.parametrize(
    ("boxes", "targets"),
    [(BOXES, [0.0, 0.0]), (BOXES[:1], [1.0, 0.0]), (BOXES[3:], [1.0, 1.0]), (BOXES[:0], [1.0, 1])],
)
def test_without_present_classes_or_neighbors_it_is_zero(
    boxes: Tensor, targets: list[float]
) -> None:
    fc7 = torch.ones(len(boxes), 2)

    loss = spatial_regularizer(boxes, fc7, torch.ones(len(boxes), 2), torch.tensor(targets))

    assert loss.item() == 0
