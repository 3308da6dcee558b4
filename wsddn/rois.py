"""Which cells of a backbone's map a proposal covers, and their features pooled to one size.

A cell's square lies where ``localizer.backbones.Geometry`` says. Pooling at 1/16 of the coordinates
takes cells up to one and a half strides too far right and below, and on AlexNet's short maps none
at all for boxes at the right and at the bottom.
"""

import torch
from torch import Tensor
from torchvision.ops import roi_pool

from localizer.backbones import Geometry


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
        The different rows ``[U, 4]``, and which of them each roi has ``[R]``.
    """
    different, index = torch.unique(cells, dim=0, return_inverse=True)
    return different, index


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
    pooled: Tensor = roi_pool(maps, [cells.to(maps.dtype)], pool_size, spatial_scale=1.0)
    return pooled
