"""Detections as files: our own JSON and the VOC devkit's text.

Boxes are converted from our convention by the modules of this room alone; VOC's corners are
one-based and closed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch
from torch import Tensor

from data.checks import check_detections
from data.json_files import read_json
from data.types import Detections, no_detections
from tools.files.atomic import MOST_BYTES, shortened, write_atomically, write_json

Sizes = Mapping[str, tuple[int, int]]


def write_detections(
    path: Path,
    classes: Sequence[str],
    detections: Mapping[str, Detections],
    sizes: Sizes,
    info: Mapping[str, Any] | None = None,
) -> None:
    """Detections with full precision, boxes zero-based and half-open in original pixels.

    Args:
        path: of the file.
        classes: names in the order of the labels.
        detections: by image id.
        sizes: (height, width) by image id.
        info: how they were chosen, for the reader; None leaves it out.
    """
    images = {
        image_id: {
            "size": list(sizes[image_id]),
            "boxes": of_image.boxes.tolist(),
            "labels": of_image.labels.tolist(),
            "scores": of_image.scores.tolist(),
        }
        for image_id, of_image in detections.items()
    }
    about = {} if info is None else {"info": info}
    write_json(path, {**about, "classes": list(classes), "images": images})


def read_detections(path: Path) -> tuple[tuple[str, ...], dict[str, Detections]]:
    """Classes, and detections by image id, as ``write_detections`` wrote them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of detections; names it, and the image whose detections are invalid.
    """
    classes, detections, _ = read_described(path)
    return classes, detections


def read_described(path: Path) -> tuple[tuple[str, ...], dict[str, Detections], dict[str, Any]]:
    """The same, and how they were chosen; nothing where the file does not say it."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of detections (evaluate writes one)")
    content = read_json(path, description="a file of detections")
    try:
        if not isinstance(content["classes"], list):
            raise TypeError("its classes are no list")
        classes = tuple(str(name) for name in content["classes"])
        detections = {image_id: _parse(rows) for image_id, rows in content["images"].items()}
        info = dict(content.get("info", {}))
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{path}: not a file of detections ({error})") from error
    for image_id, of_image in detections.items():
        check_detections(of_image, len(classes), context=f"{path}: image {image_id}")
    return classes, detections, info


def _parse(rows: Mapping[str, Any]) -> Detections:
    if not rows["boxes"] and not rows["labels"] and not rows["scores"]:
        return no_detections()
    return Detections(
        torch.tensor(rows["boxes"], dtype=torch.float32),
        torch.tensor(rows["labels"]),
        torch.tensor(rows["scores"], dtype=torch.float32),
    )


def write_devkit_files(
    folder: Path,
    competition: str,
    split: str,
    classes: Sequence[str],
    detections: Mapping[str, Detections],
) -> None:
    """``comp3_det_SPLIT_CLASS.txt`` as the VOC devkit reads them, scores with full precision.

    Args:
        folder: is made if it does not exist.
        competition: ``comp3`` for models trained on VOC alone, ``comp4`` for pretrained backbones.
        split: of the images.
        classes: one file each, also of a class without detections; characters that a file name
            cannot hold are written as %XX, and a name that is too long ends in a hash.
        detections: by image id, in which spaces and line ends are written as %XX.
    """
    folder.mkdir(parents=True, exist_ok=True)
    words = {image_id: _word(image_id) for image_id in detections}
    for label, name in enumerate(classes):
        lines = []
        for image_id, of_image in detections.items():
            rows = of_image.labels == label
            corners = closed_corners(of_image.boxes[rows]).tolist()
            for score, box in zip(of_image.scores[rows].tolist(), corners, strict=True):
                lines.append(
                    " ".join([words[image_id], repr(score), *(f"{side:.9g}" for side in box)])
                )
        stem = f"{competition}_det_{quote(split, safe=' ')}_{quote(name, safe=' ')}"
        file = folder / f"{shortened(stem, MOST_BYTES - 4)}.txt"
        write_atomically(file, "".join(f"{line}\n" for line in lines).encode())


def _word(image_id: str) -> str:
    """The name without spaces, for files with several words a line."""
    return "".join(
        character
        if character.isprintable() and character not in " %"
        else quote(character, safe="", errors="surrogateescape")
        for character in image_id
    )


def closed_corners(boxes: Tensor) -> Tensor:
    """Zero-based half-open ``[R, 4]`` to VOC's one-based closed corners, float64."""
    return boxes.double() + torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
