"""A small data set in the layout of VOC, written to a folder: JPEGs, annotations and lists.

Its images come from ``data.synthetic.scenes``; reading the files again is left to the VOC reader.
"""

import tempfile
from pathlib import Path
from xml.etree import ElementTree as ET

import cv2

from data.synthetic.cartoons import KINDS
from data.synthetic.scenes import Box, DrawnObject, draw_image

SYNTHETIC_CLASSES: tuple[str, ...] = tuple(KINDS)


def write_synthetic_voc(
    root: Path, *, num_train: int, num_val: int, num_test: int, seed: int = 0
) -> Path:
    """Write ``root/VOC2007`` with JPEGImages, Annotations and ImageSets/Main: all of it or nothing.

    Images are numbered from 1: first train, then val, then test. Image k depends on the seed
    and k alone, so a larger data set begins with the images of a smaller one.

    Args:
        root: folder that will hold ``VOC2007``; made when absent.
        num_train: images of the split train.
        num_val: images of the split val; trainval is train and val.
        num_test: images of the split test.
        seed: of the drawing; not negative.

    Returns:
        ``root/VOC2007``.

    Raises:
        ValueError: a count or the seed is negative.
        FileExistsError: ``root/VOC2007`` exists.
    """
    numbers = {"num_train": num_train, "num_val": num_val, "num_test": num_test, "seed": seed}
    for name, number in numbers.items():
        if number < 0:
            raise ValueError(f"{name} is at least 0; got {number}")
    home = root / "VOC2007"
    if home.exists():
        raise FileExistsError(f"{home} exists; remove it or name another folder")
    root.mkdir(parents=True, exist_ok=True)
    fitted = num_train + num_val
    with tempfile.TemporaryDirectory(prefix=".VOC2007-", dir=root) as beside:
        draft = Path(beside) / "VOC2007"
        for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (draft / folder).mkdir(parents=True)
        drawn = {}
        for index in range(fitted + num_test):
            image_id = f"{index + 1:06d}"
            drawn[image_id] = _write_image(draft, image_id, seed, index)
        ids = list(drawn)
        splits = {"train": ids[:num_train], "val": ids[num_train:fitted]}
        splits |= {"trainval": ids[:fitted], "test": ids[fitted:]}
        for split, members in splits.items():
            objects = {image_id: drawn[image_id] for image_id in members}
            _write_lists(draft / "ImageSets" / "Main", split, objects)
        draft.rename(home)
    return home


def _write_image(home: Path, image_id: str, seed: int, index: int) -> list[DrawnObject]:
    image, objects = draw_image(seed, index)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 90])
    (home / "JPEGImages" / f"{image_id}.jpg").write_bytes(encoded.tobytes())
    height, width = image.shape[:2]
    root = ET.Element("annotation")
    _add(root, folder="VOC2007", filename=f"{image_id}.jpg")
    _add(ET.SubElement(root, "size"), width=width, height=height, depth=3)
    _add(root, segmented=0)
    for drawn in objects:
        node = ET.SubElement(root, "object")
        _add(node, name=drawn.name, pose="Unspecified")
        _add(node, truncated=int(drawn.truncated), difficult=int(drawn.difficult))
        _add_box(node, drawn.box)
        part = ET.SubElement(node, "part")  # real VOC marks heads, hands and feet so
        _add(part, name="head")
        _add_box(part, drawn.part_box)
    ET.indent(root, "\t")
    text = ET.tostring(root, encoding="unicode")
    (home / "Annotations" / f"{image_id}.xml").write_text(f"{text}\n", encoding="utf-8")
    return objects


def _add(node: ET.Element, **children: str | int) -> None:
    for name, value in children.items():
        ET.SubElement(node, name).text = str(value)


def _add_box(node: ET.Element, box: Box) -> None:
    corners = ET.SubElement(node, "bndbox")
    _add(corners, xmin=box.x1 + 1, ymin=box.y1 + 1, xmax=box.x2, ymax=box.y2)  # one-based, closed


def _write_lists(folder: Path, split: str, objects: dict[str, list[DrawnObject]]) -> None:
    """Write the images of a split; per class 1 where it is, 0 where only difficult, else -1."""
    (folder / f"{split}.txt").write_text(
        "".join(f"{image_id}\n" for image_id in objects), encoding="utf-8"
    )
    for name in SYNTHETIC_CLASSES:
        lines = []
        for image_id, drawn in objects.items():
            flags = [one.difficult for one in drawn if one.name == name]
            label = -1 if not flags else 0 if all(flags) else 1
            lines.append(f"{image_id} {label:2d}\n")
        (folder / f"{name}_{split}.txt").write_text("".join(lines), encoding="utf-8")
