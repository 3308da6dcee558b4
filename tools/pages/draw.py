"""Drawn images: heatmaps, boxes, captions, sheets. All are ``[3, H, W]`` uint8 RGB."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ImageColor
from torch import Tensor
from torchvision.utils import draw_bounding_boxes

from data.types import Detections
from localizer.heatmaps import normalize_range, render_heatmap
from localizer.localize import ImageHeatmaps
from tools.files.atomic import write_atomically
from tools.loggers.colors import CLASS_COLORS

TRUTH, DETECTION = "lime", "magenta"
FONT, TEXT_SCALE, WHITE, GROUND = cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255,) * 3, 32
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 85, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
OPACITY = 0.5  # of a heatmap over the image

DASH = 6  # pixels of a dash and of the gap behind it

Pixels = NDArray[Any]  # [H, W, 3] uint8
Place = tuple[int, int, int, int]  # left, top, right, bottom of a text


def overlay_heatmap(image: Tensor, heatmaps: ImageHeatmaps, label: int) -> Tensor:
    """The heatmap of one class over an image, from its lowest (blue) to its highest cell (red).

    The frame that no cell covers keeps the image's colors.
    """
    rendered = render_heatmap(
        normalize_range(heatmaps.logits[label]),
        heatmaps.geometry,
        heatmaps.network_size,
        heatmaps.image_size,
    )
    covered = torch.isfinite(rendered)
    bytes_ = (rendered.nan_to_num() * 255).round().to(torch.uint8).numpy()
    heatmap = _image_of(cv2.applyColorMap(bytes_, cv2.COLORMAP_TURBO)[:, :, ::-1])  # BGR to RGB
    mixed = (image.float() * (1 - OPACITY) + heatmap.float() * OPACITY).round().to(torch.uint8)
    return torch.where(covered, mixed, image)


def draw_boxes(
    image: Tensor,
    boxes: Tensor,
    color: str | Sequence[str],
    texts: Sequence[str] = (),
    *,
    dashed: bool = False,
) -> Tensor:
    """The image with outlines of ``[R, 4]`` half-open boxes, each with its text if given.

    Without boxes it is the same image. A text that would cover an earlier one is moved down, where
    there is room.

    Args:
        image: the image.
        boxes: in its pixels.
        color: of all boxes, or of each; with its own color a box has it behind its text, too.
        texts: one a box, or none.
        dashed: leave gaps in the outlines.

    Raises:
        ValueError: another number of texts or colors than of boxes.
    """
    if not len(boxes):
        return image
    colors = [color] * len(boxes) if isinstance(color, str) else list(color)
    closed = boxes.round() - torch.tensor([0.0, 0.0, 1.0, 1.0])  # drawing includes the last pixel
    drawn: Tensor = draw_bounding_boxes(
        image,
        torch.maximum(closed, closed[:, [0, 1, 0, 1]]),
        colors=colors,
        width=max(2, image.shape[2] // 200),
    )
    if dashed:
        height, width = image.shape[1:]
        diagonal = torch.arange(height)[:, None] + torch.arange(width)
        drawn = torch.where(diagonal // DASH % 2 == 0, drawn, image)
    taken: list[Place] = []
    corners = closed[:, :2].int().tolist()
    for text, of_box, (x1, y1) in zip(texts, colors, corners, strict=bool(texts)):
        ground = (GROUND,) * 3 if isinstance(color, str) else ImageColor.getrgb(of_box)[:3]
        drawn = _write(drawn, text, (x1, y1), ground, taken)
    return drawn


def draw_detections(image: Tensor, detections: Detections, classes: Sequence[str]) -> Tensor:
    """The image with the outline of each detection in its class's color, its class and score."""
    texts = [
        f"{classes[label]} {score:.2f}"
        for label, score in zip(detections.labels.tolist(), detections.scores.tolist(), strict=True)
    ]
    colors = [CLASS_COLORS[label % len(CLASS_COLORS)] for label in detections.labels.tolist()]
    return draw_boxes(image, detections.boxes, colors, texts)


def _write(
    image: Tensor, text: str, corner: tuple[int, int], ground: tuple[int, ...], taken: list[Place]
) -> Tensor:
    """A text on its ground from its top left corner on, moved to lie inside and free of others.

    Its place is added to those that are taken.
    """
    pixels, text = _pixels_of(image), _ascii(text)
    (width, height), below = cv2.getTextSize(text, FONT, TEXT_SCALE, 1)
    left = max(0, min(corner[0], pixels.shape[1] - width - 4))
    last = max(0, pixels.shape[0] - height - below - 2)
    top, length = min(max(0, corner[1]), last), height + below + 2
    top = _free_top((left, top, left + width + 4, top + length), last, taken)
    bottom = top + length
    pixels[top:bottom, left : left + width + 4] = ground
    # of two inks the one of more contrast, by luminance
    red, green, blue = ((value / 255) ** 2.2 for value in ground)
    ink = WHITE if 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.18 else (0, 0, 0)
    cv2.putText(pixels, text, (left + 2, bottom - below), FONT, TEXT_SCALE, ink, 1, cv2.LINE_AA)
    return _image_of(pixels)


def _free_top(place: Place, last: int, taken: list[Place]) -> int:
    """The first top from that of the place down, at most the last, where it covers no other."""
    left, top, right, bottom = place
    others = sorted((one for one in taken if one[0] < right and left < one[2]), key=lambda p: p[1])
    free = top
    for _, start, _, end in others:
        if start < free + bottom - top and free < end:
            free = end
    free = free if free <= last else top
    taken.append((left, free, right, free + bottom - top))
    return free


def caption(image: Tensor, text: str) -> Tensor:
    """The image under a bar with a line of text; characters outside of ASCII become ``?``."""
    bar = np.full((22, image.shape[2], 3), GROUND, dtype=np.uint8)
    cv2.putText(bar, _ascii(text), (4, 16), FONT, TEXT_SCALE, WHITE, 1, cv2.LINE_AA)
    return torch.cat([_image_of(bar), image], dim=1)


def fit_height(image: Tensor, height: int) -> Tensor:
    """The image scaled to a height in pixels, with its proportions kept."""
    width = max(1, round(image.shape[2] * height / image.shape[1]))
    return _image_of(cv2.resize(_pixels_of(image), (width, height), interpolation=cv2.INTER_AREA))


def in_a_row(images: Sequence[Tensor]) -> Tensor:
    """Images of the same height, at least one, side by side with a white gap between them."""
    gap = torch.full((3, images[0].shape[1], 4), 255, dtype=torch.uint8)
    parts = [part for image in images for part in (image, gap)]
    return torch.cat(parts[:-1], dim=2)


def sheet(cells: Sequence[Tensor], columns: int) -> Tensor:
    """Images of the same height in a grid, row by row, on white; without images one white pixel."""
    if not cells:
        return torch.full((3, 1, 1), 255, dtype=torch.uint8)
    width = max(cell.shape[2] for cell in cells) + 12
    height = max(cell.shape[1] for cell in cells) + 8
    lines = -(-len(cells) // columns)
    page = torch.full((3, lines * height, columns * width), 255, dtype=torch.uint8)
    for number, cell in enumerate(cells):
        top, left = number // columns * height, number % columns * width
        page[:, top : top + cell.shape[1], left : left + cell.shape[2]] = cell
    return page


def write_jpeg(path: Path, image: Tensor) -> None:
    """Write a JPEG file.

    Raises:
        OSError: it could not be written.
    """
    write_atomically(path, encode_jpeg(image))


def encode_jpeg(image: Tensor) -> bytes:
    """The bytes of a JPEG."""
    pixels = np.ascontiguousarray(_pixels_of(image)[:, :, ::-1])
    _, encoded = cv2.imencode(".jpg", pixels, JPEG)
    return encoded.tobytes()


def _pixels_of(image: Tensor) -> Pixels:
    """``[H, W, 3]``; may share its memory with the image."""
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def _image_of(pixels: Pixels) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()
