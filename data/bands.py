"""TIFF files of four or more bands of 16 bit, as satellites give them: red, green, blue, near
infrared.

Pillow drops the fourth band of such a file, and OpenCV reads some of them as gray.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

SUFFIXES = (".tif", ".tiff")
FULL = math.sqrt(65535)
MOST_VALUES = 4  # of a pixel, on average, in the largest image


def band_count(path: Path) -> int:
    """Number of bands of a file of this kind; 0 of any other file, or one that is no file."""
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        return 0
    try:
        with _opened(path) as file:
            page = file.pages.first
            is_banded = page.samplesperpixel > 3 and page.dtype == np.uint16
            return int(page.samplesperpixel) if is_banded else 0
    except Exception:  # struct, zlib and index errors of many kinds: Pillow says what is wrong
        return 0


def band_size(path: Path) -> tuple[int, int]:
    """(height, width) of a file for which ``band_count`` is not 0."""
    with _opened(path) as file:
        page = file.pages.first
        return int(page.imagelength), int(page.imagewidth)


def read_bands(path: Path, *, max_pixels: int) -> Tensor:
    """Every band of a file for which ``band_count`` is not 0.

    Args:
        path: of the file.
        max_pixels: largest number of pixels; of more than four bands accordingly fewer.

    Returns:
        ``[K, H, W]`` uint8: the square root of each value, scaled so that 65535 becomes 255.
        Sensors leave most of their range empty (vegetation lies near a tenth of it); the root
        keeps dark tiles apart, clips nothing, and is the same for every file.

    Raises:
        ValueError: the file does not decode, or is above ``max_pixels``; names it.
    """
    try:
        (height, width), bands = band_size(path), band_count(path)
        if height * width * max(1, bands / MOST_VALUES) > max_pixels:
            raise ValueError(
                f"{width}x{height} pixels of {bands} bands, at most {max_pixels} pixels of "
                f"{MOST_VALUES} are accepted"
            )
        with _opened(path) as file:
            page = file.pages.first
            values = page.asarray()
            if page.axes == "YXS":
                values = values.transpose(2, 0, 1)
    except Exception as error:  # struct, zlib and index errors of many kinds
        raise ValueError(f"{path}: the image does not decode ({error})") from error
    scaled = np.sqrt(values, dtype=np.float32) * (255 / FULL)
    return torch.from_numpy(np.round(scaled).astype(np.uint8))


def _opened(path: Path) -> Any:
    import tifffile  # takes a tenth of a second, which few data sets need

    return tifffile.TiffFile(path)
