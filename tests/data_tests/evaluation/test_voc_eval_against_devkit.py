"""Random worlds evaluated by the product and by a slow port of the devkit's loops.

The port works in VOC's own one-based closed corners, with ``+ 1``, so it proves the box
convention together with the rules.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from data.evaluation.matching import MatchTable, match_detections
from data.evaluation.voc_eval import corloc, eval_detection_voc
from data.types import Annotation, Detections, no_detections

Box = Sequence[float]
Floats = NDArray[np.float64]
Maker = Callable[[Generator, int], torch.Tensor]


@dataclass(slots=True)
class World:
    truths: list[Annotation]
    detections: dict[str, Detections]
    num_classes: int = 3

    def evaluate(self, use_07_metric: bool) -> Floats:
        return eval_detection_voc(
            self.detections, self.truths, num_classes=self.num_classes, use_07_metric=use_07_metric
        ).per_class

    def matches(self) -> MatchTable:
        return match_detections(self.detections, self.truths, num_classes=self.num_classes)

    def corloc(self) -> Floats:
        return corloc(self.matches()).per_class

    def shuffled(self, rng: Generator) -> "World":
        """The same with images and detections in another order."""
        detections = {}
        for image_id, of_image in self.detections.items():
            rows = torch.from_numpy(rng.permutation(len(of_image.boxes)))
            detections[image_id] = Detections(
                of_image.boxes[rows], of_image.labels[rows], of_image.scores[rows]
            )
        truths = [self.truths[k] for k in rng.permutation(len(self.truths))]
        return World(truths, detections, self.num_classes)


def coarse_boxes(rng: Generator, count: int) -> torch.Tensor:
    """On a grid of four columns and two rows: many overlap by exactly 1/2, many are equal."""
    x = np.sort(rng.permuted(np.tile(np.arange(5), (count, 1)), axis=1)[:, :2], axis=1)
    y = np.sort(rng.permuted(np.tile(np.arange(3), (count, 1)), axis=1)[:, :2], axis=1)
    corners = np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1) * 7
    return torch.from_numpy(corners).float()


def ragged_boxes(rng: Generator, count: int) -> torch.Tensor:
    """With fractions of pixels, large enough to overlap often."""
    top_left = rng.random((count, 2), dtype=np.float32) * 20
    size = rng.random((count, 2), dtype=np.float32) * 40 + 20
    return torch.from_numpy(np.concatenate([top_left, top_left + size], axis=1))


def tied_scores(rng: Generator, count: int) -> torch.Tensor:
    return torch.from_numpy(rng.integers(0, 4, count) / 4).float()


def distinct_scores(rng: Generator, count: int) -> torch.Tensor:
    return torch.from_numpy(rng.random(count))  # float64


def random_world(
    rng: Generator,
    boxes: Maker,
    scores: Maker,
) -> World:
    """A few images of up to three classes; any of them may lack objects or detections."""
    truths, detections = [], {}
    label_fractions = rng.dirichlet([1, 1, 0.3])
    difficult_fraction = rng.choice([0, 0.3, 1], p=[0.3, 0.6, 0.1])
    for k in rng.permutation(int(rng.integers(1, 7))):
        image_id, num_objects, count = f"{k:06d}", rng.integers(0, 6), int(rng.integers(0, 13))
        truths.append(
            Annotation(
                image_id,
                (100, 100),
                boxes(rng, int(num_objects)),
                torch.from_numpy(rng.choice(3, num_objects, p=label_fractions)),
                torch.from_numpy(rng.random(num_objects) < difficult_fraction),
                torch.zeros(int(num_objects), dtype=torch.bool),
            )
        )
        if rng.random() < 0.8:
            labels = torch.from_numpy(rng.choice(3, count, p=label_fractions))
            detections[image_id] = Detections(boxes(rng, count), labels, scores(rng, count))
    return World(truths, detections)


def one_based_closed(boxes: torch.Tensor) -> list[list[float]]:
    """VOC's (xmin, ymin, xmax, ymax)."""
    return [[x1 + 1, y1 + 1, x2, y2] for x1, y1, x2, y2 in boxes.tolist()]


def overlap_of_the_devkit(bb: Box, bbgt: Box) -> float:
    """Intersection over union of corners that are pixels; -inf if no pixel is shared."""
    bi = [max(bb[0], bbgt[0]), max(bb[1], bbgt[1]), min(bb[2], bbgt[2]), min(bb[3], bbgt[3])]
    iw = bi[2] - bi[0] + 1
    ih = bi[3] - bi[1] + 1
    if iw <= 0 or ih <= 0:
        return -math.inf
    ua = (bb[2] - bb[0] + 1) * (bb[3] - bb[1] + 1)
    ua += (bbgt[2] - bbgt[0] + 1) * (bbgt[3] - bbgt[1] + 1)
    return iw * ih / (ua - iw * ih)


def mark_like_the_devkit(world: World, label: int) -> tuple[list[int], list[int], int]:
    """True and false positives by descending score, and the number of objects."""
    npos = 0
    objects = []
    lines = []
    for truth in world.truths:
        rows = [k for k in range(len(truth.labels)) if truth.labels[k] == label]
        corners = one_based_closed(truth.boxes)
        boxes = [corners[k] for k in rows]
        difficult = [bool(truth.difficult[k]) for k in rows]
        npos += difficult.count(False)
        objects.append((boxes, difficult, [False] * len(rows)))
        detections = world.detections.get(truth.image_id, no_detections())
        for k, box in enumerate(one_based_closed(detections.boxes)):
            if detections.labels[k] == label:
                lines.append((float(detections.scores[k]), len(objects) - 1, box))
    lines.sort(key=lambda line: -line[0])

    tp, fp = [0] * len(lines), [0] * len(lines)
    for d, (_, image, bb) in enumerate(lines):
        boxes, difficult, detected = objects[image]
        ovmax, jmax = -math.inf, -1
        for j, bbgt in enumerate(boxes):
            overlap = overlap_of_the_devkit(bb, bbgt)
            if overlap > ovmax:
                ovmax, jmax = overlap, j
        if ovmax >= 0.5:
            if not difficult[jmax]:
                if not detected[jmax]:
                    tp[d] = 1
                    detected[jmax] = True
                else:
                    fp[d] = 1
        else:
            fp[d] = 1
    return tp, fp, npos


def ap_of_the_devkit(world: World, label: int, use_07_metric: bool) -> float:
    tp, fp, npos = mark_like_the_devkit(world, label)
    if npos == 0:
        return math.nan
    rec, prec = [], []
    for d in range(len(tp)):
        hits, misses = sum(tp[: d + 1]), sum(fp[: d + 1])
        rec.append(hits / npos)
        # MATLAB has nan where all so far are ignored, and its max passes over it.
        prec.append(hits / (hits + misses) if hits + misses else 0.0)
    if use_07_metric:
        ap = 0.0
        for t in [0, 0.1, 0.2, 0.30000000000000004, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]:
            ap += max([p for r, p in zip(rec, prec, strict=True) if r >= t], default=0.0) / 11
        return ap
    mrec, mpre = [0.0, *rec, 1.0], [0.0, *prec, 0.0]
    for i in range(len(mpre) - 2, -1, -1):
        mpre[i] = max(mpre[i], mpre[i + 1])
    return math.fsum((mrec[i] - mrec[i - 1]) * mpre[i] for i in range(1, len(mrec)))


def corloc_image_by_image(world: World, label: int) -> float:
    images = hits = 0
    for truth in world.truths:
        corners = one_based_closed(truth.boxes)
        boxes = [
            corners[k]
            for k in range(len(corners))
            if truth.labels[k] == label and not truth.difficult[k]
        ]
        if not boxes:
            continue
        images += 1
        detections = world.detections.get(truth.image_id, no_detections())
        top, best = -math.inf, None
        for k, box in enumerate(one_based_closed(detections.boxes)):
            if detections.labels[k] == label and detections.scores[k] > top:
                top, best = float(detections.scores[k]), box
        if best is not None and max(overlap_of_the_devkit(best, box) for box in boxes) >= 0.5:
            hits += 1
    return hits / images if images else math.nan


@pytest.mark.parametrize("scores", [tied_scores, distinct_scores])
@pytest.mark.parametrize("boxes", [coarse_boxes, ragged_boxes])
def test_ap_equals_the_devkits_to_the_last_bit(
    boxes: Maker,
    scores: Maker,
) -> None:
    rng = default_rng(2)
    for _ in range(125):
        world = random_world(rng, boxes, scores)
        for use_07_metric in (True, False):
            expected = [ap_of_the_devkit(world, label, use_07_metric) for label in range(3)]
            np.testing.assert_array_equal(world.evaluate(use_07_metric), expected)


@pytest.mark.parametrize("scores", [tied_scores, distinct_scores])
@pytest.mark.parametrize("boxes", [coarse_boxes, ragged_boxes])
def test_corloc_equals_counting_image_by_image(
    boxes: Maker,
    scores: Maker,
) -> None:
    rng = default_rng(3)
    for _ in range(125):
        world = random_world(rng, boxes, scores)
        expected = [corloc_image_by_image(world, label) for label in range(3)]
        np.testing.assert_array_equal(world.corloc(), expected)


def test_the_random_worlds_hold_what_they_are_for() -> None:
    rng = default_rng(2)
    seen = dict.fromkeys(("hit", "false positive", "ignored", "no objects", "no detections"), 0)
    halves = 0
    for _ in range(125):
        world = random_world(rng, coarse_boxes, tied_scores)
        for matches in world.matches():
            seen["hit"] += int(matches.is_hit.sum())
            seen["ignored"] += int(matches.is_ignored.sum())
            seen["false positive"] += int((~matches.is_hit & ~matches.is_ignored).sum())
            seen["no objects"] += matches.num_objects == 0
            seen["no detections"] += len(matches.rows) == 0
        for truth in world.truths:
            for bb in one_based_closed(world.detections.get(truth.image_id, no_detections()).boxes):
                for bbgt in one_based_closed(truth.boxes):
                    halves += overlap_of_the_devkit(bb, bbgt) == 1 / 2
    assert min(seen.values()) >= 20, seen
    assert halves >= 100


def test_without_the_ignored_detections_and_the_difficult_objects_ap_is_the_same() -> None:
    rng = default_rng(4)
    for _ in range(50):
        world = random_world(rng, coarse_boxes, distinct_scores)
        before = world.evaluate(True)
        table = world.matches()
        ignored = {
            float(score)
            for matches in table
            for score in table.detections.values[matches.rows[matches.is_ignored]]
        }
        for image_id, detections in world.detections.items():
            kept = torch.tensor(
                [s not in ignored for s in detections.scores.tolist()], dtype=torch.bool
            )
            world.detections[image_id] = Detections(
                detections.boxes[kept], detections.labels[kept], detections.scores[kept]
            )
        np.testing.assert_array_equal(world.evaluate(True), before)


def test_the_order_of_images_and_rows_does_not_matter_when_all_scores_differ() -> None:
    rng = default_rng(0)
    for _ in range(50):
        world = random_world(rng, coarse_boxes, distinct_scores)
        shuffled = world.shuffled(rng)
        for use_07_metric in (True, False):
            np.testing.assert_array_equal(
                shuffled.evaluate(use_07_metric), world.evaluate(use_07_metric)
            )
        np.testing.assert_array_equal(shuffled.corloc(), world.corloc())
