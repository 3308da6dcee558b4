"""What is said of a class's top-scoring box in an image."""

import torch

from data.evaluation.top1 import verdicts
from data.types import Annotation, Detections


def annotation(image_id: str, *boxes: list[float], difficult: bool = False) -> Annotation:
    """Objects of label 0 in an image of 100 x 200."""
    flags = torch.full((len(boxes),), difficult)
    labels = torch.zeros(len(boxes), dtype=torch.int64)
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Annotation(image_id, (100, 200), corners, labels, flags, flags)


def judged(box: list[float], *objects: list[float], difficult: bool = False) -> str:
    """The letter of one box."""
    corners = torch.tensor([box], dtype=torch.float32)
    found = Detections(corners, torch.tensor([0]), torch.tensor([0.5]))
    there = annotation("a", *objects, difficult=difficult)
    return verdicts({"a": found}, [there], 1)[0]


def test_the_top_scoring_box_is_right_from_half_an_overlap_on() -> None:
    assert judged([0, 0, 10, 10], [0, 0, 20, 10]) == "r"  # 100 / 200
    assert judged([0, 0, 9, 10], [0, 0, 20, 10]) == "w"
    assert judged([0, 0, 10, 10]) == "w"


def test_a_box_on_a_difficult_object_is_neither_right_nor_wrong() -> None:
    assert judged([0, 0, 10, 10], [0, 0, 10, 10], difficult=True) == "d"
    assert judged([50, 50, 60, 60], [0, 0, 10, 10], difficult=True) == "w"


def test_only_the_top_scoring_box_of_a_class_is_judged_and_the_first_of_equals() -> None:
    here, there = [0.0, 0, 10, 10], [50.0, 50, 60, 60]
    scores = torch.tensor([0.4, 0.6, 0.6, 0.9])
    found = Detections(
        torch.tensor([there, here, there, there]), torch.tensor([0, 0, 0, 1]), scores
    )
    annotations = [annotation("a"), annotation("b", here), annotation("c", here)]

    assert verdicts({"b": found}, annotations, 2) == [".r.", ".w."]
    assert verdicts({}, annotations, 2) == ["...", "..."]
