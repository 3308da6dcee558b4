"""Detections in the layout of VOC: an XML an image, lists of images, and the images."""

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree as ET

import torch

from data.types import Detections
from tools.cli.console import printable
from tools.files.atomic import MOST_BYTES, shortened, write_atomically
from tools.files.boxed_images import BoxedImages, link_image
from tools.files.detections import closed_corners

NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
LISTS = {"all": "trainval"}  # VOC has no list of this name, and its readers take no other names


def write_voc(out: Path, boxed: BoxedImages) -> None:
    """``voc/`` with ``Annotations``, ``ImageSets/Main``, ``JPEGImages`` and ``labelmap.txt``.

    There is a list of all images, named as the split, ``trainval`` for all images of a folder, and
    one of each class: 1 for an image with a box of this class, -1 for others. The last file names
    the classes for datumaro and CVAT.
    """
    folder = out / "voc"
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for image in boxed.images:
        path = folder / "Annotations" / f"{image.stem}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_voc_xml(path, image.linked, image.size, boxed.classes, image.detections)
        link_image(folder / "JPEGImages" / image.linked, image.path)
    split = LISTS.get(boxed.split, boxed.split)
    stems = [printable(image.stem) for image in boxed.images]
    _write_lines(lists / f"{split}.txt", stems)
    for label, name in enumerate(boxed.classes):
        holds = [bool((image.detections.labels == label).any()) for image in boxed.images]
        signs = [f"{stem} {1 if held else -1:2}" for stem, held in zip(stems, holds, strict=True)]
        ending = f"_{split}.txt"
        stem = shortened(quote(name, safe=" "), MOST_BYTES - len(ending.encode()))
        _write_lines(lists / f"{stem}{ending}", signs)
    names = [f"{printable(name)}:::" for name in boxed.classes]
    _write_lines(folder / "labelmap.txt", ["# label:color_rgb:parts:actions", *names])


def write_voc_xml(
    path: Path, file: str, size: tuple[int, int], classes: Sequence[str], detections: Detections
) -> None:
    """One image's detections as a VOC annotation, which labeling tools open and correct.

    Corners are rounded to whole pixels; a box has at least one pixel.

    Args:
        path: of the XML file.
        file: name of the image below the folder of images.
        size: its (height, width).
        classes: names in the order of the labels.
        detections: in pixels of the image.
    """
    root = ET.Element("annotation")
    _add(root, filename=file)
    _add(ET.SubElement(root, "size"), width=size[1], height=size[0], depth=3)
    _add(root, segmented=0)
    first, last = detections.boxes[:, :2].round(), detections.boxes[:, 2:].round()
    edge = torch.tensor([size[1], size[0]], dtype=first.dtype)
    first = torch.minimum(first, edge - 1)  # a box at the end that rounds to nothing
    rounded = torch.cat([first, torch.maximum(last, first + 1)], dim=1)
    corners = closed_corners(rounded).int().tolist()
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


def _write_lines(path: Path, lines: list[str]) -> None:
    write_atomically(path, "".join(f"{line}\n" for line in lines).encode())
