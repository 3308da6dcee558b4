"""Which cells of a backbone's map a proposal covers, and their features pooled to one size.

A cell's square lies where ``localizer.backbones.Geometry`` says. Pooling at 1/16 of the coordinates
takes cells up to one and a half strides too far right and below, and on AlexNet's short maps none
at all for boxes at the right and at the bottom.
"""

import math
from functools import reduce
from itertools import product

import torch
from torch import Tensor
from torchvision.ops import roi_pool

from localizer.backbones import Geometry

CELL_BITS = 15  # of the number of a row or a column of a map; four of them are one int64
MOST_CELLS = 256  # in a row or a column of a map that ``pool_by_tables`` pools


def roi_cells(rois: Tensor, geometry: Geometry, map_size: tuple[int, int]) -> Tensor:
    """First and last cell whose squares a roi overlaps, both included.

    A roi in the frame that no cell covers takes the nearest cells, so none is empty.

    Args:
        rois: ``[R, 4]`` in pixels of the network image, half-open.
        geometry: of the map.
        map_size: (h, w) of the map.

    Returns:
        ``[R, 4]`` int64: column and row of the first, then of the last cell.
    """
    cells = (rois.double() - geometry.start) / geometry.stride
    first, last = cells[:, :2].floor(), cells[:, 2:].ceil() - 1
    ends = torch.tensor([map_size[1] - 1, map_size[0] - 1], device=rois.device).repeat(2)
    return torch.cat([first, last], dim=1).long().clamp(min=torch.zeros_like(ends), max=ends)


def unique_cells(cells: Tensor) -> tuple[Tensor, Tensor]:
    """Rois that cover the same cells have the same features: one of each is enough.

    Args:
        cells: ``[R, 4]`` of ``roi_cells``.

    Returns:
        The different rows ``[U, 4]``, and which of them each roi has ``[R]``. In a graph that is
        exported, where numbers of rows depend on those of the inputs alone, each roi has its own.
    """
    if torch.compiler.is_exporting():
        return cells, torch.arange(cells.shape[0], device=cells.device)
    shifts = torch.arange(3, -1, -1, device=cells.device) * CELL_BITS
    # one number a row: a tenth of the time that rows take
    numbers, index = torch.unique((cells << shifts).sum(dim=1), return_inverse=True)
    return (numbers[:, None] >> shifts) & (2**CELL_BITS - 1), index


def pool_cells(features: Tensor, cells: Tensor, pool_size: int) -> Tensor:
    """Maxima of a grid of bins over each roi's cells.

    Args:
        features: ``[1, K, h, w]`` of one image.
        cells: ``[R, 4]`` of ``roi_cells``.
        pool_size: bins in a row and in a column.

    Returns:
        ``[R, K, pool_size, pool_size]`` float32; bins of a small roi share cells.
    """
    # at scale 1 the operator has nothing to round; on a CPU it does not take bfloat16
    maps = features.float()
    if torch.compiler.is_exporting():
        return pool_by_tables(maps, cells, pool_size)
    pooled: Tensor = roi_pool(maps, [cells.to(maps.dtype)], pool_size, spatial_scale=1.0)
    return pooled


def pool_by_tables(features: Tensor, cells: Tensor, pool_size: int) -> Tensor:
    """``pool_cells`` of operators that every runtime has, for a graph that is exported.

    Tables hold the maxima of windows of 1, 2, 4, 8 ... cells in height and in width. Two windows
    cover the rows of a bin and two its columns, so its maximum is that of four entries.

    Args:
        features: ``[1, K, h, w]`` float32.
        cells: ``[R, 4]`` of ``roi_cells``.
        pool_size: bins in a row and in a column.

    Returns:
        ``[R, K, pool_size, pool_size]``, equal to ``pool_cells``; not-a-number in a bin that is
        larger than two of the largest windows, which takes a map of more than ``MOST_CELLS``.
    """
    maps = features[0].permute(1, 2, 0)  # [h, w, K]
    height, width = maps.shape[:2]
    levels = math.ceil(math.log2(MOST_CELLS / pool_size + 2))
    tables = [
        table for rows in _maxima(maps, 0, levels) for table in _maxima(rows, 1, levels)
    ]  # by window height, then width
    entries = torch.stack(tables).flatten(0, 2)  # [levels * levels * h * w, K]
    first, stop = _bins(cells, pool_size)  # [R, 2, P] each, columns and rows
    stop = torch.minimum(stop, torch.tensor([[width], [height]], device=cells.device))
    windows = 2 ** torch.arange(levels, device=cells.device)
    level = ((stop - first)[..., None] >= windows).sum(dim=-1) - 1
    starts = first, stop - windows[level]
    table = level[:, 1, :, None] * levels + level[:, 0, None, :]  # [R, P, P]
    corners = (
        entries[(table * height + rows[:, 1, :, None]) * width + columns[:, 0, None, :]]
        for rows, columns in product(starts, starts)
    )
    pooled = reduce(torch.maximum, corners)  # [R, P, P, K]
    large = stop - first > 2**levels
    missing = large[:, 1, :, None] | large[:, 0, None, :]
    return pooled.masked_fill(missing[..., None], torch.nan).permute(0, 3, 1, 2)


def _maxima(maps: Tensor, axis: int, levels: int) -> list[Tensor]:
    """Maxima of 1, 2, 4, 8 ... cells from each cell on; fewer at the end of the map."""
    count = maps.shape[axis]
    tables = [maps]
    for level in range(levels - 1):
        later = (torch.arange(count, device=maps.device) + 2**level).clamp(max=count - 1)
        tables.append(torch.maximum(tables[-1], tables[-1].index_select(axis, later)))
    return tables


def _bins(cells: Tensor, pool_size: int) -> tuple[Tensor, Tensor]:
    """First cell and the one behind the last of each bin, ``[R, 2, pool_size]``: columns, rows.

    Rounded as the operator does, in float32.
    """
    first = cells[:, :2, None]
    extent = (cells[:, 2:, None] - first + 1).float()
    side = extent / torch.full_like(extent, pool_size)  # of tensors: a GPU rounds it as a CPU does
    bins = torch.arange(pool_size, device=cells.device)
    return first + (bins * side).floor().long(), first + ((bins + 1) * side).ceil().long()
