"""Scores averaged over views of an image, and the proposals chosen as detections."""

import math

import pytest
import torch
from torch import Tensor

from data.transforms import flip_boxes
from data.types import Proposals
from localizer.backbones import Geometry
from tests.worlds import random_boxes
from wsddn.detect import (
    ScoredProposals,
    average_boxes,
    gather_support,
    rank_proposals,
    rescore_proposals,
    score_proposals,
    select_detections,
    top1_detections,
)
from wsddn.model import WSDDNHead, WSDDNOutput
from wsddn.scores import combine_scores
from wsddn.settings import DetectorSettings

PLAIN = Geometry(stride=16, offset=7.5)
SIDE = 160  # of the image whose features have 10 cells in a row

# Scores


class GivenLogits(WSDDNHead):
    """Gives of each view the class logits that it was given, and 0 of the other stream."""

    def __init__(self, *class_logits: Tensor) -> None:
        super().__init__(1, PLAIN, 2, DetectorSettings(width=1, pool_size=1))
        self.of_views = iter(class_logits)

    def forward(
        self, features: Tensor, rois: Tensor, roi_scores: Tensor | None = None
    ) -> WSDDNOutput:
        logits = next(self.of_views)
        return WSDDNOutput(logits, torch.zeros_like(logits), torch.zeros(len(logits), 1))


def view(count: int = 2) -> tuple[Tensor, Proposals]:
    return torch.zeros(1, 1, 2, 2), Proposals(torch.zeros(count, 4), None)


@pytest.fixture
def head(rng: torch.Generator) -> WSDDNHead:
    return WSDDNHead(3, PLAIN, 4, DetectorSettings(width=8, pool_size=2)).eval()


def flipped(features: Tensor, proposals: Proposals) -> tuple[Tensor, Proposals]:
    return features.flip(-1), Proposals(flip_boxes(proposals.boxes, SIDE), proposals.scores)


def test_scores_are_the_mean_over_the_views() -> None:
    first = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])  # 3/4 1/4; 1/2 1/2
    second = torch.zeros(2, 2)  # 1/2 everywhere

    scored = score_proposals(GivenLogits(first, second), (view() for _ in range(2)))

    # each of two proposals has half of the image: 3/8 1/8; 1/4 1/4 and 1/4 everywhere
    torch.testing.assert_close(scored.scores, torch.tensor([[5 / 16, 3 / 16], [1 / 4, 1 / 4]]))
    probabilities = torch.tensor([[5 / 8, 3 / 8], [1 / 2, 1 / 2]])
    torch.testing.assert_close(scored.class_probabilities, probabilities)


def test_one_view_has_the_models_scores_of_its_boxes_and_their_scores(
    head: WSDDNHead, rng: torch.Generator
) -> None:
    features = torch.randn(1, 3, 10, 10, generator=rng)
    rois = Proposals(random_boxes(20, rng), torch.rand(20, generator=rng))

    scored = score_proposals(head, [(features, rois)])

    with torch.inference_mode():
        output = head(features, rois.boxes, rois.scores)
    assert scored.scores.equal(combine_scores(output.class_logits, output.detection_logits))
    assert scored.class_probabilities.equal(output.class_logits.softmax(dim=1))
    assert not scored.scores.requires_grad
    none = score_proposals(head, [(features, rois[:0])] * 2)
    assert none.scores.shape == none.class_probabilities.shape == (0, 4)


def test_an_image_and_the_flipped_one_have_the_mean_of_both_scores(
    head: WSDDNHead, rng: torch.Generator
) -> None:
    features = torch.randn(1, 3, 10, 10, generator=rng)
    upright = (features, Proposals(random_boxes(20, rng), torch.rand(20, generator=rng)))
    other = flipped(*upright)

    both = score_proposals(head, [upright, other]).scores

    torch.testing.assert_close(both, score_proposals(head, [other, flipped(*other)]).scores)
    alone = [score_proposals(head, [one]).scores for one in (upright, other)]
    torch.testing.assert_close(both, (alone[0] + alone[1]) / 2)
    assert not alone[0].allclose(alone[1])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_not_finite_is_refused(value: float) -> None:
    good, bad = torch.zeros(2, 2), torch.tensor([[0.0, value], [0.0, 0.0]])

    with pytest.raises(ValueError, match="score is not finite"):
        score_proposals(GivenLogits(bad, good), [view(), view()])
    with pytest.raises(ValueError, match="at least one view"):
        score_proposals(GivenLogits(), [])


# Selection

SQUARE = [0.0, 0.0, 10.0, 10.0]
HALF = [0.0, 0.0, 10.0, 5.0]  # IoU with the square 1/2
MOST = [0.0, 0.0, 10.0, 8.0]  # 4/5; with the half 5/8
ELSEWHERE = [50.0, 50.0, 60.0, 60.0]


def test_a_score_at_the_threshold_is_kept_and_one_below_is_removed() -> None:
    boxes = torch.tensor([SQUARE, ELSEWHERE])
    below = torch.nextafter(torch.tensor(0.3), torch.tensor(0.0)).item()

    detections = select_detections(boxes, torch.tensor([[0.3], [below]]), score_threshold=0.3)

    assert detections.boxes.tolist() == [SQUARE]


def test_of_two_boxes_of_one_class_that_overlap_the_lower_is_removed() -> None:
    detections = select_detections(torch.tensor([SQUARE, MOST]), torch.tensor([[0.2], [0.6]]))

    assert detections.boxes.tolist() == [MOST]
    assert detections.labels.tolist() == [0]
    torch.testing.assert_close(detections.scores, torch.tensor([0.6]))


def test_boxes_of_two_classes_do_not_suppress_each_other() -> None:
    scores = torch.tensor([[0.9, 0.0], [0.0, 0.8]])

    detections = select_detections(torch.tensor([SQUARE, MOST]), scores)

    assert detections.boxes.tolist() == [SQUARE, MOST]
    assert detections.labels.tolist() == [0, 1]
    detections = select_detections(torch.tensor([SQUARE]), torch.tensor([[0.2, 0.0, 0.7]]))
    assert detections.labels.tolist() == [2, 0]  # one box may be of several


@pytest.mark.parametrize(
    ("bottom", "threshold", "count"), [(5.0, 0.5, 2), (5.0, 0.49, 1), (4.0, 0.4, 2)]
)
def test_a_box_whose_overlap_equals_the_threshold_is_kept(
    bottom: float, threshold: float, count: int
) -> None:
    boxes = torch.tensor([SQUARE, [0.0, 0.0, 10.0, bottom]])  # in float32 4 / 10 is above .4

    detections = select_detections(boxes, torch.tensor([[0.9], [0.8]]), nms_threshold=threshold)

    assert detections.boxes.equal(boxes[:count])


def test_a_removed_box_suppresses_no_other() -> None:
    boxes = torch.tensor([SQUARE, MOST, HALF])
    scores = torch.tensor([[0.9], [0.8], [0.7]])

    detections = select_detections(boxes, scores, nms_threshold=0.6)

    assert detections.boxes.tolist() == [SQUARE, HALF]


def test_the_best_of_all_classes_together_are_kept_by_descending_score() -> None:
    boxes = torch.tensor([SQUARE, ELSEWHERE])
    scores = torch.tensor([[0.1, 0.4], [0.3, 0.2]])

    detections = select_detections(boxes, scores, max_detections=3)

    torch.testing.assert_close(detections.scores, torch.tensor([0.4, 0.3, 0.2]))
    assert detections.labels.tolist() == [1, 0, 1]
    assert detections.boxes.tolist() == [SQUARE, ELSEWHERE, ELSEWHERE]


def slow_selection(boxes: Tensor, scores: Tensor, threshold: float) -> list[tuple[int, int]]:
    """Row and class of the detections, best first, one box after the other."""

    def overlap(one: list[float], other: list[float]) -> float:
        width = min(one[2], other[2]) - max(one[0], other[0])
        height = min(one[3], other[3]) - max(one[1], other[1])
        shared = max(width, 0) * max(height, 0)
        areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
        return shared / (sum(areas) - shared)

    rows, kept = boxes.tolist(), list[tuple[int, int]]()
    pairs = [(row, label) for row in range(len(rows)) for label in range(scores.shape[1])]
    for row, label in sorted(pairs, key=lambda pair: -scores[pair].item()):
        better = [rows[other] for other, of in kept if of == label]
        if all(overlap(rows[row], box) <= threshold for box in better):
            kept.append((row, label))
    return kept


@pytest.mark.parametrize("count", [40, 500])  # torchvision works in two ways
def test_selection_equals_one_box_after_the_other(count: int, rng: torch.Generator) -> None:
    boxes = random_boxes(count, rng)
    scores = torch.rand(count, 3, generator=rng)

    detections = select_detections(
        boxes, scores, score_threshold=0.0, nms_threshold=0.3, max_detections=count * 3
    )

    expected = slow_selection(boxes, scores, 0.3)
    assert detections.scores.tolist() == [scores[pair].item() for pair in expected]
    assert detections.labels.tolist() == [label for _, label in expected]
    assert detections.boxes.equal(boxes[[row for row, _ in expected]])


@pytest.mark.parametrize(
    ("boxes", "scores"),
    [(torch.zeros(0, 4), torch.zeros(0, 3)), (torch.tensor([SQUARE]), torch.zeros(1, 3))],
)
def test_without_boxes_or_scores_above_the_threshold_nothing_is_detected(
    boxes: Tensor, scores: Tensor
) -> None:
    detections = select_detections(boxes, scores)

    assert detections.boxes.shape == (0, 4)
    assert (detections.labels.shape, detections.labels.dtype) == ((0,), torch.int64)
    assert detections.scores.shape == (0,)


def test_support_is_the_sum_of_scores_by_overlap() -> None:
    boxes = torch.tensor([SQUARE, HALF, [50.0, 50.0, 60.0, 60.0]])  # the first two overlap by .5
    scores = torch.tensor([[0.4], [0.2], [0.1]])

    support = gather_support(boxes, scores, min_iou=0.5)

    torch.testing.assert_close(support, torch.tensor([[0.5], [0.4], [0.1]]))
    torch.testing.assert_close(gather_support(boxes, scores, min_iou=0.6), scores)
    assert gather_support(boxes[:0], scores[:0], min_iou=0.5).shape == (0, 1)


def test_support_never_exceeds_the_sum_of_all_scores(rng: torch.Generator) -> None:
    corner = torch.rand(50, 2, generator=rng) * 20
    boxes = torch.cat([corner, corner + 20], dim=1)
    scores = torch.rand(50, 3, generator=rng) / 50

    support = gather_support(boxes, scores, min_iou=0.3)

    assert (support <= scores.sum(dim=0) + 1e-6).all()  # float32
    assert (support >= scores - 1e-6).all()


def test_a_box_moves_to_the_weighted_mean_of_those_around_it() -> None:
    boxes = torch.tensor([SQUARE, HALF, [50.0, 50.0, 60.0, 60.0]])
    weights = torch.tensor([[3.0, 1.0, 9.0]])

    moved = average_boxes(boxes[:1], boxes, weights, min_iou=0.5)

    x2, y2 = HALF[2:]
    torch.testing.assert_close(
        moved, torch.tensor([[0.0, 0.0, (3 * 10 + x2) / 4, (3 * 10 + y2) / 4]])
    )
    assert average_boxes(boxes[:1], boxes, 0 * weights, min_iou=0.5).equal(boxes[:1])


def test_boxes_that_agree_exceed_a_single_one_of_higher_score() -> None:
    shifted = [[0.0, 0.0, 10.0, 10.0 + step] for step in range(4)]
    boxes = torch.tensor([*shifted, [50.0, 50.0, 60.0, 60.0]])
    scores = torch.tensor([[0.2], [0.2], [0.2], [0.2], [0.3]])

    assert select_detections(boxes, scores).boxes[0].tolist() == [50, 50, 60, 60]
    support = gather_support(boxes, scores, min_iou=0.5)
    detections = select_detections(boxes, support, votes=scores, vote_iou=0.5)

    assert detections.boxes[0].tolist() == [0, 0, 10, 11.5]
    assert len(detections.boxes) == 2


def test_boxes_that_move_onto_each_other_leave_one() -> None:
    # neither end covers the other by more than .4, both move onto the middle
    boxes = torch.tensor([[0.0, 0, 10, 10], [3.5, 0, 13.5, 10], [7.0, 0, 17.0, 10]])
    scores = torch.tensor([[0.3], [0.2], [0.3]])

    detections = select_detections(boxes, scores, votes=scores, vote_iou=0.3, nms_threshold=0.4)

    assert len(detections.boxes) == 1


@pytest.mark.parametrize("is_voted", [False, True])
def test_the_top_scoring_box_of_each_class_needs_no_score(is_voted: bool) -> None:
    boxes = torch.tensor([SQUARE, [50.0, 50.0, 60.0, 60.0]])
    scores = torch.tensor([[1e-9, 0.5], [0.0, 0.6]])

    detections = top1_detections(boxes, scores, votes=scores if is_voted else None)

    assert detections.labels.tolist() == [0, 1]
    assert detections.boxes.tolist() == boxes.tolist()
    assert len(top1_detections(boxes[:0], scores[:0], votes=scores[:0]).boxes) == 0


def test_the_top_scoring_box_of_a_class_moves_by_the_votes_of_this_class() -> None:
    boxes = torch.tensor([SQUARE, MOST, ELSEWHERE])
    votes = torch.tensor([[1.0, 3.0], [3.0, 1.0], [9.0, 9.0]])

    detections = top1_detections(boxes, torch.tensor([[2.0, 2.0], [1, 1], [1, 1]]), votes=votes)

    assert detections.boxes[:, 3].tolist() == [(10 + 3 * 8) / 4, (3 * 10 + 8) / 4]


def test_what_a_box_shows_itself_orders_boxes_of_equal_support() -> None:
    boxes = torch.tensor([SQUARE, HALF, ELSEWHERE])
    scores, probabilities = torch.tensor([[0.2], [0.2], [0.3]]), torch.tensor([[0.9], [0.5], [0.5]])
    scored = ScoredProposals(scores, probabilities)

    ranking = rank_proposals(boxes, scored, min_iou=0.5)

    torch.testing.assert_close(ranking, torch.tensor([[0.3 * 0.9], [0.3 * 0.5], [0.3 * 0.5]]))
    located = torch.tensor([[0.0], [0.5], [1.0]])
    both = rank_proposals(boxes, scored, min_iou=0.5, located=located)
    torch.testing.assert_close(both, 0.95 * ranking + torch.tensor([[0.0], [0.05 / 4], [0.05]]))
    none = ScoredProposals(scores[:0], probabilities[:0])
    assert rank_proposals(boxes[:0], none, min_iou=0.5).shape == (0, 1)


# Weights of proposals


def test_scores_move_to_larger_weights_and_their_sum_does_not_change() -> None:
    scores = torch.tensor([[0.6, 0.1], [0.2, 0.1]])
    moved = rescore_proposals(scores, torch.tensor([[0.5, 0.0], [1.5, 1.0]]))
    torch.testing.assert_close(moved, torch.tensor([[0.4, 0.0], [0.4, 0.2]]))
    assert rescore_proposals(scores, torch.zeros(2, 2)).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert rescore_proposals(scores[:0], torch.zeros(0, 2)).shape == (0, 2)
