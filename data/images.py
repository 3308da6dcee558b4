"""Images from disk: every file becomes ``[3, H, W]`` uint8 RGB, or is refused by name."""

import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data.bands import band_count, band_size, read_bands

# Pillow reads forty formats, some with rarely used decoders; these are the formats of photographs.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")

MAX_PIXELS = 100_000_000  # 300 MB decoded; a larger one is a decompression bomb or needs tiles


def read_image(
    path: Path,
    *,
    size: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
    channels: int = 3,
) -> Tensor:
    """Decode one image as it is stored; an EXIF rotation is not applied.

    Annotations are in pixels as stored, so a rotated image would no longer fit its boxes.
    Gray and palette images get three channels, transparency is laid on white, 16-bit gray is
    scaled to 8 bit. A TIFF file of more bands has more channels, see ``data.bands``.

    Args:
        path: of the file.
        size: (height, width) in its annotation; None where there is none to compare with.
        max_pixels: largest number of pixels.
        channels: how many of them, the first ones.

    Returns:
        ``[channels, H, W]`` uint8; the first three are RGB.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a regular file, empty, truncated, not an image in one of ``FORMATS``,
            above ``max_pixels``, of another size, or with fewer channels; names the file.
    """
    if bands := band_count(path):
        pixels = read_bands(path, max_pixels=max_pixels)
    else:
        with _opened(path, max_pixels) as image:
            pixels = torch.from_numpy(_to_rgb(image)).permute(2, 0, 1)
    if len(pixels) < channels:
        raise ValueError(
            f"{path}: has {bands or 3} channels of {channels} that the backbone takes (a 16-bit "
            "TIFF file may have more)"
        )
    if size is not None and tuple(pixels.shape[1:]) != size:
        raise ValueError(f"{path}: {describe_other_size(pixels.shape[1:], size)}")
    return pixels[:channels]


def read_image_size(path: Path) -> tuple[int, int]:
    """(height, width) as stored, from the head of the file; what follows may still be damaged.

    Raises:
        FileNotFoundError: no such file.
        ValueError: what ``read_image`` refuses, as far as the head shows it.
    """
    if band_count(path):
        return band_size(path)
    with _opened(path) as image:
        return image.height, image.width


def describe_other_size(stored: Sequence[int], annotated: Sequence[int]) -> str:
    """Error text for an image whose size is not its annotation's; both (height, width)."""
    (height, width), (annotated_height, annotated_width) = stored, annotated
    return (
        f"the image is {width}x{height}, its annotation says {annotated_width}x{annotated_height}"
    )


@contextmanager
def _opened(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such image")
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{path}: not a regular file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # unusual metadata is no error
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise ValueError(f"{width}x{height} pixels, at most {max_pixels} are accepted")
                yield image
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: the image does not decode ({error})") from error


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode == "F" or image.mode.startswith("I"):  # PIL would clip these to white
        return _scale_to_8_bit(np.asarray(image))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layered = image.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        image = Image.alpha_composite(white, layered)
    return np.array(image.convert("RGB"))


def _scale_to_8_bit(gray: np.ndarray) -> np.ndarray:
    if gray.dtype.kind == "f" or gray.min() < 0 or gray.max() > 65535:
        raise ValueError(f"gray values of type {gray.dtype} that are not 16-bit")
    return np.repeat(np.round(gray / 257).astype(np.uint8)[..., None], 3, axis=2)
