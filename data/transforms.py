"""Images between disk and network: resizing, normalizing. All sizes are (height, width)."""

from typing import Literal

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

ResizeMode = Literal["longest_side", "shortest_side", "square"]

MOST_ELONGATED = 5 / 3  # longest side of an image, as a multiple of the size of its shortest


def resize_image(image: Tensor, size: int, mode: ResizeMode) -> tuple[Tensor, Tensor]:
    """Bilinear with antialiasing, on uint8.

    Args:
        image: ``[K, H, W]`` uint8.
        size: pixels of the longest or the shortest side, or of both for ``square``.
        mode: ``longest_side`` and ``shortest_side`` keep the proportions, ``square`` does
            not. With ``shortest_side`` the longest is at most 5/3 of the size: 600 and 1000 pixels
            in Girshick, "Fast R-CNN", 2015.

    Returns:
        The image, and ``scale_xy`` ``[2]`` float64: boxes of the original are multiplied by
        ``scale_xy.repeat(2)``. It is the *actual* ratio of each axis after rounding.
    """
    if size < 1:
        raise ValueError(f"size is at least one pixel, got {size}")
    height, width = image.shape[-2:]
    if mode == "square":
        new_height, new_width = size, size
    else:
        ratio = size / max(height, width)
        if mode == "shortest_side":
            ratio = min(size / min(height, width), ratio * MOST_ELONGATED)
        new_height = max(1, round(height * ratio))
        new_width = max(1, round(width * ratio))
    scale_xy = torch.tensor([new_width / width, new_height / height], dtype=torch.float64)
    return F.resize(image, [new_height, new_width], antialias=True), scale_xy


def flip_boxes(boxes: Tensor, width: float) -> Tensor:
    """Boxes ``[R, 4]`` of an image of that width, in the flipped image."""
    x1, y1, x2, y2 = boxes.unbind(dim=1)
    return torch.stack([width - x2, y1, width - x1, y2], dim=1)


def normalize_images(
    images: Tensor,
    sizes: Tensor,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Tensor:
    """Bytes to the input of a network; padding becomes exact zeros.

    Args:
        images: ``[B, K, H, W]`` uint8, padded right and bottom.
        sizes: ``[B, 2]`` (height, width) of what is not padding; on the CPU, where looking at
            them waits for no device.
        mean: of each of the K channels, in 0 .. 1.
        std: of each channel, in 0 .. 1.

    Returns:
        ``[B, K, H, W]`` float32 on the device of ``images``.
    """
    shift, spread = (
        move_early(torch.tensor(values, dtype=torch.float32), images).view(-1, 1, 1) * 255
        for values in (mean, std)
    )
    normalized = (images.float() - shift) / spread
    height, width = images.shape[-2:]
    if all(size == [height, width] for size in sizes.tolist()):
        return normalized
    sizes = move_early(sizes, images)
    rows = torch.arange(height, device=images.device) < sizes[:, :1]  # [B, H]
    columns = torch.arange(width, device=images.device) < sizes[:, 1:]  # [B, W]
    return normalized * (rows[:, None, :, None] & columns[:, None, None, :])


def move_early(tensor: Tensor, like: Tensor) -> Tensor:
    """A tensor where another one is; a copy from the CPU to CUDA does not wait for its work."""
    return tensor.to(like.device, non_blocking=like.is_cuda)
