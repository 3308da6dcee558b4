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

# Pillow reads forty formats, some through helpers of doubtful care; these are photographs.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")

MAX_PIXELS = 100_000_000  # 300 MB decoded; larger is a bomb or a scan that wants tiling


def read_image(path: Path) -> Tensor:
    """Decode one image as it is stored; an EXIF rotation is not applied.

    Annotations are in pixels as stored, so turning the image would part it from its boxes.
    Gray and palette images get three channels, transparency is laid on white, 16-bit gray is
    scaled to 8 bit.

    Returns:
        ``[3, H, W]`` uint8 RGB.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a regular file, empty, truncated, not an image in one of ``FORMATS``, or
            above ``MAX_PIXELS``; names the file.
    """
    with _opened(path) as image:
        pixels = _to_rgb(image)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def read_image_size(path: Path) -> tuple[int, int]:
    """(height, width) as stored, from the head of the file; what follows may still be damaged.

    Raises:
        FileNotFoundError: no such file.
        ValueError: what ``read_image`` refuses, as far as the head shows it.
    """
    with _opened(path) as image:
        return image.height, image.width


def describe_other_size(found: Sequence[int], annotated: Sequence[int]) -> str:
    """Words for an image of another size than its annotation says; both (height, width)."""
    (height, width), (annotated_height, annotated_width) = found, annotated
    return (
        f"the image is {width}x{height}, its annotation says {annotated_width}x{annotated_height}"
    )


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such image")
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{path}: not a regular file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata is no reason to stop
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise ValueError(f"{width}x{height} pixels, at most {MAX_PIXELS} are accepted")
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
