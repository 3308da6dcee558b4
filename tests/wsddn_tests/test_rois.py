"""Rois take the cells that they cover: by hand, by a bright cell, and on every backbone."""

import pytest
import torch
from torch import Tensor

from localizer.backbones import BACKBONES, Geometry
from wsddn.rois import MOST_CELLS, pool_by_tables, pool_cells, roi_cells, unique_cells

PLAIN = Geometry(stride=16, offset=7.5)  # squares [0, 16), [16, 32), ...


@pytest.mark.parametrize(
    ("roi", "cells"),
    [
        ([0.0, 0.0, 16.0, 16.0], [0, 0, 0, 0]),  # half-open: the next square is not touched
        ([0.0, 0.0, 16.5, 16.0], [0, 0, 1, 0]),
        ([15.9, 16.0, 48.0, 33.0], [0, 1, 2, 2]),
        ([0.0, 0.0, 160.0, 64.0], [0, 0, 9, 3]),
    ],
)
def test_a_roi_takes_the_cells_whose_squares_it_overlaps(
    roi: list[float], cells: list[int]
) -> None:
    assert roi_cells(torch.tensor([roi]), PLAIN, (4, 10)).tolist() == [cells]


@pytest.mark.parametrize(("pixel", "cell"), [(8, 0), (464, 28), (0, 0), (475, 28)])
def test_a_shifted_map_shifts_the_cells_and_its_frame_takes_the_nearest(
    pixel: int, cell: int
) -> None:
    alexnet = BACKBONES["alexnet"].geometry  # squares begin at 7.5 and end at 471.5
    roi = torch.tensor([[pixel, pixel, pixel + 5, pixel + 5]])
    assert roi_cells(roi, alexnet, (29, 29)).tolist() == [[cell] * 4]


@pytest.mark.parametrize("name", ["alexnet", "squeezenet1_1", "vgg16", "resnet18"])
def test_no_box_inside_of_the_image_is_without_features(name: str, rng: torch.Generator) -> None:
    backbone = BACKBONES[name]
    size = 480
    with torch.inference_mode():
        map_size = backbone.build().eval()(torch.zeros(1, 3, size, size)).shape[2:]
    corner = torch.rand(500, 2, generator=rng) * (size - 20)
    rois = torch.cat([corner, corner + 20], dim=1)
    cells = roi_cells(rois, backbone.geometry, (map_size[0], map_size[1]))

    pooled = pool_cells(torch.ones(1, 2, *map_size), cells, 6)

    assert pooled.shape == (500, 2, 6, 6)
    assert (pooled == 1).all()


def test_the_roi_around_a_bright_cell_sees_it_and_its_neighbor_does_not() -> None:
    for column in range(10):
        features = torch.zeros(1, 1, 4, 10)
        features[0, 0, 1, column] = 1
        left = 16.0 * column
        rois = torch.tensor([[left, 16, left + 16, 32], [left, 32, left + 16, 48]])

        pooled = pool_cells(features, roi_cells(rois, PLAIN, (4, 10)), 3)

        assert (pooled[0] == 1).all()
        assert (pooled[1] == 0).all()


def slow_maxima(features: Tensor, cells: list[int], size: int) -> Tensor:
    """Bins by hand: bin k of n cells takes cells floor(k n / size) to ceil((k + 1) n / size)."""
    x1, y1, x2, y2 = cells
    result = torch.empty(features.shape[1], size, size)
    for row in range(size):
        for column in range(size):
            height, width = y2 - y1 + 1, x2 - x1 + 1
            top, bottom = row * height // size, -(-(row + 1) * height // size)
            left, right = column * width // size, -(-(column + 1) * width // size)
            region = features[0, :, y1 + top : y1 + bottom, x1 + left : x1 + right]
            result[:, row, column] = region.amax(dim=(1, 2))
    return result


def test_pooling_equals_maxima_by_hand(rng: torch.Generator) -> None:
    features = torch.randn(1, 3, 12, 17, generator=rng)
    corner = torch.rand(40, 2, generator=rng) * torch.tensor([200.0, 150.0])
    rois = torch.cat([corner, corner + 10 + torch.rand(40, 2, generator=rng) * 60], dim=1)
    cells = roi_cells(rois, PLAIN, (12, 17))

    pooled = pool_cells(features, cells, 4)

    for row, maxima in zip(cells.tolist(), pooled, strict=True):
        torch.testing.assert_close(maxima, slow_maxima(features, row, 4), rtol=0, atol=0)


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7])
@pytest.mark.parametrize("map_size", [(1, 1), (2, 31), (43, 50)])
def test_tables_of_maxima_pool_as_the_operator_does(
    map_size: tuple[int, int], size: int, rng: torch.Generator
) -> None:
    features = torch.randn(1, 3, *map_size, generator=rng)
    frame = torch.tensor(map_size[::-1])
    corners = (torch.rand(2, 500, 2, generator=rng) * frame).long()
    cells = torch.cat([corners.amin(dim=0), corners.amax(dim=0)], dim=1)

    pooled = pool_by_tables(features, cells, size)

    assert pooled.equal(pool_cells(features, cells, size))


def test_tables_hold_no_larger_bins_than_they_say() -> None:
    rows = torch.zeros(1, 1, 2 * MOST_CELLS, 1)
    cells = torch.tensor([[0, 0, 0, MOST_CELLS - 1], [0, 0, 0, 2 * MOST_CELLS - 1]])
    pooled = pool_by_tables(rows, cells, 3)
    assert (pooled[0] == 0).all()
    assert pooled[1].isnan().all()


def test_half_precision_features_are_pooled_as_float32(rng: torch.Generator) -> None:
    features = torch.randn(1, 3, 4, 10, generator=rng).bfloat16()
    cells = torch.tensor([[0, 0, 9, 3], [2, 1, 4, 1], [7, 3, 7, 3]])

    pooled = pool_cells(features, cells, 3)

    assert pooled.dtype == torch.float32
    assert pooled.equal(pool_cells(features.float(), cells, 3))


def test_equal_cells_are_pooled_once_and_found_again() -> None:
    rois = torch.tensor([[0.0, 0, 30, 30], [40.0, 0, 60, 20], [1.0, 2, 31, 29]])
    cells = roi_cells(rois, PLAIN, (4, 10))

    different, index = unique_cells(cells)

    assert len(different) == 2
    assert different[index].equal(cells)


def test_different_cells_are_in_the_order_of_their_columns_and_rows(rng: torch.Generator) -> None:
    cells = torch.randint(0, 2**15, (3, 4), generator=rng).repeat(4, 1)
    cells = torch.cat([cells, torch.randint(0, 3, (300, 4), generator=rng)])

    found = unique_cells(cells)

    expected = torch.unique(cells, dim=0, return_inverse=True)
    assert all(a.equal(b) for a, b in zip(found, expected, strict=True))


def test_no_rois_have_no_features() -> None:
    cells = roi_cells(torch.zeros(0, 4), PLAIN, (4, 10))

    assert cells.shape == (0, 4)
    assert pool_cells(torch.zeros(1, 2, 4, 10), cells, 3).shape == (0, 2, 3, 3)
    assert pool_by_tables(torch.zeros(1, 2, 4, 10), cells, 3).shape == (0, 2, 3, 3)
    assert [part.shape[0] for part in unique_cells(cells)] == [0, 0]
