"""The order of the matches, and which of them hit, against loops."""

import numpy as np
import pytest
import torch

from data.evaluation.matching import MatchTable, match_detections
from data.types import Annotation, Detections, without_boxes
from tests.worlds import random_boxes

NUM_CLASSES = 4


@pytest.fixture(params=[1, 3, 1000], ids=["all scores equal", "few scores", "many scores"])
def table(request: pytest.FixtureRequest, rng: torch.Generator) -> MatchTable:
    """Five images of six objects and 40 detections; the last class has neither."""
    truths, detections = [], {}
    for image_id in "abcde":
        boxes, flags = random_boxes(6, rng, corner=50), torch.rand(6, generator=rng) < 0.3
        labels = torch.randint(NUM_CLASSES - 1, (6,), generator=rng)
        truths.append(Annotation(image_id, (100, 100), boxes, labels, flags, flags))
        near = boxes.repeat(7, 1)[:40] + torch.rand(40, 4, generator=rng) * 8 - 4
        scores = torch.randint(request.param, (40,), generator=rng) / 1000
        detections[image_id] = Detections(near, labels.repeat(7)[:40], scores)
    return match_detections(detections, truths, num_classes=NUM_CLASSES)


def test_a_class_has_its_detections_by_falling_score_the_first_of_equals_first(
    table: MatchTable,
) -> None:
    values = table.detections.values.tolist()
    for label, matches in enumerate(table):
        rows = np.flatnonzero(table.detections.groups % NUM_CLASSES == label).tolist()
        assert matches.rows.tolist() == sorted(rows, key=lambda row: (-values[row], row))


def test_the_first_on_an_object_that_counts_is_its_hit(table: MatchTable) -> None:
    num_hits = 0
    for label, matches in enumerate(table):
        taken: set[int] = set()
        of_class = table.objects.groups % NUM_CLASSES == label
        for row, is_hit, is_ignored in zip(
            matches.rows, matches.is_hit, matches.is_ignored, strict=True
        ):
            nearest = int(table.nearest[row])
            is_on_object = table.iou[row] >= 0.5
            assert is_ignored == (is_on_object and table.objects.values[nearest] == 1)
            assert is_hit == (is_on_object and not is_ignored and nearest not in taken)
            if is_on_object:
                taken.add(nearest)
            num_hits += int(is_hit)
        assert matches.num_objects == (of_class & (table.objects.values == 0)).sum()
    assert num_hits


def test_the_top_scoring_of_each_class_and_image_is_the_first_of_equals(table: MatchTable) -> None:
    values = table.detections.values
    best: dict[int, int] = {}
    for row, group in enumerate(table.detections.groups.tolist()):
        if group not in best or values[row] > values[best[group]]:
            best[group] = row
    assert table.top1().tolist() == [best[group] for group in sorted(best)]


def test_objects_can_be_those_of_another_table() -> None:
    truths = [without_boxes("a", (9, 9))]
    first = match_detections({}, truths, num_classes=NUM_CLASSES)
    second = match_detections({}, truths, num_classes=NUM_CLASSES, objects=first.objects)
    assert second.objects is first.objects
