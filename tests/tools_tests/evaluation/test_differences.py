"""The largest difference between two evaluations' scores."""

import numpy as np
import pytest

from data.types import Detections, no_detections
from tests.worlds import detect
from tools.evaluation.differences import (
    Difference,
    detection_differences,
    largest_of_detections,
    largest_of_scores,
    short,
)

LEFT, RIGHT = [0.0, 0.0, 40.0, 100.0], [60.0, 0.0, 100.0, 100.0]
BOTH = detect([LEFT, RIGHT], [0.75, 0.5], [0, 1])
CLASSES = ("cat", "dog")


def differences(detections: Detections, others: Detections) -> list[float]:
    values: list[float] = detection_differences(detections, others).tolist()
    return values


def test_the_score_that_differs_most_names_its_image_and_class() -> None:
    before, now = np.array([[0.5, 0.25], [0.75, 0.125]]), np.array([[0.5, 0.5], [0.5, 0.625]])

    worst = largest_of_scores(["a", "b"], CLASSES, before, now)

    assert worst == Difference(0.5, "image b, class dog: score 0.125 stored, 0.625 anew")
    assert str(worst) == f"0.5 at most ({worst.where})"


def test_equal_scores_differ_by_0_and_name_no_image() -> None:
    scores = np.array([[0.1, 0.2]])

    assert str(largest_of_scores(["a"], CLASSES, scores, scores.copy())) == "0.0 at most"


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0.0"), (1 / 3, "0.333"), (4.5678e-6, "4.57e-06"), (1, "1.0")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert short(value) == text


def test_the_same_detections_in_any_order_do_not_differ() -> None:
    assert differences(BOTH, detect([RIGHT, LEFT], [0.5, 0.75], [1, 0])) == [0, 0]


def test_the_scores_of_one_box_and_class_are_compared() -> None:
    assert differences(BOTH, detect([LEFT, RIGHT], [0.5, 0.625], [0, 1])) == [0.25, 0.125]


@pytest.mark.parametrize(
    "others",
    [
        detect([LEFT], [0.75]),  # without the second one
        detect([LEFT, [58.0, 0, 100, 100]], [0.75, 0.5], [0, 1]),  # which has moved
        detect([LEFT, RIGHT], [0.75, 0.5], [0, 0]),  # of another class
    ],
)
def test_a_detection_that_is_not_among_the_others_differs_by_its_whole_score(
    others: Detections,
) -> None:
    assert differences(BOTH, others) == [0, 0.5]


def test_rounding_does_not_move_a_box() -> None:
    assert differences(detect([LEFT], [0.5]), detect([[0, 0, 40.00001, 100]], [0.5])) == [0]


def test_no_detections_have_no_differences() -> None:
    assert differences(no_detections(), BOTH) == differences(no_detections(), no_detections()) == []
    assert differences(BOTH, no_detections()) == [0.75, 0.5]


def test_the_detection_that_differs_most_names_its_image_class_and_side() -> None:
    none = no_detections()

    appeared = largest_of_detections(CLASSES, {"a": BOTH, "b": none}, {"a": BOTH, "b": BOTH})
    vanished = largest_of_detections(CLASSES, {"a": BOTH, "b": BOTH[1:]}, {"a": BOTH, "b": none})

    appeared_in = "image b, class cat: detection of score 0.75 anew"
    vanished_from = "image b, class dog: detection of score 0.5 stored"
    assert appeared == Difference(0.75, appeared_in)
    assert vanished == Difference(0.5, vanished_from)


def test_an_image_that_is_not_stored_has_no_detections_and_nothing_differs_by_0() -> None:
    assert largest_of_detections(CLASSES, {}, {"a": BOTH}).value == 0.75
    assert largest_of_detections(CLASSES, {}, {"a": no_detections()}) == Difference(0, "")
