"""Cameras store an image as their sensor lies and note in EXIF how it is turned upright.

Everything behind this module is upright: images, their sizes, boxes.
"""

import torch
from PIL import ExifTags, Image
from torch import Tensor

# By EXIF's number: rows and columns are exchanged, then each row, then each column is reversed.
TURNS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


def orientation_of(image: Image.Image) -> int:
    """EXIF's number of an opened image, 1 for upright or where it has none that can be read.

    Pillow turns TIFF files itself.
    """
    if image.format == "TIFF":
        return 1
    try:
        exif = Image.Image.getexif(image)  # that of PNG decodes all pixels to look behind them
        orientation = exif.get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged block of metadata ends in errors of many kinds
        return 1
    return orientation if orientation in TURNS else 1


def turn_image(image: Tensor, orientation: int) -> Tensor:
    """``[..., H, W]`` as stored to upright ``[..., H', W']``."""
    exchanged, rows, columns = TURNS[orientation]
    turned = image.transpose(-2, -1) if exchanged else image
    axes = [axis for axis, reverse in ((-1, rows), (-2, columns)) if reverse]
    return turned.flip(axes) if axes else turned


def turn_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """(height, width) as stored to upright."""
    return size[::-1] if TURNS[orientation][0] else size


def turn_boxes(boxes: Tensor, size: tuple[int, int], orientation: int) -> Tensor:
    """Boxes in pixels as stored to boxes in pixels of the upright image.

    Args:
        boxes: ``[R, 4]``; R may be 0.
        size: (height, width) as stored.
        orientation: a key of ``TURNS``.
    """
    exchanged, rows, columns = TURNS[orientation]
    x, y = boxes[:, 0::2], boxes[:, 1::2]  # [R, 2] each: from, to
    if exchanged:
        x, y = y, x
    height, width = turn_size(size, orientation)
    if rows:
        x = (width - x).flip(1)
    if columns:
        y = (height - y).flip(1)
    return torch.stack([x, y], dim=2).flatten(1)
