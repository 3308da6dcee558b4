"""Detections as files: our own JSON, the VOC devkit's text, COCO's JSON and VOC's XML.

Only this module converts boxes from our convention: VOC's corners are one-based and closed, COCO
has a corner with width and height.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

import torch
from torch import Tensor

from data.checks import check_detections
from data.types import Detections, no_detections
from tools.cli.console import printable
from tools.files.atomic import write_atomically, write_json

Sizes = Mapping[str, tuple[int, int]]
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_detections(
    path: Path, classes: Sequence[str], detections: Mapping[str, Detections], sizes: Sizes
) -> None:
    """Detections with full precision, boxes zero-based and half-open in original pixels."""
    images = {
        image_id: {
            "size": list(sizes[image_id]),
            "boxes": of_image.boxes.tolist(),
            "labels": of_image.labels.tolist(),
            "scores": of_image.scores.tolist(),
        }
        for image_id, of_image in detections.items()
    }
    write_json(path, {"classes": list(classes), "images": images})


def read_detections(path: Path) -> tuple[tuple[str, ...], dict[str, Detections]]:
    """Classes, and detections by image id, as ``write_detections`` wrote them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of detections; names it, and the image whose detections are invalid.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of detections (evaluate writes one)")
    try:
        content = json.loads(path.read_text())
        if not isinstance(content["classes"], list):
            raise TypeError("its classes are no list")
        classes = tuple(str(name) for name in content["classes"])
        detections = {image_id: _parse(rows) for image_id, rows in content["images"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, RecursionError) as error:
        raise ValueError(f"{path}: not a file of detections ({error})") from error
    for image_id, of_image in detections.items():
        check_detections(of_image, len(classes), context=f"{path}: image {image_id}")
    return classes, detections


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
            cannot hold are written as %XX.
        detections: by image id, in which spaces and line ends are written as %XX.
    """
    folder.mkdir(parents=True, exist_ok=True)
    words = {image_id: _word(image_id) for image_id in detections}
    for label, name in enumerate(classes):
        lines = []
        for image_id, of_image in detections.items():
            rows = of_image.labels == label
            corners = _closed(of_image.boxes[rows]).tolist()
            for score, box in zip(of_image.scores[rows].tolist(), corners, strict=True):
                lines.append(
                    " ".join([words[image_id], repr(score), *(f"{side:.9g}" for side in box)])
                )
        file = folder / f"{competition}_det_{quote(split, safe=' ')}_{quote(name, safe=' ')}.txt"
        write_atomically(file, "".join(f"{line}\n" for line in lines).encode())


def write_coco(
    path: Path,
    classes: Sequence[str],
    detections: Mapping[str, Detections],
    sizes: Sizes,
    files: Mapping[str, str],
) -> None:
    """COCO's JSON with images, categories and annotations; each annotation has a score too.

    Args:
        path: of the file.
        classes: categories 1, 2, ... in this order.
        detections: by image id.
        sizes: (height, width) by image id.
        files: name of the image by image id.
    """
    numbers = {image_id: number for number, image_id in enumerate(detections, start=1)}
    annotations: list[dict[str, Any]] = []
    for image_id, of_image in detections.items():
        for box, label, score in zip(
            of_image.boxes.tolist(),
            of_image.labels.tolist(),
            of_image.scores.tolist(),
            strict=True,
        ):
            width, height = box[2] - box[0], box[3] - box[1]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": numbers[image_id],
                    "category_id": label + 1,
                    "bbox": [box[0], box[1], width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "score": score,
                }
            )
    images = [
        {
            "id": number,
            "file_name": files[image_id],
            "height": sizes[image_id][0],
            "width": sizes[image_id][1],
        }
        for image_id, number in numbers.items()
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
    write_json(path, {"images": images, "categories": categories, "annotations": annotations})


def write_voc_xml(
    path: Path, file: str, size: tuple[int, int], classes: Sequence[str], detections: Detections
) -> None:
    """One image's detections as a VOC annotation, which labeling tools open and correct.

    Corners are rounded to whole pixels; a box has at least one pixel.

    Args:
        path: of the XML file.
        file: name of the image.
        size: its (height, width).
        classes: names in the order of the labels.
        detections: in pixels of the image.
    """
    root = ET.Element("annotation")
    _add(root, filename=PurePosixPath(file).name)
    _add(ET.SubElement(root, "size"), width=size[1], height=size[0], depth=3)
    _add(root, segmented=0)
    first, last = detections.boxes[:, :2].round(), detections.boxes[:, 2:].round()
    edge = torch.tensor([size[1], size[0]], dtype=first.dtype)
    first = torch.minimum(first, edge - 1)  # a box at the end that rounds to nothing
    corners = _closed(torch.cat([first, torch.maximum(last, first + 1)], dim=1)).int().tolist()
    for label, (x1, y1, x2, y2) in zip(detections.labels.tolist(), corners, strict=True):
        entry = ET.SubElement(root, "object")
        _add(entry, name=classes[label], pose="Unspecified", truncated=0, difficult=0)
        _add(ET.SubElement(entry, "bndbox"), xmin=x1, ymin=y1, xmax=x2, ymax=y2)
    ET.indent(root)
    write_atomically(path, ET.tostring(root, encoding="utf-8") + b"\n")


def _add(parent: ET.Element, **children: object) -> None:
    for name, value in children.items():
        text = NOT_XML.sub(lambda match: printable(match[0]), str(value))
        ET.SubElement(parent, name).text = text


def _word(image_id: str) -> str:
    """The name without spaces, for files with several words a line."""
    return "".join(
        character
        if character.isprintable() and character not in " %"
        else quote(character, safe="", errors="surrogateescape")
        for character in image_id
    )


def _closed(boxes: Tensor) -> Tensor:
    """Zero-based half-open ``[R, 4]`` to VOC's one-based closed corners, float64."""
    return boxes.double() + torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
