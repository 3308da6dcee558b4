"""Annotations of images that are turned upright on reading."""

from dataclasses import replace
from pathlib import Path

from data.images import read_stored_size
from data.orientation import turn_boxes, turn_size
from data.types import Annotation


def turn_annotation(annotation: Annotation, image: Path) -> Annotation:
    """An annotation in the frame of its upright image.

    Tools that turn images write the size of the upright one, others that of the stored pixels; by
    this size they are told apart. Where a turn does not change it, boxes count as upright.

    Args:
        annotation: as it was read.
        image: its file.

    Returns:
        The same annotation where it is upright already, or has neither of the sizes, or where the
        image cannot be read: reading that image is refused.
    """
    try:
        stored, orientation = read_stored_size(image)
    except (OSError, ValueError):
        return annotation
    upright = turn_size(stored, orientation)
    if annotation.image_size != stored or stored == upright:
        return annotation
    boxes = turn_boxes(annotation.boxes, stored, orientation)
    return replace(annotation, image_size=upright, boxes=boxes)
