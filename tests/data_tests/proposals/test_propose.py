"""Proposals of one image: their places and scores, the same ones every time."""

from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from data.checks import check_proposals
from data.datasets.voc import VOCSource
from data.proposals.objectness import color_contrast, whole_segments
from data.proposals.propose import MOST_OVERLAP, propose, raise_scores
from data.proposals.recall import find_objects
from data.proposals.settings import ProposeSettings
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import Proposals

METHODS = ("selective_search", "edge_boxes", "both")
SQUARE = [120.0, 80.0, 260.0, 200.0]


def square_image() -> Tensor:
    """300x400, gray noise with an orange ``SQUARE``."""
    noise = np.random.default_rng(0).integers(100, 120, (3, 300, 400), dtype=np.uint8)
    image = torch.from_numpy(noise)
    image[:, 80:200, 120:260] = torch.tensor([230, 120, 20], dtype=torch.uint8)[:, None, None]
    return image


@pytest.mark.parametrize("method", METHODS)
def test_a_square_is_among_the_best_and_boxes_are_the_same_to_the_bit(method: str) -> None:
    settings = ProposeSettings(method=method)  # type: ignore[arg-type]
    proposals, again = (propose(square_image(), settings) for _ in range(2))

    assert box_iou(proposals.boxes[:20], torch.tensor([SQUARE])).max() > 0.8
    torch.testing.assert_close(asdict(again), asdict(proposals), rtol=0, atol=0)


def test_boxes_are_inside_come_once_and_begin_with_the_top_scoring(tiny_voc: Path) -> None:
    image = VOCSource(tiny_voc, classes=SYNTHETIC_CLASSES).open("val")[0].image

    proposals = propose(image, ProposeSettings())

    check_proposals(proposals, (image.shape[1], image.shape[2]))
    assert proposals.scores is not None
    assert (proposals.scores.diff() <= 0).all()
    assert len(np.unique(proposals.boxes.numpy(), axis=0)) == len(proposals.boxes) > 50


def test_limits_are_kept() -> None:
    settings = ProposeSettings(min_score=0.0)
    every = propose(square_image(), settings)
    few = propose(square_image(), replace(settings, max_boxes=7))
    likely = propose(square_image(), replace(settings, min_score=0.1))
    large = propose(square_image(), replace(settings, min_size=50))

    assert few.boxes.equal(every.boxes[:7])
    assert likely.scores is not None
    assert (likely.scores >= 0.1).all()
    assert 0 < len(large.boxes) < len(every.boxes)
    assert ((large.boxes[:, 2:] - large.boxes[:, :2]) >= 50).all()


def test_no_two_boxes_overlap_more_than_allowed() -> None:
    proposals = propose(square_image(), ProposeSettings())

    overlaps = box_iou(proposals.boxes, proposals.boxes).fill_diagonal_(0)
    assert 0.8 < float(overlaps.max()) <= MOST_OVERLAP


def test_whole_segments_raise_a_score_by_half_and_own_colors_to_four_times() -> None:
    pixels = square_image().permute(1, 2, 0).numpy()
    boxes = np.array([SQUARE, [120, 80, 190, 200]], np.float32)  # the square and a half of it
    whole, contrast = whole_segments(boxes, pixels), color_contrast(boxes, pixels)

    raised = raise_scores(np.array([1.0, 2.0], np.float32), boxes, pixels)

    assert raised.tolist() == pytest.approx([1, 2] * (1 + whole / 2) * (1 + 3 * contrast))
    assert whole[0] > 0.8 > 0.4 > whole[1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (40, 40)])
def test_an_even_surface_of_any_size_gives_no_failure(method: str, size: tuple[int, int]) -> None:
    even = torch.full((3, *size), 128, dtype=torch.uint8)

    proposals = propose(even, ProposeSettings(method=method))  # type: ignore[arg-type]

    check_proposals(proposals, size)


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
    corners = torch.from_numpy(maker.process()).float() / scale
    return Proposals(torch.cat([corners[:, :2], corners[:, :2] + corners[:, 2:]], dim=1), None)


@pytest.mark.voc
def test_boxes_of_selective_search_find_more_real_objects_in_our_order(voc_root: Path) -> None:
    images = VOCSource(voc_root).open("trainval").subset(range(0, 960, 60))
    settings = ProposeSettings(method="selective_search", min_score=-1)
    ours, theirs = {}, {}
    for index, image_id in enumerate(images.ids):
        image = images[index].image
        ours[image_id] = Proposals(propose(image, settings).boxes, None)
        theirs[image_id] = in_their_own_order(image)

    our, their = (
        find_objects(proposals, images.annotations).recall([300])["0.7"][0]
        for proposals in (ours, theirs)
    )
    assert our > their + 0.05
