"""Heatmaps in their image: flipping, rendering to pixels, the position of the peak."""

import torch
import torch.nn.functional as F
from torch import Tensor

from localizer.backbones import Geometry


def flip_heatmaps(heatmaps: Tensor, geometry: Geometry, width: float, columns: int) -> Tensor:
    """Heatmaps of a flipped image, turned back to the cells of the upright one.

    The cells of the two do not coincide unless the geometry is symmetric in that width, so the
    values are interpolated between the nearest columns.

    Args:
        heatmaps: ``[C, h, w]`` of the image flipped left to right.
        geometry: of both maps.
        width: of the network image, in pixels.
        columns: w of the upright map.

    Returns:
        ``[C, h, columns]``.
    """
    centers = geometry.edges(columns)[:-1] + geometry.stride / 2
    source = (width - centers - geometry.offset - 0.5) / geometry.stride  # in columns
    source = source.clamp(0, heatmaps.shape[2] - 1).to(heatmaps.device)
    left = source.floor().long().clamp(max=max(heatmaps.shape[2] - 2, 0))
    right = (left + 1).clamp(max=heatmaps.shape[2] - 1)
    fraction = (source - left).to(heatmaps.dtype)
    return heatmaps[:, :, left] * (1 - fraction) + heatmaps[:, :, right] * fraction


def normalize_range(heatmap: Tensor) -> Tensor:
    """One map ``[h, w]`` to 0 .. 1 over its own range; a constant map gives zeros."""
    low, high = heatmap.min(), heatmap.max()
    if not high > low:
        return torch.zeros_like(heatmap)
    return (heatmap - low) / (high - low)


def render_heatmap(
    heatmap: Tensor, geometry: Geometry, network_size: tuple[int, int], image_size: tuple[int, int]
) -> Tensor:
    """Values for every pixel of the original image, bilinear between cell centers.

    Args:
        heatmap: ``[h, w]``.
        geometry: of the map, in the network image.
        network_size: (height, width) of the network image without padding.
        image_size: (height, width) of the original.

    Returns:
        ``[H, W]`` float32. Pixels outside of every cell's square are not-a-number: a frame that
        no cell sees.
    """
    coordinates, covered = [], []
    for cells, network, original in zip(heatmap.shape, network_size, image_size, strict=True):
        pixels = (torch.arange(original) + 0.5) * (network / original)
        edges = geometry.edges(cells)
        covered.append((pixels >= edges[0]) & (pixels < edges[-1]))
        cell = (pixels - geometry.offset - 0.5) / geometry.stride
        coordinates.append((2 * cell + 1) / cells - 1)  # grid_sample's frame: cell edges at -1, 1
    grid = torch.stack(torch.meshgrid(*coordinates, indexing="ij")[::-1], dim=-1)
    rendered = F.grid_sample(
        heatmap[None, None].float(), grid[None], padding_mode="border", align_corners=False
    )[0, 0]
    rendered[~(covered[0][:, None] & covered[1][None])] = torch.nan
    return rendered


def peak_point(heatmap: Tensor, geometry: Geometry) -> tuple[float, float]:
    """(x, y) of the highest cell's center, in pixels of the network image; the first on ties."""
    row, column = divmod(int(heatmap.argmax()), heatmap.shape[1])
    half = geometry.offset + 0.5
    return half + geometry.stride * column, half + geometry.stride * row
