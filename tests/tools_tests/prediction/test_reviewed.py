"""What follows from marked boxes: the boxes that stay, and the labels of their image."""

from pathlib import Path

import pytest
import torch

from data.types import no_detections
from tests.worlds import detect
from tools.files.reviewed import MarkedBox, Reviewed
from tools.prediction.reviewed import ReviewedImage, review_images

CLASSES = ("cat", "dog", "cow")
HERE, THERE, NEAR_HERE = (0.0, 0.0, 10.0, 10.0), (20.0, 20.0, 40.0, 40.0), (0.0, 0.0, 10.0, 14.0)


def review(*rows: tuple[str, tuple[float, ...], str], new_class: str = "dog") -> ReviewedImage:
    """An image with such boxes: class, corners and mark, of score .75."""
    boxes = [
        MarkedBox(name, corners, 0.75, mark, new_class if mark == "relabeled" else "")
        for name, corners, mark in rows
    ]
    reviewed = Reviewed(Path("reviewed.csv"), {"a.jpg": boxes})
    return review_images(reviewed, {"a.jpg": (50, 60)}, CLASSES)["a.jpg"]


def test_accepted_and_relabeled_boxes_stay_with_the_class_that_they_have_now() -> None:
    image = review(
        ("cat", HERE, "accepted"),
        ("cat", THERE, "relabeled"),
        ("cow", HERE, "rejected"),
        ("cow", THERE, ""),
    )

    kept = image.complete(no_detections())
    assert kept.boxes.tolist() == [list(HERE), list(THERE)]
    assert kept.labels.tolist() == [0, 1]
    assert kept.scores.tolist() == [0.75, 0.75]


@pytest.mark.parametrize("mark", ["accepted", "rejected", "relabeled", "absent"])
def test_a_marked_box_is_not_found_again_unless_it_belongs_to_another_class(mark: str) -> None:
    image = review(("cat", HERE, mark))
    found = detect([NEAR_HERE, THERE, HERE], [0.9, 0.8, 0.7], labels=[0, 0, 2])

    assert image.leave(found).boxes.tolist() == [list(THERE), list(HERE)]


def test_a_relabeled_box_is_not_found_again_as_what_it_is_now() -> None:
    image = review(("cat", HERE, "relabeled"))

    assert len(image.leave(detect([NEAR_HERE], [0.9], labels=[1])).boxes) == 0


def test_kept_boxes_and_new_ones_are_ordered_by_score() -> None:
    image = review(("cat", HERE, "accepted"))
    found = detect([THERE, THERE], [0.9, 0.5], labels=[0, 2])

    assert image.complete(found).scores.tolist() == pytest.approx([0.9, 0.75, 0.5])


@pytest.mark.parametrize(
    ("rows", "present", "absent", "finished"),
    [
        ([("cat", HERE, "accepted")], "cat", "", "cat"),
        ([("cat", HERE, "accepted"), ("cat", THERE, "")], "cat", "", ""),
        ([("cat", HERE, "accepted"), ("cat", THERE, "rejected")], "cat", "", "cat"),
        ([("cat", HERE, "rejected")], "", "", ""),
        ([("cat", HERE, "absent"), ("cat", THERE, "absent")], "", "cat", "cat"),
        ([("cat", HERE, "relabeled")], "dog", "cat", "cat dog"),
        ([("cat", HERE, "relabeled"), ("cat", THERE, "rejected")], "dog", "cat", "cat dog"),
        ([("cat", HERE, "relabeled"), ("cat", THERE, "accepted")], "cat dog", "", "cat dog"),
        ([("cat", HERE, "relabeled"), ("cat", THERE, "")], "dog", "", "dog"),
        ([("dog", HERE, "absent"), ("cat", THERE, "relabeled")], "dog", "cat", "cat dog"),
    ],
)
def test_marks_say_which_classes_an_image_holds_and_which_are_finished(
    rows: list[tuple[str, tuple[float, ...], str]], present: str, absent: str, finished: str
) -> None:
    image = review(*rows)

    for mask, names in (
        (image.present, present),
        (image.absent, absent),
        (image.finished, finished),
    ):
        assert [CLASSES[label] for label in mask.nonzero().flatten().tolist()] == names.split()


def test_labels_change_where_marks_say_so_and_nowhere_else() -> None:
    image = review(("cat", HERE, "relabeled"))
    targets, weights = torch.tensor([1.0, 0, 1]), torch.tensor([1.0, 0, 0])

    corrected = image.correct(targets, weights)
    assert [x.tolist() for x in corrected] == [[0, 1, 1], [1, 1, 0]]


def test_a_finished_class_is_not_looked_for_and_one_that_keeps_a_box_need_not_have_another() -> (
    None
):
    known = torch.ones(3), torch.ones(3)

    finished = review(("cat", HERE, "accepted")).to_find(*known)
    assert [x.tolist() for x in finished] == [[0, 1, 1], [1, 1, 1]]
    unfinished = review(("cat", HERE, "accepted"), ("cat", THERE, "")).to_find(*known)
    assert [x.tolist() for x in unfinished] == [[1, 1, 1], [0, 1, 1]]
    rejected = review(("cat", HERE, "rejected")).to_find(*known)
    assert [x.tolist() for x in rejected] == [[1, 1, 1], [1, 1, 1]]


def test_an_image_without_marks_is_as_it_was() -> None:
    image = review(("cat", HERE, ""))
    found = detect([HERE, THERE], [0.9, 0.5], labels=[0, 1])

    assert image.complete(found).boxes.tolist() == found.boxes.tolist()
    assert not torch.stack([image.present, image.absent, image.finished]).any()


def test_other_images_are_left_out_and_other_classes_and_boxes_outside_refused() -> None:
    box = MarkedBox("cat", HERE, 0.5, "accepted", "")
    reviewed = Reviewed(Path("reviewed.csv"), {"a.jpg": [box]})

    assert review_images(reviewed, {"b.jpg": (50, 60)}, CLASSES) == {}
    with pytest.raises(ValueError, match=r"reviewed.csv: a.jpg: class 'cat' is not one of dog"):
        review_images(reviewed, {"a.jpg": (50, 60)}, ("dog",))
    with pytest.raises(ValueError, match=r"reviewed.csv: a.jpg: .* leave 9x9"):
        review_images(reviewed, {"a.jpg": (9, 9)}, CLASSES)
