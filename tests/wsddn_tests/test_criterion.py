"""A batch of images with their proposals to named losses and image scores."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from data.types import ImageBatch, Proposals
from localizer.backbones import BACKBONES, Geometry
from wsddn.criterion import drop_proposals, wsddn_losses
from wsddn.loss import image_level_loss, spatial_regularizer
from wsddn.model import WSDDN, WSDDNHead
from wsddn.scores import image_scores, log_scores
from wsddn.settings import DetectorSettings

PAPER = {"spatial": 1e-4}  # factors of the losses
PLAIN = Geometry(stride=16, offset=7.5)
# other cells each; the second and the third overlap the first by .8
BOXES = torch.tensor(
    [[0.0, 0, 160, 160], [0.0, 0, 160, 128], [0.0, 0, 128, 160], [100.0, 100, 140, 140]]
)


@pytest.fixture
def head(rng: torch.Generator) -> WSDDNHead:
    return WSDDNHead(3, PLAIN, 4, DetectorSettings(width=8, pool_size=2)).eval()


def batch_of(
    features: Tensor, targets: list[list[float]], *rois: Proposals, weights: Tensor | None = None
) -> ImageBatch:
    names = tuple("abcdef"[: len(features)])
    sizes = torch.full((len(features), 2), 160)
    given = torch.tensor(targets)
    return ImageBatch(
        names, features, sizes, given, torch.ones_like(given) if weights is None else weights, rois
    )


def one_image(rng: torch.Generator, *, weights: Tensor | None = None) -> ImageBatch:
    features = torch.randn(1, 3, 10, 10, generator=rng)
    rois = Proposals(BOXES, torch.rand(4, generator=rng))
    return batch_of(features, [[1.0, 0.0, 0.0, 1.0]], rois, weights=weights)


def two_images(rng: torch.Generator) -> ImageBatch:
    return batch_of(
        torch.randn(2, 3, 10, 10, generator=rng),
        [[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]],
        Proposals(BOXES, None),
        Proposals(BOXES[:3], torch.rand(3, generator=rng)),
    )


def test_streams_of_zeros_have_the_loss_of_equal_classes(head: WSDDNHead) -> None:
    for stream in (head.class_stream, head.detection_stream):
        torch.nn.init.zeros_(stream.weight)
        torch.nn.init.zeros_(stream.bias)
    batch = batch_of(torch.ones(1, 3, 10, 10), [[1.0, 0, 0, 0]], Proposals(BOXES, None))

    losses, scores = wsddn_losses(head, batch, factors=PAPER)

    # every class has 1/4; one is there and three are not
    expected = math.log(4) + 3 * math.log(4 / 3)
    torch.testing.assert_close(losses["image_label"], torch.tensor(expected))
    torch.testing.assert_close(scores, torch.full((1, 4), 1 / 4))


def test_losses_and_scores_are_those_of_their_functions(
    head: WSDDNHead, rng: torch.Generator
) -> None:
    batch = one_image(rng)
    targets, weights = batch.targets[0], batch.weights[0]

    losses, scores = wsddn_losses(head, batch, factors={"spatial": 0.5})
    without, _ = wsddn_losses(head, batch, factors={"spatial": 0})

    output = head(batch.images, BOXES, batch.rois[0].scores)
    logs = log_scores(output.class_logits, output.detection_logits)
    pulled = spatial_regularizer(BOXES, output.fc7, logs.exp(), targets)
    assert list(losses) == ["image_label", "spatial"]
    torch.testing.assert_close(losses["image_label"], image_level_loss(logs, targets, weights))
    torch.testing.assert_close(losses["spatial"], 0.5 * pulled)
    assert losses["spatial"].item() > 0
    assert list(without) == ["image_label"]
    assert without["image_label"].equal(losses["image_label"])
    torch.testing.assert_close(scores, image_scores(logs.exp())[None])
    assert not scores.requires_grad


def test_a_class_of_weight_zero_pulls_no_neighbors(head: WSDDNHead, rng: torch.Generator) -> None:
    batch = one_image(rng, weights=torch.tensor([[0.0, 1.0, 1.0, 0.0]]))

    losses, _ = wsddn_losses(head, batch, factors={"spatial": 1.0})

    assert losses["spatial"].item() == 0


def test_two_images_have_the_mean_of_their_losses_and_scores_of_their_own(
    head: WSDDNHead, rng: torch.Generator
) -> None:
    batch = two_images(rng)

    losses, scores = wsddn_losses(head, batch, factors={"spatial": 0.5})

    (one, first), (other, second) = (
        wsddn_losses(head, alone, factors={"spatial": 0.5})
        for alone in (
            batch_of(batch.images[n : n + 1], batch.targets[n : n + 1].tolist(), batch.rois[n])
            for n in range(2)
        )
    )
    for name in ("image_label", "spatial"):
        torch.testing.assert_close(losses[name], (one[name] + other[name]) / 2)
        assert not one[name].isclose(other[name])
    torch.testing.assert_close(scores, torch.cat([first, second]))


@pytest.mark.parametrize("name", ["image_label", "spatial"])
def test_the_gradient_of_each_loss_reaches_the_first_layer(
    name: str, head: WSDDNHead, rng: torch.Generator
) -> None:
    losses, _ = wsddn_losses(head, two_images(rng), factors={"spatial": 1.0})

    (gradient,) = torch.autograd.grad(losses[name], [head.fc6.weight])

    assert gradient.isfinite().all()
    assert (gradient != 0).any()


@pytest.mark.parametrize("count", [1, 4000])
def test_one_and_thousands_of_equal_proposals_have_finite_losses_and_gradients(
    count: int, head: WSDDNHead, rng: torch.Generator
) -> None:
    rois = Proposals(BOXES[:1].expand(count, 4), torch.ones(count))
    batch = batch_of(torch.randn(1, 3, 10, 10, generator=rng), [[1.0, 0.0, 0.0, 1.0]], rois)

    losses, scores = wsddn_losses(head, batch, factors={"spatial": 1.0})
    torch.autograd.backward(torch.stack(list(losses.values())).sum())

    assert all(loss.isfinite() for loss in losses.values())
    assert scores.isfinite().all()
    gradients = [parameter.grad for parameter in head.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


def test_images_without_rois_or_with_an_empty_set_are_refused(head: WSDDNHead) -> None:
    images, targets = torch.zeros(1, 3, 10, 10), [[1.0, 0, 0, 0]]
    with pytest.raises(ValueError, match="rois"):
        wsddn_losses(head, batch_of(images, targets), factors=PAPER)
    with pytest.raises(ValueError, match="without proposals"):
        wsddn_losses(
            head, batch_of(images, targets, Proposals(torch.zeros(0, 4), None)), factors=PAPER
        )


def test_images_for_the_whole_give_what_features_give_its_head(rng: torch.Generator) -> None:
    backbone = BACKBONES["alexnet"]
    model = WSDDN(
        backbone, WSDDNHead(256, backbone.geometry, 4, DetectorSettings(width=8, pool_size=2))
    ).eval()
    targets = [[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]]
    images = torch.randn(2, 3, 160, 160, generator=rng)
    rois = (Proposals(BOXES, None), Proposals(BOXES[1:], None))
    features = torch.cat([model.features(images[index : index + 1]) for index in range(2)])

    whole, _ = wsddn_losses(model, batch_of(images, targets, *rois), factors=PAPER)
    parts, _ = wsddn_losses(model.head, batch_of(features, targets, *rois), factors=PAPER)

    for name in ("image_label", "spatial"):
        torch.testing.assert_close(whole[name], parts[name])


def test_dropped_proposals_take_no_part(head: WSDDNHead, rng: torch.Generator) -> None:
    batch = two_images(rng)
    torch.manual_seed(3)
    left = tuple(drop_proposals(rois, 0.5) for rois in batch.rois)
    counts = [len(rois.boxes) for rois in left]
    assert 0 < sum(counts) < 7

    torch.manual_seed(3)
    losses, scores = wsddn_losses(head, batch, drop_fraction=0.5, factors=PAPER)

    expected, expected_scores = wsddn_losses(head, replace(batch, rois=left), factors=PAPER)
    assert losses["image_label"].equal(expected["image_label"])
    assert scores.equal(expected_scores)


def test_proposals_are_dropped_at_the_rate_asked_for_with_their_scores() -> None:
    boxes = torch.arange(40_000.0).reshape(-1, 4)
    torch.manual_seed(0)

    left = drop_proposals(Proposals(boxes, boxes[:, 0]), 0.8)

    assert len(left.boxes) == pytest.approx(2000, abs=150)
    assert left.scores is not None
    assert left.scores.equal(left.boxes[:, 0])
    assert bool((left.scores.diff() > 0).all())


def test_one_proposal_is_left_at_least_and_dropping_none_draws_nothing() -> None:
    torch.manual_seed(0)
    before, given = torch.get_rng_state(), Proposals(BOXES[:2], None)
    assert drop_proposals(given, 0) is given
    assert torch.get_rng_state().equal(before)
    for _ in range(20):
        assert len(drop_proposals(given, 0.999).boxes) == 1
