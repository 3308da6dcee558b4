import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from data.evaluation.matching import match_detections
from data.evaluation.voc_eval import (
    average_precision,
    corloc,
    eval_detection_voc,
    precision_recall,
)
from data.types import Annotation, Detections, no_detections
from tests.worlds import annotate, detect

ROW = [[10.0 * k, 0.0, 10.0 * k + 8, 8.0] for k in range(10)]  # ten boxes that do not touch


def ap_of(detections: Detections, truth: Annotation, *, use_07_metric: bool = True) -> float:
    metric = eval_detection_voc(
        {"a": detections}, [truth], num_classes=1, use_07_metric=use_07_metric
    )
    return metric.mean


# Which detection is a hit


def test_a_perfect_detection_has_ap_one() -> None:
    detections, truth = detect(ROW[:1], [0.5]), annotate(ROW[:1])
    assert ap_of(detections, truth) == pytest.approx(1, abs=1e-15)  # eleven times 1 / 11
    assert ap_of(detections, truth, use_07_metric=False) == 1


def test_a_second_hit_on_one_object_is_a_false_positive() -> None:
    detections = detect([ROW[0], ROW[0]], [0.5, 0.75])
    (matches,) = match_detections({"a": detections}, [annotate(ROW[:1])], num_classes=1)
    assert matches.rows.tolist() == [1, 0]  # the higher score first
    assert matches.is_hit.tolist() == [True, False]
    assert matches.is_ignored.tolist() == [False, False]


def test_a_detection_stays_with_the_object_it_overlaps_most_though_another_is_free() -> None:
    truth = annotate([[0, 0, 10, 10], [0, 2, 10, 12]])
    detections = detect([[0, 0, 10, 10], [0, 0, 10, 11]], [0.75, 0.5])
    (matches,) = match_detections({"a": detections}, [truth], num_classes=1)
    assert matches.is_hit.tolist() == [True, False]


def test_of_two_objects_overlapped_equally_the_first_is_hit() -> None:
    truth = annotate([[0, 0, 10, 5], [0, 5, 10, 10]], difficult=[True, False])
    (matches,) = match_detections({"a": detect([[0, 0, 10, 10]], [0.5])}, [truth], num_classes=1)
    assert matches.is_ignored.tolist() == [True]


@pytest.mark.parametrize(
    ("box", "truth", "is_hit"),
    [([0, 0, 8, 4], [0, 0, 8, 8], True), ([0, 0, 100, 49], [0, 0, 100, 99], False)],
)
def test_an_overlap_of_one_half_is_a_hit_and_one_just_below_is_not(
    box: list[float], truth: list[float], is_hit: bool
) -> None:
    assert (ap_of(detect([box], [0.5]), annotate([truth])) > 0.99) == is_hit
    assert corloc_of(detect([box], [0.5]), annotate([truth])) == is_hit


def test_the_overlap_that_makes_a_hit_can_be_chosen() -> None:
    truth, detections = [annotate([[0, 0, 8, 8]])], {"a": detect([[0, 0, 8, 6]], [0.5])}
    at = [
        eval_detection_voc(detections, truth, iou_threshold=t).mean > 0.5 for t in (0.5, 0.75, 0.76)
    ]
    assert at == [True, True, False]


def test_a_box_of_another_class_is_a_false_positive() -> None:
    truth = annotate(ROW[:2], labels=[0, 1])
    detections = detect(ROW[:2], [0.75, 0.5], labels=[1, 0])
    assert eval_detection_voc({"a": detections}, [truth], num_classes=2).per_class.tolist() == [
        0,
        0,
    ]


def test_a_box_in_another_image_is_a_false_positive() -> None:
    truths = [annotate(ROW[:1], image_id="a"), annotate(ROW[1:2], image_id="b")]
    detections = {"a": detect(ROW[1:2], [0.5]), "b": detect(ROW[:1], [0.5])}
    assert eval_detection_voc(detections, truths, num_classes=1).mean == 0


# Difficult objects


def test_difficult_objects_neither_hurt_nor_help() -> None:
    truth, detections = annotate(ROW[:2], difficult=[False, True]), detect(ROW[:1], [0.5])
    alone = ap_of(detections, annotate(ROW[:1]))
    assert ap_of(detections, truth) == alone
    assert ap_of(detect([ROW[0], ROW[1], ROW[1]], [0.5, 0.75, 0.625]), truth) == alone
    assert ap_of(detect(ROW[1:2], [0.5]), truth) == 0
    assert math.isnan(ap_of(detections, annotate(ROW[:1], difficult=[True])))


# Order


def test_of_equal_scores_the_earlier_image_comes_first() -> None:
    truths = [annotate(ROW[:1], image_id="a"), annotate([], image_id="b")]
    detections = {"b": detect(ROW[:1], [0.5]), "a": detect(ROW[:1], [0.5])}
    forth = eval_detection_voc(detections, truths, num_classes=1, use_07_metric=False)
    back = eval_detection_voc(detections, truths[::-1], num_classes=1, use_07_metric=False)
    assert (forth.mean, back.mean) == (1, 1 / 2)


def test_of_equal_scores_in_an_image_the_earlier_row_comes_first() -> None:
    truth = annotate(ROW[:1])
    assert ap_of(detect([ROW[0], ROW[1]], [0.5, 0.5]), truth, use_07_metric=False) == 1
    assert ap_of(detect([ROW[1], ROW[0]], [0.5, 0.5]), truth, use_07_metric=False) == 1 / 2


def test_scores_that_differ_in_the_twelfth_decimal_are_ordered() -> None:
    boxes, labels = torch.tensor([ROW[1], ROW[0]]), torch.tensor([0, 0])
    scores = torch.tensor([0.5, 0.5 + 1e-12], dtype=torch.float64)
    assert ap_of(Detections(boxes, labels, scores), annotate(ROW[:1]), use_07_metric=False) == 1


# Curves and their summary


def test_the_curve_counts_hits_and_false_positives_from_the_top_scoring_on() -> None:
    detections = detect([ROW[0], ROW[5], ROW[1]], [0.75, 0.5, 0.25])
    (matches,) = match_detections({"a": detections}, [annotate(ROW[:4])], num_classes=1)
    recall, precision = precision_recall(matches)
    assert precision.tolist() == [1, 1 / 2, 2 / 3]
    assert recall.tolist() == [1 / 4, 1 / 4, 2 / 4]


def test_ignored_detections_are_no_points_of_the_curve() -> None:
    truth = annotate(ROW[:2], difficult=[True, False])
    detections = detect(ROW[:2], [0.75, 0.5])
    (matches,) = match_detections({"a": detections}, [truth], num_classes=1)
    recall, precision = precision_recall(matches)
    assert recall.tolist() == precision.tolist() == [1]


def test_recall_of_a_class_without_objects_is_nan() -> None:
    (matches,) = match_detections({"a": detect(ROW[:1], [0.5])}, [annotate([])], num_classes=1)
    recall, precision = precision_recall(matches)
    assert np.isnan(recall).tolist() == [True]
    assert precision.tolist() == [0]


def test_a_class_without_detections_has_an_empty_curve() -> None:
    (matches,) = match_detections({}, [annotate(ROW[:1])], num_classes=1)
    recall, precision = precision_recall(matches)
    assert recall.shape == precision.shape == (0,)


def test_both_rules_take_the_best_precision_at_a_recall_or_beyond() -> None:
    recall, precision = np.array([1 / 2, 1 / 2, 1]), np.array([1, 1 / 2, 2 / 3])
    eleven_points = (6 * 1 + 5 * 2 / 3) / 11
    assert average_precision(recall, precision) == pytest.approx(eleven_points, abs=1e-15)
    area = average_precision(recall, precision, use_07_metric=False)
    assert area == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3, abs=1e-15)


def test_an_empty_curve_has_ap_zero() -> None:
    empty = np.zeros(0)
    assert average_precision(empty, empty) == average_precision(empty, empty, use_07_metric=False)
    assert average_precision(empty, empty) == 0


@pytest.mark.parametrize(
    ("num_found", "num_points"),
    [(0, 0), (1, 2), (2, 3), (3, 3), (4, 5), (5, 6), (6, 7), (7, 8), (8, 9), (9, 10), (10, 11)],
)
def test_only_a_recall_of_three_tenths_misses_its_own_point(
    num_found: int, num_points: int
) -> None:
    # MATLAB's 0:.1:1 holds 0.30000000000000004, but 0.6 and 0.7 exactly.
    detections = detect(ROW[:num_found], [0.5] * num_found)
    assert ap_of(detections, annotate(ROW)) == pytest.approx(num_points / 11, abs=1e-15)


# Nothing


@pytest.mark.parametrize("truths", [[], [annotate([])]])
def test_without_images_or_objects_there_is_neither_ap_nor_corloc(truths: list[Annotation]) -> None:
    assert np.isnan(eval_detection_voc({}, truths).per_class).sum() == 20
    assert np.isnan(corloc(match_detections({}, truths)).per_class).sum() == 20


def test_a_class_without_objects_stays_out_of_the_mean() -> None:
    metric = eval_detection_voc({"a": detect(ROW[:1], [0.5])}, [annotate(ROW[:1])], num_classes=3)
    assert np.isnan(metric.per_class).tolist() == [False, True, True]
    assert metric.mean == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize("use_07_metric", [True, False])
def test_objects_without_detections_have_ap_zero(use_07_metric: bool) -> None:
    truth = [annotate(ROW[:1])]
    for detections in ({}, {"a": no_detections()}):
        metric = eval_detection_voc(detections, truth, num_classes=1, use_07_metric=use_07_metric)
        assert metric.per_class.tolist() == [0]


@pytest.mark.parametrize("iou_threshold", [0, -0.5, 1.01, math.nan])
@pytest.mark.parametrize("evaluate", [eval_detection_voc, match_detections])
def test_a_threshold_out_of_range_and_malformed_input_are_refused(
    evaluate: Callable[..., object], iou_threshold: float
) -> None:
    with pytest.raises(ValueError, match=f"iou_threshold .* got {iou_threshold}"):
        evaluate({}, [], iou_threshold=iou_threshold)
    with pytest.raises(ValueError, match="image a: a score is not finite"):
        evaluate({"a": detect(ROW[:1], [math.nan])}, [annotate([])])


# CorLoc


def corloc_of(detections: Detections, truth: Annotation) -> float:
    return corloc(match_detections({"a": detections}, [truth], num_classes=1)).mean


def test_corloc_asks_the_top_scoring_detection_only_and_the_first_of_equals() -> None:
    truth = annotate(ROW[:1])
    assert corloc_of(detect([ROW[1], ROW[0]], [0.25, 0.5]), truth) == 1
    assert corloc_of(detect([ROW[1], ROW[0]], [0.5, 0.25]), truth) == 0
    assert corloc_of(detect([ROW[0], ROW[1]], [0.5, 0.5]), truth) == 1
    assert corloc_of(detect([ROW[1], ROW[0]], [0.5, 0.5]), truth) == 0
    assert corloc_of(detect(ROW[3:4], [0.5]), annotate(ROW[:5])) == 1  # any object counts


def test_difficult_objects_are_ignored_by_corloc() -> None:
    truth = annotate(ROW[:2], difficult=[False, True])
    assert corloc_of(detect(ROW[1:2], [0.5]), truth) == 0
    assert math.isnan(corloc_of(detect(ROW[:1], [0.5]), annotate(ROW[:1], difficult=[True])))


def test_an_image_without_detections_of_its_class_is_a_miss_of_corloc() -> None:
    truths = [annotate(ROW[:1], image_id=image_id) for image_id in "abc"]
    detections = {"a": detect(ROW[:1], [0.5]), "b": no_detections()}
    assert corloc(match_detections(detections, truths, num_classes=1)).mean == 1 / 3


def test_detections_of_classes_that_an_image_lacks_do_not_matter_for_corloc() -> None:
    detections = detect([ROW[0], ROW[0]], [0.25, 0.75], labels=[0, 1])
    metric = corloc(match_detections({"a": detections}, [annotate(ROW[:1])], num_classes=2))
    assert metric.per_class[0] == 1
    assert np.isnan(metric.per_class[1])
