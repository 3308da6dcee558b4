from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from data.evaluation.overlap import (
    BoxTable,
    nearest_objects,
    tabulate_detections,
    tabulate_objects,
)
from data.types import Detections, no_detections
from tests.worlds import annotate, detect

BOX = [0.0, 0, 4, 4]
ONE = annotate([BOX])


def table(boxes: list[list[float]], groups: list[int]) -> BoxTable:
    values = np.zeros(len(boxes))
    corners = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return BoxTable(corners, np.array(groups, dtype=np.int64), values)


def test_the_object_overlapped_most_is_nearest() -> None:
    objects = table([[0, 0, 4, 4], [0, 0, 4, 6], [0, 0, 4, 8]], [0, 0, 0])
    iou, nearest = nearest_objects(table([[0, 0, 4, 7]], [0]), objects)
    assert nearest.tolist() == [2]
    assert iou.tolist() == [7 / 8]


def test_of_equal_overlaps_the_first_object_is_nearest() -> None:
    objects = table([[0, 0, 4, 2], [0, 2, 4, 4]], [0, 0])
    iou, nearest = nearest_objects(table([[0, 0, 4, 4]], [0]), objects)
    assert nearest.tolist() == [0]
    assert iou.tolist() == [1 / 2]


def test_objects_of_other_groups_are_not_seen() -> None:
    objects = table([[0, 0, 4, 4], [0, 0, 4, 2]], [2, 1])
    iou, nearest = nearest_objects(table([[0, 0, 4, 4], [0, 0, 4, 4]], [1, 0]), objects)
    assert nearest.tolist() == [1, -1]
    assert iou.tolist() == [1 / 2, 0]


@pytest.mark.parametrize(
    ("box", "objects"), [([4, 0, 8, 4], [BOX]), ([8, 8, 12, 12], [BOX]), (BOX, [])]
)
def test_boxes_that_share_an_edge_or_nothing_do_not_overlap(
    box: list[float], objects: list[list[float]]
) -> None:
    iou, nearest = nearest_objects(table([box], [0]), table(objects, [0] * len(objects)))
    assert iou.tolist() == [0]
    assert nearest.tolist() == [-1]


def test_any_boxes_have_the_nearest_of_a_loop(rng: torch.Generator) -> None:
    def some(count: int, num_groups: int) -> BoxTable:
        grid = torch.randint(8, (count, 2), generator=rng).double()  # coarse, so many are equal
        sides = torch.randint(1, 6, (count, 2), generator=rng)
        groups = torch.randint(num_groups, (count,), generator=rng)
        boxes = torch.cat([grid, grid + sides], dim=1)
        return BoxTable(boxes.numpy(), groups.numpy(), np.zeros(count))

    detections, objects = some(400, 12), some(60, 9)
    iou, nearest = nearest_objects(detections, objects)
    overlaps = box_iou(*(torch.from_numpy(each.boxes) for each in (detections, objects))).numpy()
    for row, group in enumerate(detections.groups):
        of_group = np.where(objects.groups == group, overlaps[row], 0)
        assert iou[row] == of_group.max()
        assert nearest[row] == (of_group.argmax() if of_group.any() else -1)


def test_no_detections_have_no_nearest_objects() -> None:
    iou, nearest = nearest_objects(table([], []), table([[0, 0, 4, 4]], [0]))
    assert iou.shape == nearest.shape == (0,)


def test_tables_follow_the_order_of_the_annotations() -> None:
    first, last = detect([[0, 0, 1, 1]], [0.25], [1]), detect([[0, 0, 2, 2]], [0.75])
    annotations = [
        annotate([BOX], [n], image_id=name) for name, n in {"b": 0, "c": 2, "a": 0}.items()
    ]

    objects = tabulate_objects(annotations, 3)
    detected = tabulate_detections({"a": last, "b": first}, annotations, 3)

    assert objects.groups.tolist() == [0, 5, 6]
    assert detected.groups.tolist() == [1, 6]
    assert detected.values.tolist() == [0.25, 0.75]
    assert detected.boxes.tolist() == [[0, 0, 1, 1], [0, 0, 2, 2]]


def test_no_images_give_tables_without_rows() -> None:
    objects, detected = tabulate_objects([], 3), tabulate_detections({}, [], 3)
    assert objects.boxes.shape == detected.boxes.shape == (0, 4)


def test_scores_that_a_model_can_still_learn_from_are_read() -> None:
    scores = torch.tensor([0.5], requires_grad=True)
    detected = Detections(torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([0]), scores)
    assert tabulate_detections({"a": detected}, [ONE], 1).values.tolist() == [0.5]


def test_an_image_annotated_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="image a is annotated twice"):
        tabulate_objects([ONE, annotate([], image_id="b"), ONE], 1)


def test_detections_of_an_unknown_image_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="image 000012, which is not among the annotations"):
        tabulate_detections({"a": no_detections(), "000012": no_detections()}, [ONE], 1)


@pytest.mark.parametrize(
    ("boxes", "labels", "scores", "message"),
    [
        (torch.zeros(0), torch.zeros(0).long(), torch.zeros(0), r"got \[0\] of float32"),
        (torch.ones(1, 5), torch.tensor([0]), torch.ones(1), r"got \[1, 5\]"),
        (torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([0, 0]), torch.ones(1), "labels have shape"),
        (torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([[0]]), torch.ones(1), "labels have shape"),
        (torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([0]), torch.ones(1, 1), "scores have shape"),
        (torch.ones(4), torch.tensor([0]), torch.ones(1), r"got \[4\]"),
        (torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([2]), torch.ones(1), "label 2 is not in"),
        (
            torch.tensor([[2.0, 0, 1, 1]]),
            torch.tensor([0]),
            torch.ones(1),
            "100% of the boxes have no area",
        ),
        (torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([0]), torch.tensor([torch.nan]), "score"),
    ],
)
def test_malformed_detections_are_refused_with_their_image(
    boxes: torch.Tensor, labels: torch.Tensor, scores: torch.Tensor, message: str
) -> None:
    detections = {"a": no_detections(), "b": Detections(boxes, labels, scores)}
    with pytest.raises(ValueError, match=f"detections of image b: .*{message}"):
        tabulate_detections(detections, [ONE, annotate([BOX], image_id="b")], 2)


def test_a_malformed_annotation_is_refused_with_its_image() -> None:
    with pytest.raises(ValueError, match="image b: label 7 is not in 0"):
        tabulate_objects([ONE, annotate([BOX], [7], image_id="b")], 2)


def test_a_difficult_flag_that_is_nan_is_refused() -> None:
    wrong = replace(ONE, difficult=torch.tensor([torch.nan]))
    with pytest.raises(ValueError, match="not finite"):
        tabulate_objects([wrong], 1)
