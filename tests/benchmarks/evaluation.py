"""Rows of numbers about boxes: VOC's AP, and boxes from heatmaps."""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from numpy.testing import assert_allclose, assert_array_equal

from data.evaluation.matching import match_detections
from data.evaluation.voc_eval import ap_of_matches
from data.types import Annotation, Detections
from localizer.backbones import BACKBONES
from localizer.localize import ImageHeatmaps, localize
from localizer.settings import BoxSettings
from tests.benchmarks.measure import OURS, Goal, Measured, Row, World, in_turns
from tests.benchmarks.peers import (
    RULES,
    Arrays,
    Floats,
    by_image_aps,
    coco_evaluator,
    devkit_ap,
    regions,
    run_coco,
)
from tests.worlds import random_boxes

CLASSES = 20
IMAGES = 4952  # VOC2007's test
REGIONS = "scipy, map by map"
Split = tuple[dict[str, Detections], list[Annotation]]


def random_split(images: int, count: int) -> Split:
    """Objects as many as VOC's, and that many detections, half of them around objects."""
    rng = torch.Generator().manual_seed(0)
    annotations, found, own = [], {}, -(-count // images)
    for number in range(images):
        objects = random_boxes(1 + number % 4, rng, corner=380, sides=(20, 120))
        labels = torch.randint(CLASSES, (len(objects),), generator=rng)
        difficult = torch.rand(len(objects), generator=rng) < 0.15
        name, near = f"{number:06d}", torch.arange(own // 2) % len(objects)
        truth = Annotation(name, (500, 500), objects, labels, difficult, torch.zeros_like(labels))
        boxes = random_boxes(own, rng, corner=380, sides=(20, 120))
        boxes[: len(near)] = objects[near] + 20 * torch.rand(len(near), 1, generator=rng)
        of = torch.randint(CLASSES, (own,), generator=rng)
        of[: len(near)] = labels[near]
        found[name] = Detections(boxes, of, torch.rand(own, generator=rng))
        annotations.append(truth)
    return found, annotations


def our_aps(found: dict[str, Detections], annotations: list[Annotation]) -> dict[str, Floats]:
    """By both rules, from one match."""
    matches = match_detections(found, annotations, num_classes=CLASSES)
    return {
        rule: ap_of_matches(matches, use_07_metric=rule == RULES[0]).per_class for rule in RULES
    }


def devkit_aps(arrays: Arrays) -> dict[str, Floats]:
    """By both rules, which its function gives one at a time."""
    classes = range(CLASSES)
    return {rule: np.array([devkit_ap(arrays, label, rule) for label in classes]) for rule in RULES}


def _bound(found: dict[str, Detections], annotations: list[Annotation]) -> Callable[[], Floats]:
    """One stable sort of all scores; one pass of IoU with the objects that lie nearest."""
    matches = match_detections(found, annotations, num_classes=CLASSES)
    scores, boxes = matches.detections.values, matches.detections.boxes.T

    def work() -> Floats:
        np.argsort(-scores, kind="stable")
        others = matches.objects.boxes[matches.nearest].T
        width = np.minimum(boxes[2], others[2]) - np.maximum(boxes[0], others[0])
        height = np.minimum(boxes[3], others[3]) - np.maximum(boxes[1], others[1])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        own, theirs = ((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (boxes, others))
        overlap: Floats = shared / (own + theirs - shared)
        return overlap

    return work


def _million(world: World) -> Measured:
    """The APs must agree, too."""
    found, annotations = random_split(world.pick(IMAGES, 40), world.pick(1_000_000, 4000))
    arrays = Arrays(found, annotations, CLASSES)
    evaluator = coco_evaluator(arrays)
    aps: dict[str, dict[str, Floats]] = {}
    works = {
        OURS: lambda: aps.update(ours=our_aps(found, annotations)),
        "py-faster-rcnn": lambda: aps.update(devkit=devkit_aps(arrays)),
        "chainercv": lambda: aps.update(chainercv=by_image_aps(arrays)),
        "pycocotools": lambda: run_coco(evaluator),
        "bound": _bound(found, annotations),
    }
    measured = in_turns(works, world.pick(2, 1))
    assert_allclose(aps["ours"]["area"], aps["chainercv"]["area"], rtol=0, atol=1e-12)
    assert_array_equal(aps["ours"]["11-point"], aps["devkit"]["11-point"])
    return measured


def _real_size(world: World) -> Measured:
    found, annotations = random_split(world.pick(IMAGES, 20), world.pick(50_000, 400))
    works = {OURS: lambda: our_aps(found, annotations), "bound": _bound(found, annotations)}
    return in_turns(works, world.pick(20, 2), warm_up=True)


def _heatmaps(world: World) -> Measured:
    rng = np.random.default_rng(0)
    maps = np.stack([cv2.GaussianBlur(rng.normal(size=(29, 29)), (0, 0), 2) for _ in range(20)])
    geometry, size = BACKBONES["alexnet"].geometry, (512, 512)
    logits = torch.from_numpy(maps).float()
    heatmaps = ImageHeatmaps(logits, torch.zeros(20), geometry, size, size)
    works = {
        OURS: lambda: localize(heatmaps, BoxSettings(), score_threshold=0.0),
        REGIONS: lambda: [regions(each) for each in logits.numpy()],
    }
    return in_turns(works, world.pick(200, 2), warm_up=True)


MILLION = (
    Goal("py-faster-rcnn", "≥", 47),
    Goal("chainercv", "≥", 6),
    Goal("pycocotools", "≥", 80),
    Goal("bound", "≤", 1.2),
)
ROWS = {
    "F": Row("VOC's AP of a million detections, both rules", _million, MILLION),
    "F'": Row("the same of 50 000 detections", _real_size, (Goal("bound", "≤", 2),)),
    "G": Row("20 heatmaps of 29² cells to boxes", _heatmaps, (Goal(REGIONS, "≥", 2),)),
}
