"""Boxes around hot cells. AlexNet's cells: number i covers pixels 23.5 + 16 i to 39.5 + 16 i."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from data.checks import check_boxes
from localizer.backbones import Geometry
from localizer.boxes import find_hills, heatmaps_to_boxes
from localizer.settings import BoxSettings

ALEXNET = Geometry(16, 31)
LARGE = (512, 512)  # holds every cell of the maps here


def find(
    rows: Sequence[Sequence[float]] | Tensor, size: tuple[int, int] = LARGE, **options: Any
) -> tuple[list[list[float]], list[float]]:
    """Boxes and scores at half of the range, unless told otherwise."""
    heatmap = torch.as_tensor(rows, dtype=torch.float32)
    most = {name: options.pop(name) for name in ("max_boxes",) if name in options}
    boxes, _, scores = heatmaps_to_boxes(
        heatmap[None], ALEXNET, size, BoxSettings(**options), **most
    )
    return boxes.tolist(), scores.tolist()


def square(left: int, top: int, right: int, bottom: int) -> list[float]:
    """The box of cells left .. right and top .. bottom, the last ones included."""
    return [23.5 + 16 * left, 23.5 + 16 * top, 39.5 + 16 * right, 39.5 + 16 * bottom]


TWO_REGIONS = [
    [0, 0, 0, 0, 0],
    [0, 9, 0, 0, 6],
    [0, 9, 0, 0, 0],
]


# --- regions --------------------------------------------------------------------------------------


def test_one_hot_cell_gives_its_square() -> None:
    boxes, scores = find([[0, 0, 0], [0, 0, 4]])
    assert boxes == [[55.5, 39.5, 71.5, 55.5]]
    assert scores == [1]


@pytest.mark.parametrize(
    ("rows", "box"),
    [
        ([[0, 0, 9, 0], [0, 9, 9, 0], [0, 0, 0, 0]], square(1, 0, 2, 1)),
        ([[9, 0, 0], [0, 9, 0], [0, 0, 9]], square(0, 0, 2, 2)),  # cells touch at a corner
        ([[9, 9, 9], [9, 0, 9], [9, 9, 9]], square(0, 0, 2, 2)),  # a ring has its hole
    ],
)
def test_a_region_gives_the_union_of_its_squares(rows: list[list[float]], box: list[float]) -> None:
    assert find(rows) == ([box], [1])


def test_regions_apart_give_a_box_each() -> None:
    boxes, scores = find(TWO_REGIONS)
    assert boxes == [square(1, 1, 1, 2), square(4, 1, 4, 1)]
    assert scores == pytest.approx([1, 6 / 9])


def test_extent_bridges_regions_apart() -> None:
    boxes, scores = find(TWO_REGIONS, mode="extent")
    assert boxes == [square(1, 1, 4, 2)]
    assert scores == [1]


# --- thresholds -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "threshold", "box"),
    [
        ([0, 2, 4], 0.5, square(1, 0, 2, 0)),  # a cell exactly at the threshold is hot
        ([0, 2, 4], 0.501, square(2, 0, 2, 0)),
        ([0.1, 0.3, 0.7], 1.0, square(2, 0, 2, 0)),  # the peak
        ([-10, -7, -6], 0.75, square(1, 0, 2, 0)),  # the range begins at the lowest cell, not at 0
    ],
)
def test_a_threshold_is_a_fraction_of_the_range(
    row: list[float], threshold: float, box: list[float]
) -> None:
    assert find([row], thresholds=[threshold]) == ([box], [1])


def test_every_threshold_gives_its_own_boxes() -> None:
    boxes, scores = find([[0, 2, 4]], thresholds=[0.5, 0.9])
    assert boxes == [square(1, 0, 2, 0), square(2, 0, 2, 0)]
    assert scores == [1, 1]


@pytest.mark.parametrize("threshold", [0.0, -0.1, 1.1, float("nan")])
def test_a_threshold_outside_of_the_range_is_refused(threshold: float) -> None:
    says = r"fractions of the range in \(0, 1\], got"
    with pytest.raises(ValueError, match=says):
        find([[0, 1]], thresholds=[0.5, threshold])


# --- what is left out, and the order --------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        ([[-3.0] * 4] * 3, {}),
        ([[0.0] * 4] * 3, {"mode": "extent"}),
        ([[5.0]], {}),
        ([[0, 1]], {"min_cells": 2}),
    ],
    ids=["constant", "constant zero", "one cell", "all too small"],
)
def test_no_boxes_have_their_shape(rows: list[list[float]], options: dict[str, Any]) -> None:
    boxes, _, scores = heatmaps_to_boxes(
        torch.tensor([rows]), ALEXNET, LARGE, BoxSettings(**options)
    )
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


@pytest.mark.parametrize(
    ("mode", "min_cells", "count"),
    [("components", 2, 1), ("components", 3, 0), ("extent", 3, 1), ("extent", 4, 0)],
)
def test_regions_of_fewer_cells_are_dropped(mode: str, min_cells: int, count: int) -> None:
    boxes, scores = find(TWO_REGIONS, mode=mode, min_cells=min_cells)
    assert len(boxes) == len(scores) == count


def test_only_the_best_boxes_are_returned() -> None:
    boxes, scores = find([[6, 0, 8, 0, 7]], max_boxes=2)
    assert boxes == [square(2, 0, 2, 0), square(4, 0, 4, 0)]
    assert scores == pytest.approx([1, 7 / 8])


@pytest.mark.parametrize(
    ("rows", "boxes"),
    [
        ([[7, 7, 7, 0, 8]], [square(4, 0, 4, 0), square(0, 0, 2, 0)]),  # score before area
        (
            [[8, 0, 8, 8, 8, 0, 8, 8]],  # then area, larger first
            [square(2, 0, 4, 0), square(6, 0, 7, 0), square(0, 0, 0, 0)],
        ),
        (
            [[0, 0, 0, 0, 8], [8, 0, 8, 0, 0], [0, 0, 0, 0, 0], [0, 8, 0, 0, 0]],
            [square(4, 0, 4, 0), square(0, 1, 0, 1), square(2, 1, 2, 1), square(1, 3, 1, 3)],
        ),  # then top to bottom, then left to right
    ],
)
def test_the_order_is_complete(rows: list[list[float]], boxes: list[list[float]]) -> None:
    assert find(rows)[0] == boxes


# --- frames ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "geometry", "size", "box"),
    [
        ([[0, 0], [0, 9]], ALEXNET, (50, 45), [39.5, 39.5, 45, 50]),  # the cell ends at 55.5
        ([[9, 0]], Geometry(16, 3), (64, 64), [0, 0, 11.5, 11.5]),  # the cell begins at -4.5
    ],
)
def test_boxes_end_at_the_borders_of_the_image(
    rows: list[list[float]], geometry: Geometry, size: tuple[int, int], box: list[float]
) -> None:
    boxes, _, _ = heatmaps_to_boxes(torch.tensor([rows]).float(), geometry, size, BoxSettings())
    assert boxes.tolist() == [box]


def test_boxes_and_scores_are_float32_on_the_cpu() -> None:
    boxes, _, scores = heatmaps_to_boxes(
        torch.tensor([[[9.0, 0.0]]], dtype=torch.bfloat16, requires_grad=True),
        ALEXNET,
        LARGE,
        BoxSettings(),
    )
    assert boxes.dtype == scores.dtype == torch.float32
    assert not scores.requires_grad


# --- properties -----------------------------------------------------------------------------------

small_maps = st.lists(
    st.lists(st.sampled_from([0, 0, 0, 6, 9]), min_size=4, max_size=4), min_size=3, max_size=3
).map(lambda rows: torch.tensor(rows, dtype=torch.float32))
modes = st.sampled_from(["components", "extent"])
some_thresholds = st.lists(st.floats(0.01, 1), min_size=1, max_size=3)


@given(small_maps, some_thresholds, modes, st.integers(0, 3), st.integers(0, 2))
def test_moving_the_heatmap_by_a_cell_moves_the_boxes_by_a_stride(
    heatmap: Tensor, thresholds: list[float], mode: str, right: int, down: int
) -> None:
    still, moved = torch.zeros(8, 9), torch.zeros(8, 9)
    still[2:5, 2:6] = heatmap
    moved[2 + down : 5 + down, 2 + right : 6 + right] = heatmap
    boxes, scores = find(still, thresholds=thresholds, mode=mode)
    moved_boxes, moved_scores = find(moved, thresholds=thresholds, mode=mode)
    by = [16 * right, 16 * down] * 2
    assert moved_boxes == [[c + b for c, b in zip(box, by, strict=True)] for box in boxes]
    assert moved_scores == scores


@given(small_maps, some_thresholds, modes)
def test_boxes_are_well_formed_and_inside_the_image(
    heatmap: Tensor, thresholds: list[float], mode: str
) -> None:
    boxes, _ = find(heatmap, size=(60, 75), thresholds=thresholds, mode=mode)
    check_boxes(torch.tensor(boxes).reshape(-1, 4), (60, 75))


@given(small_maps, some_thresholds, modes)
def test_scores_fall_from_one_and_are_above_zero(
    heatmap: Tensor, thresholds: list[float], mode: str
) -> None:
    _, scores = find(heatmap, thresholds=thresholds, mode=mode)
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= 1 for score in scores)
    if scores:
        assert scores[0] == 1


@given(small_maps, some_thresholds, modes)
def test_stretching_the_map_changes_nothing(
    heatmap: Tensor, thresholds: list[float], mode: str
) -> None:
    # a power of two keeps every fraction exact
    boxes, scores = find(heatmap, thresholds=thresholds, mode=mode)
    assert find(heatmap * 4, thresholds=thresholds, mode=mode) == (boxes, scores)


@given(small_maps, some_thresholds)
def test_flipping_the_map_flips_the_boxes(heatmap: Tensor, thresholds: list[float]) -> None:
    width = 31.5 + 16 * 3 + 31.5
    boxes, scores = find(heatmap, thresholds=thresholds)
    flipped_boxes, flipped_scores = find(heatmap.flip(1), thresholds=thresholds)
    back = [[width - x2, y1, width - x1, y2] for x1, y1, x2, y2 in flipped_boxes]
    assert sorted(back) == sorted(boxes)
    assert flipped_scores == scores


def test_a_cell_that_is_not_finite_is_refused() -> None:
    heatmap = torch.zeros(3, 3)
    heatmap[1, 1] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        find(heatmap)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="components or extent; got 'extend'"):
        find(torch.eye(3), mode="extend")


# --- several maps ---------------------------------------------------------------------------------


def boxes_of_one(heatmap: Tensor, settings: BoxSettings) -> list[tuple[float, list[int]]]:
    """By the definition, cell by cell: the best four scores and rectangles of cells."""
    low, high = heatmap.min(), heatmap.max()
    found = []
    for threshold in settings.thresholds if high > low else ():
        hot = {(int(y), int(x)) for y, x in (heatmap >= low + threshold * (high - low)).nonzero()}
        while hot:
            region, edge = set(), {min(hot)} if settings.mode == "components" else set(hot)
            while edge:
                y, x = edge.pop()
                region.add((y, x))
                edge |= {(y + j, x + i) for j in (-1, 0, 1) for i in (-1, 0, 1)} & hot - region
            hot -= region
            rows, columns = zip(*region, strict=True)
            box = [min(columns), min(rows), max(columns), max(rows)]
            area = (box[2] - box[0] + 1) * (box[3] - box[1] + 1)
            best = max(float((heatmap[cell] - low) / (high - low)) for cell in region)
            if len(region) >= settings.min_cells:
                found.append((-best, -area, box[1], box[0], box))
    return [(-score, box) for score, *_, box in sorted(found)[:4]]


@pytest.mark.parametrize("mode", ["components", "extent"])
@pytest.mark.parametrize("thresholds", [(0.5,), (0.25, 0.75, 1.0)])
@pytest.mark.parametrize("min_cells", [1, 3])
def test_several_maps_give_the_boxes_of_each_one(
    rng: torch.Generator, mode: Any, thresholds: tuple[float, ...], min_cells: int
) -> None:
    heatmaps = torch.randint(5, (30, 7, 6), generator=rng).float() - 2  # coarse, so many are equal
    heatmaps[[0, 12, 29]] = 1  # constant
    settings = BoxSettings(thresholds, mode, min_cells)
    boxes, maps, scores = heatmaps_to_boxes(heatmaps, ALEXNET, LARGE, settings, max_boxes=4)
    for position, heatmap in enumerate(heatmaps):
        expected = boxes_of_one(heatmap, settings)
        of_map = maps == position
        assert scores[of_map].tolist() == [score for score, _ in expected]
        assert boxes[of_map].tolist() == [square(*box) for _, box in expected]
    assert maps.tolist() == sorted(maps.tolist())


@pytest.mark.parametrize("mode", ["components", "extent"])
def test_no_maps_give_no_boxes(mode: Any) -> None:
    boxes, maps, scores = heatmaps_to_boxes(
        torch.zeros(0, 3, 4), ALEXNET, LARGE, BoxSettings(mode=mode)
    )
    assert (boxes.shape, maps.shape, scores.shape) == ((0, 4), (0,), (0,))


# --- hills ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "hills"),
    [
        ([1.0, 0.5, 0.25], [[1.0, 0.5, 0.25]]),
        ([1.0, 0.5, 0.8], [[1.0, 0.5, 0.0], [0.0, 0.0, 1.0]]),
        ([0.8, 0.5, 1.0], [[0.0, 0.5, 1.0], [1.0, 0.0, 0.0]]),  # the saddle is the higher one's
        ([1.0, 0.7, 0.8], [[1.0, 0.7, 0.8]]),  # 7 / 8 of the lower peak: one hill
        ([1.0, 0.5, 0.8, 0.4, 0.6], [[1, 0.5, 0, 0, 0], [0, 0, 1, 0.5, 0], [0, 0, 0, 0, 1]]),
        ([1.0, 0.09, 0.5], [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),  # the cell between is in none
        ([1.0, 0.05, 0.29], [[1.0, 0.0, 0.0]]),  # too low a peak
    ],
)
def test_a_heatmap_is_cut_at_its_deep_saddles(row: list[float], hills: list[list[float]]) -> None:
    found = find_hills(torch.tensor([row]))

    torch.testing.assert_close(found, torch.tensor(hills)[:, None])


def test_cells_that_touch_by_a_corner_are_of_one_hill_and_a_plateau_is_one() -> None:
    corner = torch.tensor([[1.0, 0.0], [0.0, 0.9]])

    assert find_hills(corner).tolist() == [corner.tolist()]
    assert find_hills(torch.ones(3, 4)).equal(torch.ones(1, 3, 4))


def test_hills_of_a_flipped_heatmap_are_the_hills_flipped(rng: torch.Generator) -> None:
    heatmap = torch.rand(9, 7, generator=rng)
    heatmap /= heatmap.max()

    hills = find_hills(heatmap)

    assert len(hills) > 1
    assert hills.amax(dim=(1, 2)).tolist() == [1] * len(hills)
    assert ((hills > 0).sum(dim=0) <= 1).all()
    assert find_hills(heatmap.flip(1)).flip(2).equal(hills)
