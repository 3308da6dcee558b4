"""Proposals of one image: where they lie, what their scores mean, and that nothing is random."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from data.checks import check_proposals
from data.datasets.voc import VOCDataset
from data.proposals.propose import ProposeSettings, propose
from data.proposals.recall import find_objects
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import Proposals

METHODS = ("selective_search", "edge_boxes", "both")


def square_image() -> Tensor:
    """300x400, gray noise with an orange square from (120, 80) to (260, 200)."""
    noise = np.random.default_rng(0).integers(100, 120, (3, 300, 400), dtype=np.uint8)
    image = torch.from_numpy(noise)
    image[:, 80:200, 120:260] = torch.tensor([230, 120, 20], dtype=torch.uint8)[:, None, None]
    return image


@pytest.mark.parametrize("method", METHODS)
def test_a_lonely_square_is_among_the_best(method: str) -> None:
    found = propose(square_image(), ProposeSettings(method=method))  # type: ignore[arg-type]

    best = box_iou(found.boxes[:20], torch.tensor([[120.0, 80.0, 260.0, 200.0]])).max()
    assert best > 0.8


@pytest.mark.parametrize("method", METHODS)
def test_the_same_image_gives_the_same_boxes_to_the_bit(method: str) -> None:
    settings = ProposeSettings(method=method)  # type: ignore[arg-type]
    one, other = (propose(square_image(), settings) for _ in range(2))

    assert one.boxes.equal(other.boxes)
    assert one.scores is not None
    assert other.scores is not None
    assert one.scores.equal(other.scores)


def test_boxes_are_inside_come_once_and_begin_with_the_top_scoring(tiny_voc: Path) -> None:
    image = VOCDataset(tiny_voc, "val", classes=SYNTHETIC_CLASSES)[0].image

    found = propose(image, ProposeSettings())

    check_proposals(found, (image.shape[1], image.shape[2]))
    assert found.scores is not None
    assert (found.scores.diff() <= 0).all()
    assert len(np.unique(found.boxes.numpy(), axis=0)) == len(found.boxes) > 50


def test_limits_are_kept() -> None:
    settings = ProposeSettings(min_score=0.0)
    every = propose(square_image(), settings)
    few = propose(square_image(), replace(settings, max_boxes=7))
    sure = propose(square_image(), replace(settings, min_score=0.1))
    large = propose(square_image(), replace(settings, min_size=50))

    assert few.boxes.equal(every.boxes[:7])
    assert sure.scores is not None
    assert (sure.scores >= 0.1).all()
    assert 0 < len(large.boxes) < len(every.boxes)
    assert ((large.boxes[:, 2:] - large.boxes[:, :2]) >= 50).all()


def test_both_have_no_two_boxes_that_overlap_more_than_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("data.proposals.propose.MOST_OVERLAP", 0.7)

    found = propose(square_image(), ProposeSettings())

    overlaps = box_iou(found.boxes, found.boxes).fill_diagonal_(0)
    assert float(overlaps.max()) <= 0.7


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (40, 40)])
def test_an_even_surface_of_any_size_gives_no_failure(method: str, size: tuple[int, int]) -> None:
    even = torch.full((3, *size), 128, dtype=torch.uint8)

    found = propose(even, ProposeSettings(method=method))  # type: ignore[arg-type]

    check_proposals(found, size)


def test_boxes_of_another_size_are_scored_as_those_of_the_first() -> None:
    settings = ProposeSettings(method="edge_boxes", min_score=0.05)
    one, two = (
        propose(square_image(), replace(settings, edge_sizes=sizes))
        for sizes in ((350,), (350, 250))
    )

    assert one.scores is not None
    assert two.scores is not None
    assert len(two.boxes) > len(one.boxes)
    # unscaled, the smaller image's would be 1.18 times as high
    assert float(two.scores[0]) == pytest.approx(float(one.scores[0]), rel=0.1)


def test_a_box_that_cuts_no_segment_is_worth_up_to_half_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    square = torch.tensor([[120.0, 80.0, 260.0, 200.0]])
    settings = ProposeSettings(method="edge_boxes", min_score=0.0)
    monkeypatch.setattr("data.proposals.propose.MOST_OVERLAP", 1.0)
    monkeypatch.setattr("data.proposals.propose.REPEAT", 1.0)
    with_segments = propose(square_image(), settings)
    monkeypatch.setattr("data.proposals.propose.WHOLE_SEGMENTS", 0.0)
    without = propose(square_image(), settings)

    assert with_segments.scores is not None
    assert without.scores is not None
    before = dict(zip(map(tuple, without.boxes.tolist()), without.scores.tolist(), strict=True))
    gains = torch.tensor(
        [
            score / before[tuple(box)]
            for box, score in zip(
                with_segments.boxes.tolist(), with_segments.scores.tolist(), strict=True
            )
        ]
    )
    overlaps = box_iou(with_segments.boxes, square)[:, 0]
    halves = (overlaps > 0.4) & (overlaps < 0.6)
    assert float(gains.max()) <= 1.5 + 1e-5
    assert float(gains[overlaps.argmax()]) > 1.3 > float(gains[halves].median())


def test_a_score_does_not_depend_on_the_resolution() -> None:
    image = square_image()
    double = image.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    small, large = (propose(size, ProposeSettings()) for size in (image, double))

    assert small.scores is not None
    assert large.scores is not None
    assert float(large.scores[0]) == pytest.approx(float(small.scores[0]), rel=0.1)


def in_their_own_order(image: Tensor) -> Proposals:
    """What OpenCV's selective search finds at 250 pixels, unranked."""
    pixels = image.permute(1, 2, 0).numpy()[:, :, ::-1]
    scale = 250 / max(pixels.shape)
    maker = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    maker.setBaseImage(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    maker.switchToSelectiveSearchFast(75, 75)
    found = torch.from_numpy(maker.process()).float() / scale
    return Proposals(torch.cat([found[:, :2], found[:, :2] + found[:, 2:]], dim=1), None)


@pytest.mark.voc
def test_boxes_of_selective_search_find_more_real_objects_in_our_order(voc_root: Path) -> None:
    images = VOCDataset(voc_root, "trainval").subset(range(0, 960, 60))
    settings = ProposeSettings(method="selective_search", min_score=-1)
    ours, theirs = {}, {}
    for index, image_id in enumerate(images.ids):
        image = images[index].image
        ours[image_id] = Proposals(propose(image, settings).boxes, None)
        theirs[image_id] = in_their_own_order(image)

    our, their = (
        find_objects(found, images.annotations).recall([300])["0.7"][0] for found in (ours, theirs)
    )
    assert our > their + 0.05
