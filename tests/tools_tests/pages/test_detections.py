"""Images with a detector's boxes: which boxes are drawn, and which images are hits."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from data.datasets.image_set import ImageSet
from data.datasets.voc import VOCSource
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import Annotation, Detections, no_detections
from tests.tools_tests.pages.conftest import Windows
from tests.worlds import detect
from tools.loggers.colors import CLASS_COLORS
from tools.loggers.logger import Logger
from tools.pages.draw import DETECTION, TRUTH, caption, draw_boxes, fit_height, sheet
from tools.pages.predictions import (
    HEIGHT,
    box_sheet,
    chosen_images,
    detected_images,
    image_with_detections,
    log_images,
)
from tools.prediction.predictions import Prediction

HITS, FAILURES = (
    "Detections: the top-scoring one of a class hits",
    "Detections: none of the top-scoring ones hits",
)
CORNER = (0, 0, 1, 1)  # touches no object


@pytest.fixture
def dataset(tiny_voc: Path) -> ImageSet:
    """Six images; no object is difficult."""
    opened = VOCSource(tiny_voc, classes=SYNTHETIC_CLASSES).open("val")
    opened.annotations = [
        replace(annotation, difficult=torch.zeros_like(annotation.difficult))
        for annotation in opened.annotations
    ]
    return opened


def on_the_object(annotation: Annotation) -> Detections:
    return detect(annotation.boxes[:1].tolist(), [0.5], annotation.labels[:1].tolist())


def far_away(annotation: Annotation) -> Detections:
    return detect([CORNER], [0.5], annotation.labels[:1].tolist())


def second_best_is_right(annotation: Annotation) -> Detections:
    boxes = [annotation.boxes[0].tolist(), CORNER]
    return detect(boxes, [0.5, 0.75], [int(annotation.labels[0])] * 2)


def of_another_class(annotation: Annotation) -> Detections:
    absent = next(label for label in range(6) if label not in annotation.labels)
    return detect(annotation.boxes[:1].tolist(), [0.5], [absent])


def detections_with_hits(dataset: ImageSet, *hits: int) -> dict[str, Detections]:
    return {
        annotation.image_id: (on_the_object if index in hits else far_away)(annotation)
        for index, annotation in enumerate(dataset.annotations)
    }


class Known:
    """Detections as a detector predicts them."""

    boxes = None

    def __init__(self, dataset: ImageSet, detections: dict[str, Detections]) -> None:
        self.module = nn.Identity()
        self.dataset = dataset
        self.detections = detections

    def __getitem__(self, index: int) -> Prediction:
        of_image = self.detections[self.dataset.ids[index]]
        scores = torch.zeros(len(self.dataset.classes)).index_fill(0, of_image.labels, 0.75)
        return Prediction(scores, of_image, of_image)


# One image


def test_without_detections_the_image_has_its_true_boxes_if_it_has_any(
    dataset: ImageSet,
) -> None:
    for boxes in (dataset.annotations[0].boxes, torch.zeros(0, 4)):
        dataset.annotations[0] = replace(dataset.annotations[0], boxes=boxes)
        drawn = draw_boxes(dataset[0].image, boxes, TRUTH, dashed=True)

        shown = image_with_detections(dataset, 0, no_detections())

        assert shown.equal(caption(fit_height(drawn, HEIGHT), dataset.ids[0]))


def test_a_detection_is_drawn_with_its_class_and_its_score(dataset: ImageSet) -> None:
    box = [20.0, 30.0, 90.0, 120.0]
    true = draw_boxes(dataset[0].image, dataset.annotations[0].boxes, TRUTH, dashed=True)
    words = [f"{SYNTHETIC_CLASSES[2]} 0.25"]
    drawn = draw_boxes(true, torch.tensor([box]), [CLASS_COLORS[2]], words)

    shown = image_with_detections(dataset, 0, detect([box], [0.25], [2]))

    assert shown.equal(caption(fit_height(drawn, HEIGHT), dataset.ids[0]))


@pytest.mark.parametrize(
    ("scores", "drawn"),
    [
        ([0.75, 1.0, 0.25], [0, 1]),
        ([1.0, 0.5], [0, 1]),
        ([1.0, 0.9, 0.98, 0.97, 0.96, 0.95, 0.94, 0.93], [0, 2, 3, 4, 5, 6]),
    ],
)
def test_at_most_six_detections_are_drawn_from_half_of_the_best_score_on(
    scores: list[float], drawn: list[int], dataset: ImageSet
) -> None:
    boxes = [(20 * number, 20, 20 * number + 15, 60) for number in range(len(scores))]

    shown = image_with_detections(dataset, 0, detect(boxes, scores))

    for rows in (drawn, drawn[:-1]):
        these = detect([boxes[row] for row in rows], [scores[row] for row in rows])
        assert shown.equal(image_with_detections(dataset, 0, these)) == (rows == drawn)


# Groups


def test_a_hit_of_one_class_of_several_is_told_from_failures(dataset: ImageSet) -> None:
    several = next(i for i, a in enumerate(dataset.annotations) if len(set(a.labels.tolist())) > 1)
    annotation = dataset.annotations[several]
    last = detect(annotation.boxes[-1:].tolist(), [0.125], annotation.labels[-1:].tolist())

    groups = detected_images(dataset, detections_with_hits(dataset) | {annotation.image_id: last})

    assert list(groups) == [HITS, FAILURES]
    (hit,) = groups[HITS]
    assert hit.image_id == annotation.image_id
    captioned = image_with_detections(dataset, several, last)
    assert caption(hit.image, hit.image_id).equal(captioned)
    assert len(groups[FAILURES]) == 5


@pytest.mark.parametrize(
    "detections_of",
    [lambda _: no_detections(), far_away, second_best_is_right, of_another_class],
    ids=["none", "far away", "second best", "another class"],
)
def test_without_a_hit_of_a_top_scoring_detection_an_image_is_a_failure(
    detections_of: Callable[[Annotation], Detections], dataset: ImageSet
) -> None:
    detections = {one.image_id: detections_of(one) for one in dataset.annotations}

    assert list(detected_images(dataset, detections)) == [FAILURES]


def all_difficult(annotation: Annotation) -> Annotation:
    return replace(annotation, difficult=torch.ones_like(annotation.difficult))


def without_objects(annotation: Annotation) -> Annotation:
    names = ("boxes", "labels", "difficult", "truncated")
    return replace(annotation, **{name: getattr(annotation, name)[:0] for name in names})


@pytest.mark.parametrize("change", [all_difficult, without_objects])
def test_images_without_countable_objects_are_in_neither_group(
    change: Callable[[Annotation], Annotation], dataset: ImageSet
) -> None:
    detections = detections_with_hits(dataset, *range(6))

    dataset.annotations[0] = change(dataset.annotations[0])
    groups = detected_images(dataset, detections)
    assert list(groups) == [HITS]
    assert len(groups[HITS]) == 5

    dataset.annotations[:] = map(change, dataset.annotations)
    assert detected_images(dataset, detections) == {}


def test_each_group_has_half_of_the_images_and_the_same_in_every_call(dataset: ImageSet) -> None:
    detections = detections_with_hits(dataset, 0, 1, 2)

    np.random.seed(1)  # noqa: NPY002 - the choice does not follow the global generator
    one, two = (detected_images(dataset, detections, count=count) for count in (2, 4))
    np.random.seed(2)  # noqa: NPY002
    again = detected_images(dataset, detections, count=4)

    for heading in (HITS, FAILURES):
        assert (len(one[heading]), len(two[heading])) == (1, 2)
        for shown, same in zip(two[heading], again[heading], strict=True):
            assert shown.image_id == same.image_id
            assert shown.image.equal(same.image)


# Training


def test_a_training_logs_the_same_images_at_every_evaluation(dataset: ImageSet) -> None:
    windows = Windows()
    detections = detections_with_hits(dataset, 0)
    logger = Logger([windows])
    for epoch in range(3):
        log_images(logger, Known(dataset, detections), epoch=epoch, step=7)

    tags = []
    for number, index in enumerate(chosen_images(dataset, 6)):
        held = dataset.targets[index].nonzero().flatten().tolist()
        classes = "_".join(dataset.classes[label] for label in held)
        tags.append(f"_iter7_batch{number // 4}_image{number % 4}_boxes_{classes}")
    assert list(windows.tags) == [f"ep{epoch}{tag}" for epoch in range(3) for tag in tags]
    assert len(windows.windows) == 2 * 6  # the first evaluation keeps its windows
    for tag, index in zip(tags, chosen_images(dataset, 16), strict=True):
        image = image_with_detections(dataset, index, detections[dataset.ids[index]])
        assert all(windows.tags[f"ep{epoch}{tag}"].equal(image) for epoch in range(3))


def test_a_sheet_of_boxes_shows_a_model_without_heatmaps_on_the_image_alone(
    dataset: ImageSet,
) -> None:
    index = chosen_images(dataset, 1)[0]
    annotation = dataset.annotations[index]
    label = int(dataset.targets[index].nonzero()[0])
    mine = annotation.boxes[annotation.labels == label]
    drawn = draw_boxes(dataset[index].image, mine, TRUTH, dashed=True)
    drawn = draw_boxes(drawn, torch.tensor([[1.0, 2.0, 30.0, 40.0]]), DETECTION)
    detections = {name: detect([[1, 2, 30, 40]], [0.5], [label]) for name in dataset.ids}

    page = box_sheet({"m": Known(dataset, detections)}, count=1)

    words = f"{dataset.ids[index]}, m: {dataset.classes[label]} 0.75"
    cell = caption(fit_height(drawn, HEIGHT), words)
    assert page.equal(sheet([cell], columns=4))
