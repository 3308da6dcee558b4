"""Whether a class's top-scoring box in an image is right."""

from collections.abc import Mapping, Sequence

from data.evaluation.matching import match_detections
from data.evaluation.top1 import verdicts
from data.types import Annotation, Detections
from tests.worlds import annotate, detect


def letters(
    detections: Mapping[str, Detections], annotations: Sequence[Annotation], num_classes: int
) -> list[str]:
    return verdicts(match_detections(detections, annotations, num_classes=num_classes))


def judged(box: list[float], *objects: list[float], difficult: bool = False) -> str:
    """The letter of one box."""
    truth = annotate(objects, difficult=[difficult] * len(objects))
    return letters({"a": detect([box], [0.5])}, [truth], 1)[0]


def test_the_top_scoring_box_is_right_from_half_an_overlap_on() -> None:
    assert judged([0, 0, 10, 10], [0, 0, 20, 10]) == "r"  # 100 / 200
    assert judged([0, 0, 9, 10], [0, 0, 20, 10]) == "w"
    assert judged([0, 0, 10, 10]) == "w"


def test_a_box_on_a_difficult_object_is_neither_right_nor_wrong() -> None:
    assert judged([0, 0, 10, 10], [0, 0, 10, 10], difficult=True) == "d"
    assert judged([50, 50, 60, 60], [0, 0, 10, 10], difficult=True) == "w"


def test_only_the_top_scoring_box_of_a_class_is_judged_and_the_first_of_equals() -> None:
    right, wrong = [0.0, 0, 10, 10], [50.0, 50, 60, 60]
    detections = detect([wrong, right, wrong, wrong], [0.4, 0.6, 0.6, 0.9], [0, 0, 0, 1])
    annotations = [annotate([right] * (name != "a"), image_id=name) for name in "abc"]

    assert letters({"b": detections}, annotations, 2) == [".r.", ".w."]
    assert letters({}, annotations, 2) == ["...", "..."]
