"""Settings of proposals. Light: ``--help`` imports this."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ProposeSettings:
    """How proposals are made; the defaults were tuned on VOC2007 trainval."""

    method: Literal["selective_search", "edge_boxes", "both"] = "both"
    """Method that proposes boxes."""

    quality: bool = False
    """Selective search with more colors and similarities, several times slower."""

    search_sizes: tuple[int, ...] = (250,)
    """Longest side in pixels of the images that selective search works on, one run each."""

    edge_sizes: tuple[int, ...] = (350, 250)
    """The same for edge boxes; the edges at the first size score all boxes."""

    max_boxes: int = 4000
    """Largest number of boxes of one image; the best ones are kept."""

    min_score: float = 0.158
    """Smallest score of a box; a lower value adds more boxes to images with many edges."""

    min_size: float = 10.0
    """Smallest width and height of a box in pixels."""
