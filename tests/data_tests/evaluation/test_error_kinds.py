"""What the top-scoring detections are, each kind on boxes whose areas can be counted."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from data.evaluation.error_kinds import KINDS, eval_error_kinds
from data.evaluation.voc_eval import match_detections
from data.types import Annotation, Detections, no_detections

Box = Sequence[float]

SQUARE = [0.0, 0.0, 10.0, 10.0]
BESIDE = [20.0, 0.0, 30.0, 10.0]
FAR = [80.0, 80.0, 90.0, 90.0]


def annotate(
    boxes: Sequence[Box],
    labels: Sequence[int] | None = None,
    difficult: Sequence[bool] | None = None,
    image_id: str = "a",
) -> Annotation:
    count = len(boxes)
    return Annotation(
        image_id,
        (100, 100),
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels or [0] * count, dtype=torch.int64),
        torch.tensor(difficult or [False] * count, dtype=torch.bool),
        torch.zeros(count, dtype=torch.bool),
    )


def detect(
    boxes: Sequence[Box], scores: Sequence[float], labels: Sequence[int] | None = None
) -> Detections:
    return Detections(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels or [0] * len(boxes), dtype=torch.int64),
        torch.tensor(scores, dtype=torch.float32),
    )


def fractions_of(found: Detections, truth: Annotation) -> dict[str, float]:
    """Of a single class in a single image, the kinds that there are."""
    fractions = eval_error_kinds({"a": found}, [truth], num_classes=1)
    return {kind: fraction for kind, (fraction,) in fractions.items() if fraction > 0}


def kind_of(box: Box, *objects: Box) -> str:
    """Of one detection among objects of its class."""
    ((kind, fraction),) = fractions_of(detect([box], [0.5]), annotate(objects)).items()
    assert fraction == 1
    return kind


# The six kinds


def test_a_detection_on_an_object_is_a_hit() -> None:
    assert kind_of(SQUARE, SQUARE) == "hit"


def test_an_overlap_of_exactly_one_half_is_a_hit() -> None:
    assert kind_of([0, 0, 10, 5], SQUARE) == "hit"


def test_a_second_detection_on_a_taken_object_is_a_duplicate() -> None:
    found = detect([SQUARE, SQUARE], [0.75, 0.5])

    assert fractions_of(found, annotate([SQUARE, BESIDE])) == {"hit": 1 / 2, "duplicate": 1 / 2}


def test_a_small_box_inside_of_an_object_is_a_part() -> None:
    assert kind_of([0, 0, 5, 5], SQUARE) == "part"


def test_nine_tenths_inside_are_a_part_and_eight_tenths_are_not() -> None:
    assert kind_of([91, 0, 101, 10], [0, 0, 100, 100]) == "part"
    assert kind_of([92, 0, 102, 10], [0, 0, 100, 100]) == "background"  # overlap 80 / 10020


def test_a_box_around_two_objects_is_a_group() -> None:
    assert kind_of([0, 0, 30, 10], SQUARE, BESIDE) == "group"


def test_half_of_two_objects_is_a_group_and_half_of_one_is_not() -> None:
    assert kind_of([5, 0, 25, 10], SQUARE, BESIDE) == "group"
    assert kind_of([6, 0, 25, 10], SQUARE, BESIDE) == "localization"  # overlap 50 / 240 with one


def test_two_objects_of_two_classes_are_no_group() -> None:
    truth = annotate([SQUARE, BESIDE], labels=[0, 1])

    fractions = eval_error_kinds({"a": detect([[0, 0, 30, 10]], [0.5])}, [truth], num_classes=2)
    assert fractions["localization"][0] == 1  # 100 / 300


def test_a_box_that_overlaps_an_object_too_little_is_badly_placed() -> None:
    assert kind_of([5, 0, 15, 10], SQUARE) == "localization"


def test_an_overlap_of_a_tenth_is_badly_placed_and_one_below_is_background() -> None:
    assert kind_of([8, 0, 20, 10], SQUARE) == "localization"  # 20 / 200
    assert kind_of([8, 0, 21, 10], SQUARE) == "background"  # 20 / 210


def test_a_box_on_nothing_of_its_class_is_background() -> None:
    truth = annotate([SQUARE, FAR], labels=[0, 1])
    found = detect([BESIDE, SQUARE], [0.5, 0.5], labels=[0, 1])

    fractions = eval_error_kinds({"a": found}, [truth], num_classes=2)
    assert fractions["background"].tolist() == [1, 1]


def test_a_box_in_another_image_is_background() -> None:
    truths = [annotate([SQUARE], image_id="a"), annotate([], image_id="b")]

    fractions = eval_error_kinds({"b": detect([SQUARE], [0.5])}, truths, num_classes=1)
    assert fractions["background"].tolist() == [1]


def test_the_overlap_that_makes_a_hit_can_be_chosen() -> None:
    found, truth = {"a": detect([[0, 0, 10, 6]], [0.5])}, [annotate([SQUARE])]

    at = [eval_error_kinds(found, truth, num_classes=1, iou_threshold=t) for t in (0.6, 0.61)]
    assert [fractions["hit"][0] for fractions in at] == [1, 0]
    assert [fractions["part"][0] for fractions in at] == [0, 1]


# Which detections are counted


def test_as_many_detections_are_counted_as_there_are_objects() -> None:
    found = detect([FAR, SQUARE, BESIDE], [0.25, 0.75, 0.5])

    assert fractions_of(found, annotate([SQUARE])) == {"hit": 1}
    assert fractions_of(found, annotate([SQUARE, [50, 50, 60, 60]])) == {
        "hit": 1 / 2,
        "background": 1 / 2,
    }


def test_a_difficult_object_asks_for_no_further_detection() -> None:
    truth = annotate([SQUARE, BESIDE], difficult=[False, True])

    assert fractions_of(detect([SQUARE, FAR], [0.75, 0.5]), truth) == {"hit": 1}


def test_a_detection_on_a_difficult_object_is_left_out() -> None:
    truth = annotate([SQUARE, BESIDE], difficult=[False, True])

    assert fractions_of(detect([BESIDE, SQUARE], [0.75, 0.5]), truth) == {"hit": 1}


def test_fewer_detections_than_objects_share_the_whole() -> None:
    assert fractions_of(detect([SQUARE], [0.5]), annotate([SQUARE, BESIDE, FAR])) == {"hit": 1}


def test_the_top_scoring_are_chosen_over_all_images() -> None:
    truths = [annotate([SQUARE], image_id="a"), annotate([SQUARE], image_id="b")]
    found = {"a": detect([SQUARE, FAR], [0.25, 0.5]), "b": detect([FAR], [0.75])}

    fractions = eval_error_kinds(found, truths, num_classes=1)
    assert fractions["background"].tolist() == [1]


def test_an_object_in_each_of_two_images_is_hit_once_in_each() -> None:
    truths = [annotate([SQUARE], image_id=image_id) for image_id in "ab"]
    found = {image_id: detect([SQUARE], [0.5]) for image_id in "ab"}

    assert eval_error_kinds(found, truths, num_classes=1)["hit"].tolist() == [1]


# Nothing


def assert_absent(fractions: Mapping[str, np.ndarray], label: int) -> None:
    assert list(fractions) == list(KINDS)
    assert all(math.isnan(column[label]) for column in fractions.values())


def test_a_class_without_objects_is_nan() -> None:
    found = {"a": detect([SQUARE], [0.5], labels=[1])}

    assert_absent(eval_error_kinds(found, [annotate([SQUARE])], num_classes=2), 1)


def test_a_class_of_difficult_objects_only_is_nan() -> None:
    truth = annotate([SQUARE], difficult=[True])

    fractions = eval_error_kinds({"a": detect([FAR], [0.5])}, [truth], num_classes=1)
    assert_absent(fractions, 0)


def test_a_class_without_detections_is_nan() -> None:
    for found in ({}, {"a": no_detections()}):
        assert_absent(eval_error_kinds(found, [annotate([SQUARE])], num_classes=1), 0)


def test_a_class_whose_detections_lie_on_difficult_objects_is_nan() -> None:
    truth = annotate([SQUARE, BESIDE], difficult=[False, True])

    fractions = eval_error_kinds({"a": detect([BESIDE], [0.5])}, [truth], num_classes=1)
    assert_absent(fractions, 0)


def test_no_images_have_no_fractions() -> None:
    fractions = eval_error_kinds({}, [])

    assert all(column.shape == (20,) for column in fractions.values())
    for label in range(20):
        assert_absent(fractions, label)


def test_images_without_any_object_have_no_fractions() -> None:
    assert_absent(eval_error_kinds({"a": detect([SQUARE], [0.5])}, [annotate([])]), 0)


# All together


Crowd = tuple[dict[str, Detections], list[Annotation]]


def random_boxes(count: int, sides: tuple[float, float], rng: torch.Generator) -> Tensor:
    size = sides[0] + torch.rand(count, 2, generator=rng) * (sides[1] - sides[0])
    corners = torch.rand(count, 2, generator=rng) * (100 - size)
    return torch.cat([corners, corners + size], dim=1)


@pytest.fixture
def crowd(rng: torch.Generator) -> Crowd:
    """In each of eight images five objects of three classes, and 30 boxes near them and not."""
    found, truths = {}, []
    for image_id in "abcdefgh":
        objects, labels = random_boxes(5, (20, 60), rng), torch.randint(3, (5,), generator=rng)
        flags = torch.rand(5, generator=rng) < 0.3
        truths.append(Annotation(image_id, (100, 100), objects, labels, flags, flags))
        near = objects.repeat(4, 1) + torch.rand(20, 4, generator=rng) * 12 - 6
        found[image_id] = Detections(
            torch.cat([near, random_boxes(10, (5, 40), rng)]),
            torch.cat([labels.repeat(4), torch.randint(3, (10,), generator=rng)]),
            torch.rand(30, generator=rng),
        )
    return found, truths


def test_fractions_sum_to_one(crowd: Crowd) -> None:
    fractions = eval_error_kinds(*crowd, num_classes=3)

    total = np.sum(list(fractions.values()), axis=0)
    np.testing.assert_allclose(total, 1, rtol=0, atol=1e-12)  # rounding of six quotients
    assert sum((column > 0).any() for column in fractions.values()) >= 4


def test_the_order_of_the_images_does_not_matter(crowd: Crowd) -> None:
    found, truths = crowd
    other = {image_id: found[image_id] for image_id in reversed(found)}

    forth = eval_error_kinds(found, truths, num_classes=3)
    back = eval_error_kinds(other, truths[::-1], num_classes=3)
    for kind in KINDS:
        assert forth[kind].tolist() == back[kind].tolist()


def test_hits_are_those_that_ap_counts(crowd: Crowd) -> None:
    found, truths = crowd
    fractions = eval_error_kinds(found, truths, num_classes=3, iou_threshold=0.3)

    every = match_detections(found, truths, num_classes=3, iou_threshold=0.3)
    for label, matches in enumerate(every):
        top_scoring = matches.is_hit[~matches.is_ignored][: matches.num_objects]
        assert fractions["hit"][label] == pytest.approx(top_scoring.mean(), abs=1e-15)
        assert matches.is_ignored.any()


# Refusals


def test_malformed_input_is_refused() -> None:
    truth = annotate([SQUARE])
    with pytest.raises(ValueError, match="annotated twice"):
        eval_error_kinds({}, [truth, truth])
    with pytest.raises(ValueError, match="image b, which is not among the annotations"):
        eval_error_kinds({"b": no_detections()}, [truth])
    with pytest.raises(ValueError, match="detections of image a: a score is not finite"):
        eval_error_kinds({"a": detect([SQUARE], [math.nan])}, [truth])


@pytest.mark.parametrize("iou_threshold", [0, -0.5, 1.01, math.nan])
def test_an_overlap_outside_of_its_range_is_refused(iou_threshold: float) -> None:
    with pytest.raises(ValueError, match="iou_threshold is an overlap in"):
        eval_error_kinds({}, [], iou_threshold=iou_threshold)
