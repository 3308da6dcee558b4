"""The detector's two streams: shared features, scores, temperature, prior and dropout."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from localizer.backbones import Geometry
from tests.worlds import random_boxes
from wsddn.model import WSDDNHead, WSDDNOutput
from wsddn.rois import pool_cells, roi_cells
from wsddn.scores import combine_scores
from wsddn.settings import DetectorSettings

PLAIN = Geometry(stride=16, offset=7.5)


def small_head(**options: Any) -> WSDDNHead:
    settings = DetectorSettings(width=8, pool_size=2, box_score=10, area_prior=0)
    return WSDDNHead(3, PLAIN, 4, replace(settings, **options)).eval()


def one_by_one(
    head: WSDDNHead, features: Tensor, rois: Tensor, scores: Tensor | None
) -> WSDDNOutput:
    """The same without any sharing, in the order of the paper."""
    cells = roi_cells(rois, head.geometry, (features.shape[2], features.shape[3]))
    pooled = pool_cells(features, cells, head.settings.pool_size).flatten(1)
    if scores is not None:
        pooled = pooled * (1 + head.settings.box_score * scores[:, None])
    fc7 = F.relu(head.fc7(F.relu(head.fc6(pooled))))
    second = head.detection_stream(fc7) / head.settings.temperature
    return WSDDNOutput(head.class_stream(fc7), second, fc7)


@pytest.mark.parametrize("scored", [False, True])
def test_sharing_features_changes_no_score(rng: torch.Generator, scored: bool) -> None:
    head = small_head()
    features = torch.randn(1, 3, 10, 10, generator=rng)
    rois = random_boxes(200, rng)  # on 10x10 cells: many cover the same
    scores = torch.rand(200, generator=rng) if scored else None

    shared, expected = head(features, rois, scores), one_by_one(head, features, rois, scores)

    for name in ("class_logits", "detection_logits", "fc7"):
        torch.testing.assert_close(getattr(shared, name), getattr(expected, name))


def test_gradients_are_those_without_sharing(rng: torch.Generator) -> None:
    head = small_head()
    features = torch.randn(1, 3, 10, 10, generator=rng)
    rois, scores = random_boxes(200, rng), torch.rand(200, generator=rng)
    target = torch.randn(200, 4, generator=rng)

    gradients = []
    for run in (head, lambda *given: one_by_one(head, *given)):
        output = run(features, rois, scores)
        both = combine_scores(output.class_logits, output.detection_logits)
        gradients.append(torch.autograd.grad((both * target).sum(), list(head.parameters())))

    for ours, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize("count", [0, 1, 7, 200])  # 7: one full part, 200: with a smaller last
def test_proposals_in_parts_give_what_all_at_once_give(
    count: int, scored: bool, rng: torch.Generator
) -> None:
    head = small_head()
    features = torch.randn(1, 3, 10, 10, generator=rng, requires_grad=True)
    rois = random_boxes(count, rng)
    scores = torch.rand(count, generator=rng) if scored else None
    learning = [features, *head.parameters()]

    outputs, gradients = [], []
    for at_once in (1024, 7):
        head.pooled_at_once = at_once
        output = head(features, rois, scores)
        parts = [output.class_logits, output.detection_logits, output.fc7]
        assert [part.shape for part in parts] == [(count, 4), (count, 4), (count, 8)]
        outputs.append(parts)
        squares = torch.stack([part.square().sum() for part in parts]).sum()
        gradients.append(torch.autograd.grad(squares, learning))

    for whole, split in zip(*outputs, strict=True):
        torch.testing.assert_close(split, whole)
    for whole, split in zip(*gradients, strict=True):
        # float32 sums over the proposals in another order
        torch.testing.assert_close(split, whole, rtol=1e-4, atol=1e-5)


def test_no_scores_multiply_by_one_and_a_base_of_zero_leaves_the_score(
    rng: torch.Generator,
) -> None:
    features, rois = torch.randn(1, 3, 10, 10), random_boxes(20, rng)
    head = small_head(box_score=1.0)
    unknown = head(features, rois).fc7
    torch.testing.assert_close(head(features, rois, torch.zeros(20)).fc7, unknown)
    head.settings = replace(head.settings, box_base=0.0)
    torch.testing.assert_close(head(features, rois, torch.ones(20)).fc7, unknown)


def test_the_temperature_divides_the_detection_stream_alone(rng: torch.Generator) -> None:
    warm, cold = small_head(), small_head(temperature=1.0)
    cold.load_state_dict(warm.state_dict())
    features, rois = torch.randn(1, 3, 10, 10), random_boxes(20, rng)

    ours, plain = warm(features, rois), cold(features, rois)

    assert ours.class_logits.equal(plain.class_logits)
    torch.testing.assert_close(ours.detection_logits * 2, plain.detection_logits)


def test_dropout_works_while_training_alone(rng: torch.Generator) -> None:
    head, features, rois = small_head(), torch.randn(1, 3, 10, 10), random_boxes(20, rng)

    calm = [head(features, rois).class_logits for _ in range(2)]
    head.train()
    noisy = [head(features, rois).class_logits for _ in range(2)]

    assert calm[0].equal(calm[1])
    assert not noisy[0].equal(noisy[1])


def test_features_of_two_images_and_scores_of_others_are_refused() -> None:
    head = small_head()
    with pytest.raises(ValueError, match="features of 2"):
        head(torch.zeros(2, 3, 10, 10), torch.zeros(0, 4))
    with pytest.raises(ValueError, match="0 rois need as many scores"):
        head(torch.zeros(1, 3, 10, 10), torch.zeros(0, 4), torch.zeros(1))


def test_the_area_prior_counts_a_proposal_by_its_area(rng: torch.Generator) -> None:
    features = torch.randn(1, 3, 10, 10, generator=rng)
    rois = torch.tensor([[0.0, 0.0, 20.0, 30.0], [0.0, 0.0, 40.0, 60.0]])
    head = small_head().eval()

    plain = head(features, rois).detection_logits.softmax(dim=0)
    head.settings = replace(head.settings, area_prior=0.5)
    weighted = head(features, rois).detection_logits.softmax(dim=0)

    # four times the area to the power of a half: twice the odds
    torch.testing.assert_close(weighted[1] / weighted[0], 2 * plain[1] / plain[0])
