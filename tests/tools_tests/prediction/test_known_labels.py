"""Which boxes stay where it is known what an image holds, and where it is not."""

import pytest
import torch

from data.types import Detections, no_detections
from tests.worlds import detect
from tools.prediction.known_labels import keep_detections
from tools.prediction.predictions import Prediction

PRESENT, ABSENT, UNKNOWN = (1.0, 1.0), (0.0, 1.0), (0.0, 0.0)  # target and weight


def boxes_from(*starts: float) -> list[list[float]]:
    return [[start, 0, start + 5, 5] for start in starts]


def keep(
    detections: Detections,
    *labels: tuple[float, float],
    top1: Detections | None = None,
    image_scores: tuple[float, ...] | None = None,
    relative_score: float = 0.5,
    max_detections: int = 100,
) -> Detections:
    targets, weights = torch.tensor(labels).T
    of_image = torch.tensor(image_scores or [1.0] * len(labels))
    prediction = Prediction(of_image, detections, top1 or no_detections())
    return keep_detections(
        prediction,
        targets,
        weights,
        (30, 40),
        min_image_score=0.5,
        relative_score=relative_score,
        max_detections=max_detections,
    )


def rows(detections: Detections) -> list[tuple[float, int, float]]:
    """Left edge, label and score of each, to four digits."""
    edges, scores = detections.boxes[:, 0].tolist(), detections.scores.tolist()
    return [
        (edge, label, round(score, 4))
        for edge, label, score in zip(edges, detections.labels.tolist(), scores, strict=True)
    ]


def test_an_absent_class_has_no_box_whatever_its_score() -> None:
    found = detect(boxes_from(0, 1, 2), [0.9, 0.8, 0.3], [0, 0, 1])

    assert rows(keep(found, ABSENT, PRESENT)) == [(2, 1, 0.3)]
    assert rows(keep(found, ABSENT, ABSENT)) == []


def test_a_present_class_keeps_what_comes_near_its_own_best_box() -> None:
    found = detect(boxes_from(*range(5)), [0.04, 0.02, 0.019, 0.8, 0.39], [0, 0, 0, 1, 1])

    assert rows(keep(found, PRESENT, PRESENT)) == [(3, 1, 0.8), (0, 0, 0.04), (1, 0, 0.02)]
    assert len(keep(found, PRESENT, PRESENT, relative_score=0).boxes) == 5
    assert rows(keep(found, PRESENT, PRESENT, relative_score=1)) == [(3, 1, 0.8), (0, 0, 0.04)]


def test_a_present_class_without_a_detection_has_its_best_box_of_all() -> None:
    found = detect(boxes_from(0), [0.5], [0])
    top1 = detect(boxes_from(0, 7, 9), [0.5, 1e-5, 2e-5], [0, 1, 1])

    assert rows(keep(found, PRESENT, PRESENT, top1=top1)) == [(0, 0, 0.5), (9, 1, 0)]


def test_a_present_class_without_any_box_is_the_whole_image() -> None:
    kept = keep(no_detections(), ABSENT, PRESENT)

    assert kept.boxes.tolist() == [[0, 0, 40, 30]]
    assert kept.labels.tolist() == [1]
    assert kept.scores.tolist() == [0]


@pytest.mark.parametrize("others", [(), (ABSENT,), (PRESENT,)])
def test_a_class_that_is_not_known_counts_as_the_image_scores_it(
    others: tuple[tuple[float, float], ...],
) -> None:
    found = detect(boxes_from(*range(5)), [0.6, 0.31, 0.29, 0.04, 0.9], [0, 0, 0, 1, 2])
    of_image = (0.5, 0.5, 0.49, 0.0)[: 3 + len(others)]

    kept = keep(found, UNKNOWN, UNKNOWN, UNKNOWN, *others, image_scores=of_image)

    assert rows(kept)[:3] == [(0, 0, 0.6), (1, 0, 0.31), (3, 1, 0.04)]
    assert (2 in kept.labels) is False


def test_a_class_that_is_not_known_may_have_no_box() -> None:
    found = detect(boxes_from(1, 2), [0.6, 0.4], [0, 0])

    assert rows(keep(found, UNKNOWN, UNKNOWN, max_detections=1)) == [(1, 0, 0.6)]
    top1 = detect(boxes_from(0), [1e-5], [0])
    assert rows(keep(no_detections(), UNKNOWN, top1=top1)) == []


@pytest.mark.parametrize(
    ("most", "expected"),
    [(3, [0, 1, 3]), (2, [0, 3]), (1, [0, 3])],
)
def test_the_best_box_of_each_present_class_is_among_the_most_that_are_kept(
    most: int, expected: list[int]
) -> None:
    found = detect(boxes_from(*range(4)), [0.9, 0.8, 0.7, 0.01], [0, 0, 0, 1])

    kept = keep(found, PRESENT, PRESENT, max_detections=most)

    assert kept.boxes[:, 0].tolist() == expected
