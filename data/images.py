"""Images from disk: every file becomes ``[3, H, W]`` uint8 RGB, or is refused by name."""

import importlib.util
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, features
from torch import Tensor

from data.bands import band_count, band_size, read_bands
from data.orientation import orientation_of, turn_image, turn_size

# Pillow reads forty formats, some with rarely used decoders; these are the formats of photographs.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")

MAX_PIXELS = 250_000_000  # 750 MB decoded; cameras write up to 200 million
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit is below that


class TooManyPixelsError(ValueError):
    """An image above the limit: a decompression bomb, or one that needs tiles."""


@cache
def optional_formats() -> dict[str, str]:
    """Formats of phones that can be read here, by the endings of their files.

    AVIF by most builds of Pillow, HEIF with the extra ``heif``.
    """
    formats = {".avif": "AVIF"} if features.check("avif") else {}
    if importlib.util.find_spec("pillow_heif"):
        importlib.import_module("pillow_heif").register_heif_opener()
        formats |= {".heic": "HEIF", ".heif": "HEIF"}
    return formats


def read_image(
    path: Path,
    *,
    size: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
    channels: int = 3,
) -> Tensor:
    """Decode one image, turned upright as its EXIF orientation says.

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
        ValueError: not a regular file, empty, truncated, not an image in one of ``FORMATS`` or
            ``optional_formats``, above ``max_pixels``, of another size, or with fewer channels;
            names the file.
    """
    if bands := band_count(path):
        pixels = read_bands(path, max_pixels=max_pixels)
    else:
        with _opened(path, max_pixels) as image:
            orientation = orientation_of(image)
            pixels = turn_image(torch.from_numpy(_to_rgb(image)).permute(2, 0, 1), orientation)
    if len(pixels) < channels:
        raise ValueError(
            f"{path}: has {bands or 3} channels of {channels} that the backbone takes (a 16-bit "
            "TIFF file may have more)"
        )
    if size is not None and tuple(pixels.shape[1:]) != size:
        raise ValueError(f"{path}: {describe_other_size(pixels.shape[1:], size)}")
    return pixels[:channels]


def read_image_size(path: Path) -> tuple[int, int]:
    """(height, width) of the upright image; raises as ``read_stored_size`` does."""
    return turn_size(*read_stored_size(path))


def read_stored_size(path: Path) -> tuple[tuple[int, int], int]:
    """(height, width) as stored, and a key of ``data.orientation.TURNS``.

    From the head of the file; what follows may still be damaged.

    Raises:
        FileNotFoundError: no such file.
        ValueError: what ``read_image`` refuses, as far as the head shows it.
    """
    if band_count(path):
        return band_size(path), 1
    with _opened(path) as image:
        return (image.height, image.width), orientation_of(image)


def gray_range(path: Path) -> float:
    """Fraction of the 16-bit range that the values of a gray image take; 1 for other images.

    A camera of 12 bits, or one of heat, uses little of it: scaled to 8 bits, its image is nearly
    black or nearly one gray.

    Raises:
        FileNotFoundError: no such file.
        ValueError: what ``read_image`` refuses.
    """
    with _opened(path) as image:
        if not image.mode.startswith("I"):
            return 1.0
        values = np.asarray(image)
    return (int(values.max()) - int(values.min())) / 65535


def describe_other_size(upright: Sequence[int], annotated: Sequence[int]) -> str:
    """Error text for an upright image of another size than its annotation's; (height, width)."""
    (height, width), (annotated_height, annotated_width) = upright, annotated
    return (
        f"the image is {width}x{height}, its annotation says {annotated_width}x{annotated_height}"
    )


@contextmanager
def _opened(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such image")
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{path}: not a regular file")
    formats = (*FORMATS, *optional_formats().values())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # unusual metadata is no error
            with Image.open(path, formats=formats) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise TooManyPixelsError(
                        f"{width}x{height} pixels, at most {max_pixels} are accepted (make the "
                        "image smaller, or cut it into tiles)"
                    )
                yield image
    except TooManyPixelsError as error:
        raise TooManyPixelsError(f"{path}: {error}") from None
    except (OSError, ValueError, SyntaxError) as error:
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
