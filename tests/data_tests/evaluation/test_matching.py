"""The order of the matches, and which of them hit, against loops."""

import numpy as np
import pytest
import torch

from data.evaluation.matching import MatchTable, match_detections
from data.types import Annotation, Detections, without_boxes
from tests.worlds import annotate, detect, random_boxes

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


# Images with one object and with several


def test_images_with_one_object_of_a_class_and_with_several_are_told_apart() -> None:
    first, second = [0, 0, 10, 10], [20, 0, 30, 10]
    truths = [
        annotate([first], [0], image_id="one"),
        annotate([first, second], [0, 0], image_id="two"),
        annotate([first, second], [0, 0], [False, True], image_id="one and a difficult one"),
        annotate([first], [1], image_id="none"),
    ]
    found = {truth.image_id: detect([second, first], [0.9, 0.8]) for truth in truths}

    parts = match_detections(found, truths, num_classes=2).apart()
    counts = {name: [of_class.num_objects for of_class in part] for name, part in parts.items()}
    assert counts == {"one": [2, 1], "several": [2, 0]}
    marks = {name: next(iter(part)) for name, part in parts.items()}
    # in the order of the images, the first boxes before the second
    assert marks["one"].is_hit.tolist() == [False, False, False, True, True, False]
    assert marks["one"].is_ignored.tolist() == [False, True, False, False, False, False]
    assert marks["several"].is_hit.tolist() == [True, False, True, False]
    assert not marks["several"].is_ignored.any()


def test_tables_without_images_or_boxes_have_parts_without_any() -> None:
    for truths in ([], [annotate([])]):
        for part in match_detections({}, truths, num_classes=3).apart().values():
            assert [of_class.num_objects for of_class in part] == [0, 0, 0]
            assert len(part.top1()) == 0


def test_the_parts_of_a_random_split_equal_its_images_matched_alone(rng: torch.Generator) -> None:
    truths, found = [], {}
    for number in range(30):
        count = int(torch.randint(5, (1,), generator=rng))
        boxes = random_boxes(count, rng)
        labels = torch.randint(2, (count,), generator=rng).tolist()
        difficult = (torch.rand(count, generator=rng) < 0.3).tolist()
        truths.append(annotate(boxes.tolist(), labels, difficult, image_id=f"{number}"))
        guesses = torch.cat([random_boxes(6, rng), boxes])
        scores = torch.rand(len(guesses), generator=rng).tolist()
        found[f"{number}"] = detect(guesses.tolist(), scores, [0] * 3 + [1] * 3 + labels)

    parts = match_detections(found, truths, num_classes=2).apart()
    counts = {
        truth.image_id: torch.bincount(truth.labels[~truth.difficult], minlength=2)
        for truth in truths
    }
    for label in range(2):
        for name, left_out in (("one", range(2, 5)), ("several", range(1, 2))):
            chosen = [t for t in truths if int(counts[t.image_id][label]) not in left_out]
            alone = {truth.image_id: found[truth.image_id] for truth in chosen}
            expected = list(match_detections(alone, chosen, num_classes=2))[label]
            part = list(parts[name])[label]
            assert part.is_hit.tolist() == expected.is_hit.tolist()
            assert part.is_ignored.tolist() == expected.is_ignored.tolist()
            assert part.num_objects == expected.num_objects
