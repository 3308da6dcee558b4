"""What the top-scoring detections are, each kind on boxes whose areas can be counted."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from data.evaluation.error_kinds import KINDS, error_kinds
from data.evaluation.matching import match_detections
from data.types import Annotation, Detections, no_detections
from tests.worlds import Box, annotate, detect, random_boxes

SQUARE = [0.0, 0.0, 10.0, 10.0]
BESIDE = [20.0, 0.0, 30.0, 10.0]
FAR = [80.0, 80.0, 90.0, 90.0]


def kinds_of(
    detections: Mapping[str, Detections], truths: Sequence[Annotation], **options: Any
) -> dict[str, NDArray[np.float64]]:
    return error_kinds(match_detections(detections, truths, **options))


def fractions_of(detections: Detections, truth: Annotation) -> dict[str, float]:
    """Of a single class in a single image, the kinds that there are."""
    fractions = kinds_of({"a": detections}, [truth], num_classes=1)
    return {kind: fraction for kind, (fraction,) in fractions.items() if fraction > 0}


# The six kinds


@pytest.mark.parametrize(
    ("box", "objects", "kind"),
    [
        (SQUARE, [SQUARE], "hit"),
        ([0, 0, 10, 5], [SQUARE], "hit"),  # overlap exactly 1 / 2
        ([0, 0, 5, 5], [SQUARE], "part"),
        ([91, 0, 101, 10], [[0, 0, 100, 100]], "part"),  # nine tenths inside
        ([92, 0, 102, 10], [[0, 0, 100, 100]], "background"),  # eight; overlap 80 / 10020
        ([0, 0, 30, 10], [SQUARE, BESIDE], "group"),
        ([5, 0, 25, 10], [SQUARE, BESIDE], "group"),  # half of both
        ([6, 0, 25, 10], [SQUARE, BESIDE], "localization"),  # overlap 50 / 240 with one
        ([5, 0, 15, 10], [SQUARE], "localization"),
        ([8, 0, 20, 10], [SQUARE], "localization"),  # 20 / 200
        ([8, 0, 21, 10], [SQUARE], "background"),  # 20 / 210
    ],
)
def test_a_detection_is_of_the_kind_that_its_areas_say(
    box: Box, objects: list[Box], kind: str
) -> None:
    assert fractions_of(detect([box], [0.5]), annotate(objects)) == {kind: 1}


def test_a_second_detection_on_a_taken_object_is_a_duplicate() -> None:
    detections = detect([SQUARE, SQUARE], [0.75, 0.5])

    assert fractions_of(detections, annotate([SQUARE, BESIDE])) == {
        "hit": 1 / 2,
        "duplicate": 1 / 2,
    }


def test_two_objects_of_two_classes_are_no_group() -> None:
    truth = annotate([SQUARE, BESIDE], labels=[0, 1])

    fractions = kinds_of({"a": detect([[0, 0, 30, 10]], [0.5])}, [truth], num_classes=2)
    assert fractions["localization"][0] == 1  # 100 / 300


def test_a_box_on_nothing_of_its_class_is_background() -> None:
    truth = annotate([SQUARE, FAR], labels=[0, 1])
    detections = detect([BESIDE, SQUARE], [0.5, 0.5], labels=[0, 1])

    fractions = kinds_of({"a": detections}, [truth], num_classes=2)
    assert fractions["background"].tolist() == [1, 1]


def test_a_box_in_another_image_is_background() -> None:
    truths = [annotate([SQUARE], image_id="a"), annotate([], image_id="b")]

    fractions = kinds_of({"b": detect([SQUARE], [0.5])}, truths, num_classes=1)
    assert fractions["background"].tolist() == [1]


def test_the_overlap_that_makes_a_hit_can_be_chosen() -> None:
    detections, truth = {"a": detect([[0, 0, 10, 6]], [0.5])}, [annotate([SQUARE])]

    at = [kinds_of(detections, truth, num_classes=1, iou_threshold=t) for t in (0.6, 0.61)]
    assert [fractions["hit"][0] for fractions in at] == [1, 0]
    assert [fractions["part"][0] for fractions in at] == [0, 1]


# Which detections are counted


def test_as_many_detections_are_counted_as_there_are_objects() -> None:
    detections = detect([FAR, SQUARE, BESIDE], [0.25, 0.75, 0.5])

    assert fractions_of(detections, annotate([SQUARE])) == {"hit": 1}
    assert fractions_of(detections, annotate([SQUARE, [50, 50, 60, 60]])) == {
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
    detections = {"a": detect([SQUARE, FAR], [0.25, 0.5]), "b": detect([FAR], [0.75])}

    fractions = kinds_of(detections, truths, num_classes=1)
    assert fractions["background"].tolist() == [1]


# Nothing


@pytest.mark.parametrize(
    ("detections", "truth"),
    [
        (detect([SQUARE], [0.5]), annotate([])),
        (detect([FAR], [0.5]), annotate([SQUARE], difficult=[True])),
        (no_detections(), annotate([SQUARE])),
        (detect([BESIDE], [0.5]), annotate([SQUARE, BESIDE], difficult=[False, True])),
    ],
    ids=["no objects", "difficult ones only", "no detections", "those on difficult ones only"],
)
def test_without_objects_or_detections_that_count_every_kind_is_nan(
    detections: Detections, truth: Annotation
) -> None:
    fractions = kinds_of({"a": detections}, [truth], num_classes=1)
    assert list(fractions) == list(KINDS)
    assert all(np.isnan(column).all() for column in fractions.values())


def test_no_images_have_no_fractions() -> None:
    fractions = kinds_of({}, [])
    assert all(column.shape == (20,) and np.isnan(column).all() for column in fractions.values())


# All together


Crowd = tuple[dict[str, Detections], list[Annotation]]


@pytest.fixture
def crowd(rng: torch.Generator) -> Crowd:
    """In each of eight images five objects of three classes, and 30 boxes near them and not."""
    detections, truths = {}, []
    for image_id in "abcdefgh":
        objects, labels = random_boxes(5, rng, corner=40), torch.randint(3, (5,), generator=rng)
        flags = torch.rand(5, generator=rng) < 0.3
        truths.append(Annotation(image_id, (100, 100), objects, labels, flags, flags))
        near = objects.repeat(4, 1) + torch.rand(20, 4, generator=rng) * 12 - 6
        detections[image_id] = Detections(
            torch.cat([near, random_boxes(10, rng, corner=60, sides=(5, 40))]),
            torch.cat([labels.repeat(4), torch.randint(3, (10,), generator=rng)]),
            torch.rand(30, generator=rng),
        )
    return detections, truths


def test_fractions_sum_to_one(crowd: Crowd) -> None:
    fractions = kinds_of(*crowd, num_classes=3)

    total = np.sum(list(fractions.values()), axis=0)
    np.testing.assert_allclose(total, 1, rtol=0, atol=1e-12)  # rounding of six quotients
    assert sum((column > 0).any() for column in fractions.values()) >= 4


def kind_of_miss(box: list[float], objects: list[list[float]]) -> str:
    """By the definition, one object at a time; of a detection that overlaps none by half."""
    inside, overlapped, halves = False, False, 0
    for other in objects:
        sides = [min(box[k + 2], other[k + 2]) - max(box[k], other[k]) for k in (0, 1)]
        shared = max(sides[0], 0) * max(sides[1], 0)
        area, theirs = ((b[2] - b[0]) * (b[3] - b[1]) for b in (box, other))
        halves += shared >= 0.5 * theirs
        inside |= shared >= 0.9 * area
        overlapped |= shared / (area + theirs - shared) >= 0.1
    if halves >= 2:
        return "group"
    if inside:
        return "part"
    return "localization" if overlapped else "background"


def test_any_detections_are_of_the_kinds_of_a_loop(crowd: Crowd) -> None:
    detections, truths = crowd
    every = match_detections(detections, truths, num_classes=3)
    fractions = error_kinds(every)
    for label, matches in enumerate(every):
        kinds = []
        counted = np.flatnonzero(~matches.is_ignored)[: matches.num_objects]
        for place in counted:
            row = matches.rows[place]
            same = every.objects.groups == every.detections.groups[row]
            box = every.detections.boxes[row].tolist()
            missed = kind_of_miss(box, every.objects.boxes[same].tolist())
            taken = "duplicate" if every.iou[row] >= 0.5 else missed
            kinds.append("hit" if matches.is_hit[place] else taken)
        for kind in KINDS:
            assert fractions[kind][label] == kinds.count(kind) / len(kinds)


def test_the_order_of_the_images_does_not_matter(crowd: Crowd) -> None:
    detections, truths = crowd
    other = {image_id: detections[image_id] for image_id in reversed(detections)}

    forth = kinds_of(detections, truths, num_classes=3)
    back = kinds_of(other, truths[::-1], num_classes=3)
    for kind in KINDS:
        assert forth[kind].tolist() == back[kind].tolist()


def test_hits_are_those_that_ap_counts(crowd: Crowd) -> None:
    detections, truths = crowd
    fractions = kinds_of(detections, truths, num_classes=3, iou_threshold=0.3)

    every = match_detections(detections, truths, num_classes=3, iou_threshold=0.3)
    for label, matches in enumerate(every):
        top_scoring = matches.is_hit[~matches.is_ignored][: matches.num_objects]
        assert fractions["hit"][label] == pytest.approx(top_scoring.mean(), abs=1e-15)
        assert matches.is_ignored.any()
