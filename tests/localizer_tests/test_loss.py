import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from data.types import ImageBatch
from localizer.backbones import Geometry
from localizer.loss import localizer_losses, multilabel_bce
from localizer.model import LocalizerHead
from localizer.settings import LocalizerSettings


def test_zero_logits_cost_the_logarithm_of_two() -> None:
    loss = multilabel_bce(torch.zeros(2, 3), torch.ones(2, 3), torch.ones(2, 3))
    torch.testing.assert_close(loss, torch.tensor(math.log(2)))


def test_a_probability_of_three_quarters_costs_what_it_should() -> None:
    logits = torch.full((1, 2), math.log(3))  # sigmoid gives 3 / 4
    loss = multilabel_bce(logits, torch.tensor([[1.0, 0.0]]), torch.ones(1, 2))
    torch.testing.assert_close(loss, torch.tensor((-math.log(3 / 4) - math.log(1 / 4)) / 2))


def test_an_ignored_entry_changes_neither_the_sum_nor_the_count_nor_gradients() -> None:
    logits = torch.tensor([[math.log(3), 50.0]], requires_grad=True)
    loss = multilabel_bce(logits, torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(loss, torch.tensor(-math.log(3 / 4)))
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradient, torch.tensor([[-1 / 4, 0.0]]))


def test_with_every_entry_ignored_loss_and_gradient_are_zero() -> None:
    logits = torch.ones(2, 3, requires_grad=True)
    loss = multilabel_bce(logits, torch.ones(2, 3), torch.zeros(2, 3))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert float(loss.detach()) == 0
    assert not gradient.any()


def test_with_nothing_ignored_it_is_the_mean_of_all_entries(rng: torch.Generator) -> None:
    logits = torch.randn(4, 20, generator=rng)
    targets = (torch.rand(4, 20, generator=rng) < 0.3).float()
    expected = F.binary_cross_entropy(torch.sigmoid(logits), targets)
    loss = multilabel_bce(logits, targets, torch.ones(4, 20))
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_confident_errors_cost_their_logit_in_full_precision(dtype: torch.dtype) -> None:
    loss = multilabel_bce(
        torch.tensor([[-1024.0]], dtype=dtype), torch.ones(1, 1), torch.ones(1, 1)
    )
    assert float(loss) == 1024
    assert loss.dtype == torch.float32


# --- the criterion --------------------------------------------------------------------------------


def head() -> LocalizerHead:
    """A head whose map is its input: cells of 3 pixels that begin at pixel 0."""
    geometry = Geometry(stride=3, offset=1)
    return LocalizerHead(nn.Identity(), nn.Sequential(), geometry, LocalizerSettings())


def batch(images: torch.Tensor, height: int, width: int) -> ImageBatch:
    shape = images.shape[:2]
    sizes = torch.tensor([[height, width]]).repeat(len(images), 1)
    return ImageBatch(("a",) * len(images), images, sizes, torch.ones(shape), torch.ones(shape))


def test_the_criterion_gives_its_loss_by_name_and_the_scores_behind_it() -> None:
    heatmap = torch.tensor([[[[-9.0, math.log(3)]], [[-9.0, 0.0]]]], requires_grad=True)
    losses, scores = localizer_losses(head(), batch(heatmap, 3, 6))
    assert list(losses) == ["image_label"]
    expected = torch.tensor((-math.log(3 / 4) - math.log(1 / 2)) / 2)
    torch.testing.assert_close(losses["image_label"], expected)
    torch.testing.assert_close(scores, torch.tensor([[3 / 4, 1 / 2]]))
    assert not scores.requires_grad
    assert losses["image_label"].requires_grad


def test_padding_has_no_part_in_the_criterion() -> None:
    heatmap = torch.tensor([[[[0.0, 99.0]]]])  # the second cell begins at pixel 3
    losses, scores = localizer_losses(head(), batch(heatmap, 3, 3))
    torch.testing.assert_close(losses["image_label"], torch.tensor(math.log(2)))
    assert float(scores) == pytest.approx(1 / 2)
