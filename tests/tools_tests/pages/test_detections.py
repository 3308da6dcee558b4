"""Images with a detector's boxes: which are drawn, and which images are good ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from data.datasets.image_set import ImageSet
from data.datasets.voc import VOCDataset
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import Annotation, Detections, no_detections
from tools.loggers.backend import Backend
from tools.loggers.logger import Logger
from tools.pages.detections import (
    HEIGHT,
    detection_sheets,
    image_with_detections,
    log_detections,
)
from tools.pages.draw import DETECTION, TRUTH, caption, draw_boxes, fit_height, sheet
from tools.pages.heatmaps import chosen_images

GOOD, FAILED = (
    "Detections: the top-scoring one of a class hits",
    "Detections: none of the top-scoring ones hits",
)


class Windows(Backend):
    """Remembers the images by tag and by window."""

    name = "windows"

    def __init__(self) -> None:
        self.tags: dict[str, Tensor] = {}
        self.windows: dict[str, Tensor] = {}

    def image(self, tag: str, image: Tensor, step: int, *, window: str) -> None:
        self.tags[tag] = self.windows[window] = image


@pytest.fixture
def dataset(tiny_voc: Path) -> VOCDataset:
    """Six images; no object is difficult."""
    opened = VOCDataset(tiny_voc, "val", classes=SYNTHETIC_CLASSES)
    opened.annotations = [
        replace(annotation, difficult=torch.zeros_like(annotation.difficult))
        for annotation in opened.annotations
    ]
    return opened


def detect(boxes: Tensor, label: int, scores: list[float]) -> Detections:
    return Detections(boxes, torch.full((len(boxes),), label), torch.tensor(scores))


def on_the_object(annotation: Annotation) -> Detections:
    """The first object's own box."""
    return detect(annotation.boxes[:1], int(annotation.labels[0]), [0.5])


def far_away(annotation: Annotation) -> Detections:
    """A corner of one pixel, of the first object's class."""
    return detect(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), int(annotation.labels[0]), [0.5])


def missed_but(dataset: ImageSet, *hit: int) -> dict[str, Detections]:
    return {
        annotation.image_id: (on_the_object if index in hit else far_away)(annotation)
        for index, annotation in enumerate(dataset.annotations)
    }


def height_of(page: Tensor, count: int) -> bool:
    """Whether a sheet of five columns has the lines that so many images need."""
    return page.shape[1] == -(-count // 5) * (HEIGHT + 22 + 8)  # caption of 22, gap of 8


# One image


def test_nothing_found_leaves_the_image_with_its_true_boxes(dataset: VOCDataset) -> None:
    drawn = draw_boxes(dataset[0].image, dataset.annotations[0].boxes, TRUTH)

    shown = image_with_detections(dataset, 0, no_detections())

    assert shown.equal(caption(fit_height(drawn, HEIGHT), dataset.ids[0]))


def test_nothing_found_and_nothing_known_is_the_image_alone(dataset: VOCDataset) -> None:
    dataset.annotations[0] = replace(dataset.annotations[0], boxes=torch.zeros(0, 4))

    shown = image_with_detections(dataset, 0, no_detections())

    assert shown.equal(caption(fit_height(dataset[0].image, HEIGHT), dataset.ids[0]))


def test_a_detection_is_drawn_with_its_class_and_its_score(dataset: VOCDataset) -> None:
    box = torch.tensor([[20.0, 30.0, 90.0, 120.0]])
    true = draw_boxes(dataset[0].image, dataset.annotations[0].boxes, TRUTH)
    drawn = draw_boxes(true, box, DETECTION, [f"{SYNTHETIC_CLASSES[2]} 0.25"])

    shown = image_with_detections(dataset, 0, detect(box, 2, [0.25]))

    assert shown.equal(caption(fit_height(drawn, HEIGHT), dataset.ids[0]))


def boxes_in_a_row(count: int) -> Tensor:
    left = torch.arange(float(count)) * 20
    return torch.stack([left, left * 0 + 20, left + 15, left * 0 + 60], dim=1)


def test_detections_below_half_of_the_best_score_are_not_drawn(dataset: VOCDataset) -> None:
    boxes = boxes_in_a_row(3)

    shown = image_with_detections(dataset, 0, detect(boxes, 1, [0.75, 1.0, 0.25]))

    assert shown.equal(image_with_detections(dataset, 0, detect(boxes[:2], 1, [0.75, 1.0])))
    assert not shown.equal(image_with_detections(dataset, 0, detect(boxes[1:2], 1, [1.0])))


def test_a_score_of_exactly_half_of_the_best_is_drawn(dataset: VOCDataset) -> None:
    boxes = boxes_in_a_row(2)

    shown = image_with_detections(dataset, 0, detect(boxes, 1, [1.0, 0.5]))

    assert not shown.equal(image_with_detections(dataset, 0, detect(boxes[:1], 1, [1.0])))


def test_at_most_six_detections_are_drawn(dataset: VOCDataset) -> None:
    boxes, scores = boxes_in_a_row(8), [1.0, 0.9, 0.98, 0.97, 0.96, 0.95, 0.94, 0.93]
    best = [0, 2, 3, 4, 5, 6]

    shown = image_with_detections(dataset, 0, detect(boxes, 1, scores))

    top_scoring = detect(boxes[best], 1, [scores[row] for row in best])
    assert shown.equal(image_with_detections(dataset, 0, top_scoring))


# Sheets


def test_good_and_failed_images_are_told_apart(dataset: VOCDataset) -> None:
    found = missed_but(dataset, 3)

    sheets = detection_sheets(dataset, found)

    assert list(sheets) == [GOOD, FAILED]
    good = image_with_detections(dataset, 3, found[dataset.ids[3]])
    assert sheets[GOOD].equal(sheet([good], columns=5))
    assert height_of(sheets[FAILED], 5)


def test_a_sheet_without_images_is_left_out(dataset: VOCDataset) -> None:
    assert list(detection_sheets(dataset, missed_but(dataset, *range(6)))) == [GOOD]
    assert list(detection_sheets(dataset, missed_but(dataset))) == [FAILED]


def test_images_in_which_nothing_is_found_have_failed(dataset: VOCDataset) -> None:
    nothing = {image_id: no_detections() for image_id in dataset.ids}

    assert list(detection_sheets(dataset, nothing)) == [FAILED]


def top_scoring_is_off(annotation: Annotation) -> Detections:
    """Right with the second-best detection of its class."""
    corner = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    boxes = torch.cat([annotation.boxes[:1], corner])
    return detect(boxes, int(annotation.labels[0]), [0.5, 0.75])


def test_only_the_top_scoring_detection_of_a_class_counts(dataset: VOCDataset) -> None:
    found = {a.image_id: top_scoring_is_off(a) for a in dataset.annotations}

    assert list(detection_sheets(dataset, found)) == [FAILED]


def test_a_box_of_another_class_does_not_count(dataset: VOCDataset) -> None:
    found = {}
    for annotation in dataset.annotations:
        absent = next(label for label in range(6) if label not in annotation.labels)
        found[annotation.image_id] = detect(annotation.boxes[:1], absent, [0.5])

    assert list(detection_sheets(dataset, found)) == [FAILED]


def test_one_class_of_several_is_enough(dataset: VOCDataset) -> None:
    several = next(i for i, a in enumerate(dataset.annotations) if len(set(a.labels.tolist())) > 1)
    annotation = dataset.annotations[several]
    last = detect(annotation.boxes[-1:], int(annotation.labels[-1]), [0.125])
    found = missed_but(dataset) | {annotation.image_id: last}

    good = image_with_detections(dataset, several, last)
    assert detection_sheets(dataset, found)[GOOD].equal(sheet([good], columns=5))


def test_images_without_objects_that_count_are_in_neither_sheet(dataset: VOCDataset) -> None:
    annotation = dataset.annotations[0]
    dataset.annotations[0] = replace(annotation, difficult=torch.ones_like(annotation.difficult))

    sheets = detection_sheets(dataset, missed_but(dataset, *range(6)))

    assert height_of(sheets[GOOD], 5)
    assert list(sheets) == [GOOD]


def test_without_any_object_there_are_no_sheets(dataset: VOCDataset) -> None:
    found = missed_but(dataset)
    for index, annotation in enumerate(dataset.annotations):
        nothing = {
            name: getattr(annotation, name)[:0]
            for name in ("boxes", "labels", "difficult", "truncated")
        }
        dataset.annotations[index] = replace(annotation, **nothing)

    assert detection_sheets(dataset, found) == {}


def test_each_sheet_holds_half_of_the_images_asked_for(dataset: VOCDataset) -> None:
    found = missed_but(dataset, 0, 1, 2)

    one, two = (detection_sheets(dataset, found, count=count) for count in (2, 4))

    for heading in (GOOD, FAILED):
        wide, narrow = two[heading], one[heading]
        assert narrow.shape[2] <= wide.shape[2]
        assert (narrow[:, :, -narrow.shape[2] // 5 :] == 255).all()  # of five columns one is used
        assert not (wide[:, :, wide.shape[2] // 5 : 2 * wide.shape[2] // 5] == 255).all()


def test_the_same_images_are_drawn_in_every_call(dataset: VOCDataset) -> None:
    found = missed_but(dataset, 0, 1, 2)

    np.random.seed(1)  # noqa: NPY002 - the choice does not follow the global generator
    first = detection_sheets(dataset, found, count=4)
    np.random.seed(2)  # noqa: NPY002
    again = detection_sheets(dataset, found, count=4)

    assert list(first) == list(again)
    assert all(first[heading].equal(again[heading]) for heading in first)


# While training


def test_a_training_logs_the_same_images_at_every_evaluation(dataset: VOCDataset) -> None:
    windows = Windows()
    found = missed_but(dataset, 0)
    for epoch in range(3):
        log_detections(Logger([windows]), dataset, found, epoch=epoch, step=7, is_first=epoch == 0)

    tags = [f"_iter7_batch{number // 4}_image{number % 4}_boxes" for number in range(6)]
    assert list(windows.tags) == [f"ep{epoch}{tag}" for epoch in range(3) for tag in tags]
    assert len(windows.windows) == 2 * 6  # the first evaluation keeps its own
    for tag, index in zip(tags, chosen_images(dataset, 16), strict=True):
        image = image_with_detections(dataset, index, found[dataset.ids[index]])
        assert all(windows.tags[f"ep{epoch}{tag}"].equal(image) for epoch in range(3))
