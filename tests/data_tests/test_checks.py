from dataclasses import replace

import pytest
import torch
from torch import Tensor

from data.checks import (
    check_annotation,
    check_boxes,
    check_detections,
    check_heatmaps,
    check_labels,
)
from data.types import Annotation, Detections, no_detections

SIZE = (50, 100)  # 50 high, 100 wide
NAN, INF = float("nan"), float("inf")


def annotate(boxes: Tensor) -> Annotation:
    flags = torch.zeros(len(boxes), dtype=torch.bool)
    return Annotation("000007", SIZE, boxes, torch.zeros(len(boxes)).long(), flags, flags)


ONE = annotate(torch.tensor([[0.0, 0.0, 100.0, 50.0]]))
FOUND = Detections(ONE.boxes, ONE.labels, torch.tensor([0.5]))


def test_no_boxes_are_well_formed() -> None:
    check_boxes(torch.zeros(0, 4), SIZE)


def test_a_box_may_fill_the_image() -> None:
    check_boxes(torch.tensor([[0.0, 0.0, 100.0, 50.0]]), SIZE)


def test_without_an_image_size_a_box_may_lie_anywhere() -> None:
    check_boxes(torch.tensor([[-5.0, -5.0, 1e6, 1e6]]))


@pytest.mark.parametrize(
    "boxes",
    [
        torch.zeros(0),
        torch.zeros(4),
        torch.zeros(2, 5),
        torch.zeros(1, 2, 4),
        torch.ones(1, 4).int(),
    ],
)
def test_boxes_of_another_shape_or_kind_are_refused(boxes: Tensor) -> None:
    with pytest.raises(ValueError, match=r"boxes are a floating-point \[R, 4\]; got \["):
        check_boxes(boxes)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("column", range(4))
def test_a_coordinate_that_is_not_finite_is_refused(value: float, column: int) -> None:
    boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0]])
    boxes[0, column] = value
    with pytest.raises(ValueError, match="a coordinate is not finite: row 0"):
        check_boxes(boxes)


@pytest.mark.parametrize("box", [[5, 0, 5, 9], [0, 5, 9, 5], [6, 0, 5, 9], [0, 6, 9, 5]])
def test_an_empty_or_inverted_box_is_refused(box: list[float]) -> None:
    with pytest.raises(ValueError, match="a box has no area"):
        check_boxes(torch.tensor([box], dtype=torch.float32))


@pytest.mark.parametrize("box", [[-1, 0, 9, 9], [0, -1, 9, 9], [0, 0, 101, 9], [0, 0, 9, 51]])
def test_a_box_that_leaves_the_image_on_any_side_is_refused(box: list[float]) -> None:
    with pytest.raises(ValueError, match="a box leaves the 100x50 image"):
        check_boxes(torch.tensor([box], dtype=torch.float32), SIZE)


def test_a_refusal_names_the_owner_and_the_first_wrong_row() -> None:
    boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0], [3.0, 0.0, 3.0, 9.0], [4.0, 0.0, 4.0, 9.0]])
    with pytest.raises(ValueError, match=r"^cat\.xml: .*: row 1 is \[3\.0, 0\.0, 3\.0, 9\.0\]"):
        check_boxes(boxes, context="cat.xml")


def test_an_annotation_without_objects_passes() -> None:
    check_annotation(annotate(torch.zeros(0, 4)), num_classes=1)


def test_an_annotation_is_held_to_its_own_image() -> None:
    with pytest.raises(ValueError, match="image 000007: a box leaves the 100x49 image"):
        check_annotation(replace(ONE, image_size=(49, 100)), num_classes=1)


@pytest.mark.parametrize("name", ["labels", "difficult", "truncated"])
def test_an_annotation_with_a_row_too_few_is_refused(name: str) -> None:
    shorter = replace(ONE, **{name: getattr(ONE, name)[:0]})
    with pytest.raises(ValueError, match=rf"image 000007: 1 boxes but {name} has shape \[0\]"):
        check_annotation(shorter, num_classes=1)


def test_an_annotation_with_a_label_outside_of_the_classes_is_refused() -> None:
    wrong = replace(ONE, labels=torch.tensor([20]))
    with pytest.raises(ValueError, match=r"image 000007: label 20 is not in 0 \.\. 19"):
        check_annotation(wrong, num_classes=20)


def test_the_first_and_the_last_label_pass() -> None:
    check_labels(torch.tensor([0, 19]), 20)


def test_no_labels_pass() -> None:
    check_labels(torch.zeros(0, dtype=torch.int64), 20)


@pytest.mark.parametrize("label", [-1, 20])
def test_a_label_outside_of_the_classes_is_refused(label: int) -> None:
    with pytest.raises(ValueError, match=rf"label {label} is not in 0 \.\. 19"):
        check_labels(torch.tensor([3, label]), 20)


def test_labels_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match=r"labels are int64, got torch\.float32"):
        check_labels(torch.zeros(2), 20)


def test_no_detections_pass() -> None:
    check_detections(no_detections(), num_classes=20)


@pytest.mark.parametrize("name", ["labels", "scores"])
def test_detections_out_of_step_are_refused(name: str) -> None:
    wrong = replace(FOUND, **{name: getattr(FOUND, name).repeat(2)})
    with pytest.raises(ValueError, match=r"image 5: 1 boxes, labels .*, scores "):
        check_detections(wrong, 20, context="image 5")


def test_a_detection_with_a_wrong_box_is_refused() -> None:
    with pytest.raises(ValueError, match="image 5: a box has no area"):
        check_detections(replace(FOUND, boxes=torch.zeros(1, 4)), 20, context="image 5")


def test_a_detection_with_a_wrong_label_is_refused() -> None:
    with pytest.raises(ValueError, match="image 5: label 21 is not"):
        check_detections(replace(FOUND, labels=torch.tensor([21])), 20, context="image 5")


@pytest.mark.parametrize("score", [NAN, INF])
def test_a_score_that_is_not_finite_is_refused(score: float) -> None:
    with pytest.raises(ValueError, match="image 5: a score is not finite"):
        check_detections(replace(FOUND, scores=torch.tensor([score])), 20, context="image 5")


def test_heatmaps_of_no_images_pass() -> None:
    check_heatmaps(torch.zeros(0, 20, 3, 3))


@pytest.mark.parametrize(
    "heatmaps", [torch.zeros(20, 3, 3), torch.zeros(1, 20, 0, 3), torch.zeros(1, 20, 3, 3).int()]
)
def test_heatmaps_of_another_shape_or_kind_are_refused(heatmaps: Tensor) -> None:
    with pytest.raises(ValueError, match=r"heatmaps are a floating-point \[B, C, h, w\]"):
        check_heatmaps(heatmaps)


def test_heatmap_cells_that_are_not_finite_are_counted() -> None:
    heatmaps = torch.tensor([[[[0.0, NAN], [INF, 1.0]]]])
    with pytest.raises(ValueError, match="2 of 4 heatmap cells are not finite"):
        check_heatmaps(heatmaps)
