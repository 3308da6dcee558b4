"""Recall of proposals: what counts as found, and how many boxes it took."""

import math

import numpy as np
import pytest
import torch

from data.proposals.recall import IOUS, find_objects
from data.types import Proposals
from tests.worlds import annotate, random_boxes


def proposals(*boxes: list[float], scores: list[float] | None = None) -> Proposals:
    tensor = torch.tensor(boxes).reshape(-1, 4)
    return Proposals(tensor, None if scores is None else torch.tensor(scores))


SQUARE = [0.0, 0.0, 10.0, 10.0]
HALF = [0.0, 0.0, 10.0, 5.0]  # IoU .5 with the square
NEARLY = [0.0, 0.0, 10.0, 8.0]  # IoU .8
ELSEWHERE = [50.0, 50.0, 60.0, 60.0]


def test_an_overlap_of_exactly_one_half_finds_the_object() -> None:
    result = find_objects({"a": proposals(HALF)}, [annotate([SQUARE])])

    assert result.recall((1,)) == {"0.5": [1.0], "0.7": [0.0], "average": [1 / len(IOUS)]}


def test_the_better_box_comes_second_so_it_takes_two() -> None:
    two = proposals(HALF, NEARLY, scores=[0.9, 0.8])

    result = find_objects({"a": two}, [annotate([SQUARE])])

    assert result.recall((1, 2))["0.7"] == [0.0, 1.0]
    assert result.recall((1, 2))["average"] == pytest.approx([1 / 10, 7 / 10])


def test_one_score_cuts_all_images_so_a_rich_one_has_more_boxes() -> None:
    rich = proposals(ELSEWHERE, SQUARE, scores=[0.9, 0.8])
    plain = proposals(ELSEWHERE, SQUARE, scores=[0.3, 0.2])
    objects = [annotate([SQUARE], image_id=name) for name in "rp"]

    result = find_objects({"r": rich, "p": plain}, objects)

    assert result.needed[:, 0].tolist() == [1.0, 2.0]  # second of two images' four boxes, fourth
    assert result.recall((1,))["0.5"] == [0.5]


def test_without_scores_the_order_within_the_image_counts() -> None:
    known = proposals(SQUARE, scores=[0.1])
    unknown = proposals(ELSEWHERE, SQUARE)
    objects = [annotate([SQUARE], image_id=name) for name in "ku"]

    result = find_objects({"k": known, "u": unknown}, objects)

    assert result.needed[:, 0].tolist() == [1.0, 2.0]


def test_difficult_objects_do_not_count() -> None:
    both = annotate([SQUARE, ELSEWHERE], difficult=[False, True])

    result = find_objects({"a": proposals(SQUARE)}, [both])

    assert result.labels.tolist() == [0]
    assert result.sides.tolist() == [10.0]


def test_an_image_without_proposals_misses_its_objects_and_is_named() -> None:
    result = find_objects({"a": proposals(scores=[])}, [annotate([SQUARE])])

    assert result.empty == ("a",)
    assert result.boxes == 0
    assert result.recall((1000, math.inf))["0.5"] == [0.0, 0.0]


def test_no_objects_have_no_recall() -> None:
    result = find_objects({"a": proposals(SQUARE)}, [annotate([])])

    assert all(math.isnan(values[0]) for values in result.recall((1,)).values())


def test_recall_equals_a_slow_count(rng: torch.Generator) -> None:
    def boxes(count: int) -> torch.Tensor:
        return random_boxes(count, rng, corner=60, sides=(5, 40))

    given = {str(n): Proposals(boxes(40), torch.rand(40, generator=rng)) for n in range(5)}
    objects = [annotate(boxes(3).tolist(), image_id=name) for name in given]
    scores = torch.cat(
        [of_image.scores for of_image in given.values() if of_image.scores is not None]
    )
    least = scores.sort(descending=True).values[5 * 8 - 1]  # eight boxes an image

    hits = []
    for truth in objects:
        of_image = given[truth.image_id]
        assert of_image.scores is not None
        taken = of_image.boxes[of_image.scores >= least]
        for box in truth.boxes:
            both = (
                torch.minimum(taken[:, 2:], box[2:]) - torch.maximum(taken[:, :2], box[:2])
            ).clamp(min=0)
            shared = both.prod(dim=1)
            areas = (taken[:, 2:] - taken[:, :2]).prod(dim=1) + (box[2:] - box[:2]).prod()
            hits.append(bool((shared / (areas - shared) >= 0.5).any()))

    assert 0 < np.mean(hits) < 1
    assert find_objects(given, objects).recall((8,))["0.5"] == [np.mean(hits)]


def test_an_image_that_the_proposals_do_not_know_and_no_image_are_refused() -> None:
    with pytest.raises(KeyError, match="b"):
        find_objects({"a": proposals(SQUARE)}, [annotate([SQUARE], image_id="b")])
    with pytest.raises(ValueError, match="no images"):
        find_objects({}, [])
