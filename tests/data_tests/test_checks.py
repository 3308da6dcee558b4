from dataclasses import replace

import pytest
import torch
from torch import Tensor

from data.checks import (
    check_annotation,
    check_boxes,
    check_detections,
    check_labels,
    check_proposals,
    check_state_dict,
)
from data.types import Proposals, no_detections
from tests.worlds import annotate, detect

SIZE = (50, 100)  # 50 high, 100 wide
NAN, INF = float("nan"), float("inf")


BOX = [0.0, 0.0, 100.0, 50.0]
ONE = replace(annotate([BOX], image_id="000007"), image_size=SIZE)
FOUND = detect([BOX], [0.5])


def test_nothing_is_well_formed_and_so_is_all_of_an_image() -> None:
    check_boxes(torch.zeros(0, 4), SIZE)
    check_boxes(ONE.boxes, SIZE)
    check_boxes(torch.tensor([[-5.0, -5.0, 1e6, 1e6]]))  # without a size
    check_labels(torch.zeros(0, dtype=torch.int64), 20)
    check_labels(torch.tensor([0, 19]), 20)
    check_annotation(annotate([]), num_classes=1)
    check_detections(no_detections(), num_classes=20)
    check_proposals(Proposals(torch.zeros(0, 4), torch.zeros(0)), SIZE)


@pytest.mark.parametrize(
    "boxes",
    [
        torch.zeros(0),
        torch.zeros(2, 5),
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
    with pytest.raises(ValueError, match="100% of the boxes are not finite: row 0"):
        check_boxes(boxes)


@pytest.mark.parametrize("box", [[5, 0, 5, 9], [0, 5, 9, 5], [6, 0, 5, 9], [0, 6, 9, 5]])
def test_an_empty_or_inverted_box_is_refused(box: list[float]) -> None:
    with pytest.raises(ValueError, match="100% of the boxes have no area"):
        check_boxes(torch.tensor([box], dtype=torch.float32))


@pytest.mark.parametrize("box", [[-1, 0, 9, 9], [0, -1, 9, 9], [0, 0, 101, 9], [0, 0, 9, 51]])
def test_a_box_that_leaves_the_image_on_any_side_is_refused(box: list[float]) -> None:
    with pytest.raises(ValueError, match="100% of the boxes leave 100x50"):
        check_boxes(torch.tensor([box], dtype=torch.float32), SIZE)


def test_a_refusal_names_the_owner_and_the_first_wrong_row() -> None:
    boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0], [3.0, 0.0, 3.0, 9.0], [4.0, 0.0, 4.0, 9.0]])
    with pytest.raises(ValueError, match=r"^cat\.xml: .*: row 1 is \[3\.0, 0\.0, 3\.0, 9\.0\]"):
        check_boxes(boxes, context="cat.xml")


def test_an_annotation_must_fit_its_image_and_the_classes() -> None:
    with pytest.raises(ValueError, match="image 000007: 100% of the boxes leave 100x49"):
        check_annotation(replace(ONE, image_size=(49, 100)), num_classes=1)
    with pytest.raises(ValueError, match=r"image 000007: label 20 is not in 0 \.\. 19"):
        check_annotation(replace(ONE, labels=torch.tensor([20])), num_classes=20)


@pytest.mark.parametrize("name", ["labels", "difficult", "truncated"])
def test_an_annotation_with_a_row_too_few_is_refused(name: str) -> None:
    shorter = replace(ONE, **{name: getattr(ONE, name)[:0]})
    with pytest.raises(ValueError, match=rf"image 000007: {name} have shape \[0\] for 1 boxes"):
        check_annotation(shorter, num_classes=1)


@pytest.mark.parametrize("label", [-1, 20])
def test_a_label_outside_of_the_classes_is_refused(label: int) -> None:
    with pytest.raises(ValueError, match=rf"label {label} is not in 0 \.\. 19"):
        check_labels(torch.tensor([3, label]), 20)


def test_labels_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match=r"labels are int64, got torch\.float32"):
        check_labels(torch.zeros(2), 20)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"labels": torch.zeros(2).long()}, r"labels have shape \[2\] for 1 boxes"),
        ({"scores": torch.ones(2)}, r"scores have shape \[2\] for 1 boxes"),
        ({"boxes": torch.zeros(1, 4)}, "100% of the boxes have no area"),
        ({"labels": torch.tensor([21])}, "label 21"),
        ({"scores": torch.tensor([NAN])}, "a score is not finite"),
        ({"scores": torch.tensor([INF])}, "a score is not finite"),
    ],
)
def test_malformed_detections_are_refused(change: dict[str, Tensor], problem: str) -> None:
    with pytest.raises(ValueError, match=f"image 5: {problem}"):
        check_detections(replace(FOUND, **change), 20, context="image 5")


@pytest.mark.parametrize(
    ("box", "count", "problem"),
    [
        ((-1, 0, 5, 5), 3, "33% of the boxes leave 100x50: row 1 is"),
        ((0, 0, 101, 5), 3, "33% of the boxes leave 100x50"),
        ((65534, 3, 20, 9), 3, "33% of the boxes leave 100x50"),  # 0 - 1 in uint16
        ((0, 0, 101, 5), 999, "less than 1% of the boxes leave 100x50"),
        ((0, 0, 5, NAN), 3, "33% of the boxes are not finite"),
        ((0, 0, 0, 5), 3, "33% of the boxes have no area"),
    ],
)
def test_malformed_proposals_are_refused_with_their_fraction(
    box: tuple[float, ...], count: int, problem: str
) -> None:
    boxes = ONE.boxes.repeat(count, 1)
    boxes[1] = torch.tensor(box)
    with pytest.raises(ValueError, match=f"image a: {problem}"):
        check_proposals(Proposals(boxes, None), SIZE, context="image a")
    with pytest.raises(ValueError, match=r"floating-point \[R, 4\]"):
        check_proposals(Proposals(boxes[:, :3], None), SIZE)


WEIGHTS = {"a": torch.ones(2), "b": torch.zeros(1, 3)}


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        ({"a": WEIGHTS["a"]}, "the file: lacks b"),
        (WEIGHTS | {"z": torch.ones(1)}, "the file: has unknown z"),
        (WEIGHTS | {"a": torch.ones(2, 1)}, r"has other shapes: a \[2, 1\] instead of \[2\]"),
        (WEIGHTS | {str(k): torch.ones(1) for k in range(6)}, "has unknown 0, 1, 2, 3 and 2 more"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(
    given: dict[str, Tensor], refusal: str
) -> None:
    check_state_dict(WEIGHTS, dict(reversed(WEIGHTS.items())), context="the file")

    with pytest.raises(ValueError, match=f"{refusal}$"):
        check_state_dict(WEIGHTS, given, context="the file")
