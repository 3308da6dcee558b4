"""The detector's two streams: shared features change nothing, scores scale, dropout only trains."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from localizer.backbones import BACKBONES, Geometry
from wsddn.model import WSDDN, WSDDNHead, WSDDNOutput
from wsddn.rois import pool_cells, roi_cells
from wsddn.scores import combine_scores

PLAIN = Geometry(stride=16, offset=7.5)


def small_head(*, box_score: float = 10.0, temperature: float = 2.0) -> WSDDNHead:
    return WSDDNHead(
        3, PLAIN, 4, width=8, pool_size=2, temperature=temperature, box_score=box_score
    ).eval()


def random_rois(count: int, rng: torch.Generator) -> Tensor:
    corner = torch.rand(count, 2, generator=rng) * 90
    return torch.cat([corner, corner + 20 + torch.rand(count, 2, generator=rng) * 40], dim=1)


def one_by_one(
    head: WSDDNHead, features: Tensor, rois: Tensor, scores: Tensor | None
) -> WSDDNOutput:
    """The same without any sharing, in the order of the paper."""
    cells = roi_cells(rois, head.geometry, (features.shape[2], features.shape[3]))
    pooled = pool_cells(features, cells, head.pool_size).flatten(1)
    if scores is not None:
        pooled = pooled * (1 + head.box_score * scores[:, None])
    fc7 = F.relu(head.fc7(F.relu(head.fc6(pooled))))
    second = head.detection_stream(fc7) / head.temperature
    return WSDDNOutput(head.class_stream(fc7), second, fc7)


@pytest.mark.parametrize("scored", [False, True])
def test_sharing_features_changes_no_score(rng: torch.Generator, scored: bool) -> None:
    head = small_head()
    features = torch.randn(1, 3, 10, 10, generator=rng)
    rois = random_rois(200, rng)  # on 10x10 cells: many cover the same
    scores = torch.rand(200, generator=rng) if scored else None

    found, expected = head(features, rois, scores), one_by_one(head, features, rois, scores)

    for name in ("class_logits", "detection_logits", "fc7"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name))


def test_gradients_are_those_without_sharing(rng: torch.Generator) -> None:
    head = small_head()
    features = torch.randn(1, 3, 10, 10, generator=rng)
    rois, scores = random_rois(200, rng), torch.rand(200, generator=rng)
    target = torch.randn(200, 4, generator=rng)

    gradients = []
    for run in (head, lambda *given: one_by_one(head, *given)):
        output = run(features, rois, scores)
        both = combine_scores(output.class_logits, output.detection_logits)
        gradients.append(torch.autograd.grad((both * target).sum(), list(head.parameters())))

    for ours, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize("count", [0, 7, 200])  # none, one full part, many with a smaller last
def test_proposals_in_parts_give_what_all_at_once_give(
    count: int, scored: bool, rng: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = small_head()
    features = torch.randn(1, 3, 10, 10, generator=rng, requires_grad=True)
    rois = random_rois(count, rng)
    scores = torch.rand(count, generator=rng) if scored else None
    learning = [features, *head.parameters()]

    outputs, gradients = [], []
    for at_once in (1024, 7):
        monkeypatch.setattr("wsddn.model.POOLED_AT_ONCE", at_once)
        output = head(features, rois, scores)
        parts = [output.class_logits, output.detection_logits, output.fc7]
        outputs.append(parts)
        squares = torch.stack([part.square().sum() for part in parts]).sum()
        gradients.append(torch.autograd.grad(squares, learning))

    for whole, split in zip(*outputs, strict=True):
        torch.testing.assert_close(split, whole)
    for whole, split in zip(*gradients, strict=True):
        # float32 sums over the proposals in another order
        torch.testing.assert_close(split, whole, rtol=1e-4, atol=1e-5)


def test_scores_of_zero_and_no_scores_multiply_by_one(rng: torch.Generator) -> None:
    head, features, rois = small_head(), torch.randn(1, 3, 10, 10), random_rois(20, rng)

    unknown, zero = head(features, rois), head(features, rois, torch.zeros(20))

    torch.testing.assert_close(unknown.class_logits, zero.class_logits)


def test_the_temperature_divides_the_detection_stream_alone(rng: torch.Generator) -> None:
    warm, cold = small_head(), small_head(temperature=1.0)
    cold.load_state_dict(warm.state_dict())
    features, rois = torch.randn(1, 3, 10, 10), random_rois(20, rng)

    ours, plain = warm(features, rois), cold(features, rois)

    assert ours.class_logits.equal(plain.class_logits)
    torch.testing.assert_close(ours.detection_logits * 2, plain.detection_logits)


@pytest.mark.parametrize("count", [0, 1])
def test_none_and_one_proposal_stay_two_dimensional(count: int, rng: torch.Generator) -> None:
    output = small_head()(torch.randn(1, 3, 10, 10), random_rois(count, rng), torch.ones(count))

    assert output.class_logits.shape == (count, 4)
    assert output.detection_logits.shape == (count, 4)
    assert output.fc7.shape == (count, 8)


def test_dropout_works_while_training_alone(rng: torch.Generator) -> None:
    head, features, rois = small_head(), torch.randn(1, 3, 10, 10), random_rois(20, rng)

    calm = [head(features, rois).class_logits for _ in range(2)]
    head.train()
    noisy = [head(features, rois).class_logits for _ in range(2)]

    assert calm[0].equal(calm[1])
    assert not noisy[0].equal(noisy[1])


def test_a_whole_detector_is_its_backbone_and_its_head(rng: torch.Generator) -> None:
    backbone = BACKBONES["alexnet"]
    model = WSDDN(backbone, WSDDNHead(256, backbone.geometry, 4, width=8, pool_size=2)).eval()
    image = torch.randn(1, 3, 224, 200, generator=rng)
    rois = random_rois(5, rng)

    whole, parts = model(image, rois), model.head(model.features(image), rois)

    assert whole.class_logits.equal(parts.class_logits)


def test_features_of_two_images_and_scores_of_others_are_refused() -> None:
    head = small_head()
    with pytest.raises(ValueError, match="features of 2"):
        head(torch.zeros(2, 3, 10, 10), torch.zeros(0, 4))
    with pytest.raises(ValueError, match="0 rois need as many scores"):
        head(torch.zeros(1, 3, 10, 10), torch.zeros(0, 4), torch.zeros(1))


@pytest.mark.parametrize(
    ("wrong", "what"), [({"temperature": 0.0}, "above 0"), ({"dropout": 1.0}, "in .0, 1.")]
)
def test_values_without_meaning_are_refused(wrong: dict[str, float], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        WSDDNHead(3, PLAIN, 4, width=8, pool_size=2, **wrong)


def test_a_base_of_zero_multiplies_by_the_score_alone(rng: torch.Generator) -> None:
    head = WSDDNHead(3, PLAIN, 4, width=8, pool_size=2, box_score=1.0, box_base=0.0).eval()
    features, rois = torch.randn(1, 3, 10, 10, generator=rng), random_rois(5, rng)

    once = head(features, rois, torch.ones(5))

    torch.testing.assert_close(once.fc7, head(features, rois).fc7)


def test_the_area_prior_counts_a_proposal_by_its_area(rng: torch.Generator) -> None:
    features = torch.randn(1, 3, 10, 10, generator=rng)
    rois = torch.tensor([[0.0, 0.0, 20.0, 30.0], [0.0, 0.0, 40.0, 60.0]])
    head = small_head().eval()

    plain = head(features, rois).detection_logits.softmax(dim=0)
    head.area_prior = 0.5
    weighed = head(features, rois).detection_logits.softmax(dim=0)

    # four times the area to the power of a half: twice the odds
    torch.testing.assert_close(weighed[1] / weighed[0], 2 * plain[1] / plain[0])
