"""Heatmap of single classes, cut out of the strips that ``view_heatmaps --to files`` writes."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import torch
from torch import Tensor

from data.images import read_image, read_image_size
from tools.pages.draw import caption, fit_height, in_a_row
from tools.pages.heatmaps import HEIGHT

DOT = torch.zeros(3, 1, 1, dtype=torch.uint8)
CAPTION = caption(DOT, "").shape[1] - 1  # pixels above a panel
GAP = in_a_row([DOT, DOT]).shape[2] - 2  # pixels between two


class HeatmapPanel(NamedTuple):
    """One panel of a strip: an image under the heatmap of one class.

    Attributes:
        path: of the strip.
        image_size: (height, width) of the image.
        position: of the panel; the image itself is 0.
    """

    path: Path
    image_size: tuple[int, int]
    position: int

    def read(self) -> Tensor:
        """``[3, h, w]`` uint8 in the image's proportions, without the words above it.

        Raises:
            ValueError: the strip does not decode.
        """
        width = _panel_width(self.image_size)
        left = self.position * (width + GAP)
        return read_image(self.path)[:, CAPTION:, left : left + width]


def strip_path(folder: Path, split: str, image_id: str) -> Path:
    """Where ``view_heatmaps`` writes the strip of an image."""
    return folder / f"{split}_{quote(image_id, safe='', errors='surrogateescape')}.jpg"


def heatmap_panels(
    path: Path, image_size: tuple[int, int], labels: Sequence[int]
) -> dict[int, HeatmapPanel]:
    """The panel of each class that a strip shows.

    Args:
        path: of the strip.
        image_size: (height, width) of the image.
        labels: classes that the image holds, ascending; the strip shows these.

    Returns:
        By label; nothing if the strip has not one panel for each of them.

    Raises:
        ValueError: not an image.
    """
    width = _panel_width(image_size)
    expected = (CAPTION + HEIGHT, width + len(labels) * (GAP + width))
    if not labels or read_image_size(path) != expected:
        return {}
    panels = (HeatmapPanel(path, image_size, position) for position in range(1, len(labels) + 1))
    return dict(zip(labels, panels, strict=True))


def _panel_width(image_size: tuple[int, int]) -> int:
    height, width = image_size
    return fit_height(torch.zeros(3, height, width, dtype=torch.uint8), HEIGHT).shape[2]
