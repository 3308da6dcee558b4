"""Detections in the layout of YOLO: a text file an image, and ``data.yaml``."""

from pathlib import Path

import torch
import yaml

from tools.cli.console import printable
from tools.files.atomic import write_atomically
from tools.files.boxed_images import BoxedImage, BoxedImages, link_image


def write_yolo(out: Path, boxed: BoxedImages) -> None:
    """``yolo/`` with ``images``, ``labels``, ``data.yaml`` and ``classes.txt``.

    A line is a class from 0, the center of the box, and its width and height, as fractions of the
    image. The format has no scores. No image is held out: ``val`` are those of ``train``.
    """
    folder = out / "yolo"
    for image in boxed.images:
        link_image(folder / "images" / image.linked, image.path)
        path = folder / "labels" / f"{image.stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, _lines(image).encode())
    names = [printable(name) for name in boxed.classes]
    content = {"train": "images", "val": "images", "nc": len(names), "names": names}
    text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
    about = f"# {printable(boxed.info['description'])}\n"
    write_atomically(folder / "data.yaml", (about + text).encode())
    write_atomically(folder / "classes.txt", "".join(f"{name}\n" for name in names).encode())


def _lines(image: BoxedImage) -> str:
    height, width = image.size
    first, last = image.detections.boxes.double().reshape(-1, 2, 2).unbind(dim=1)
    measures = torch.cat([(first + last) / 2, last - first], dim=1)
    fractions = measures / torch.tensor([width, height, width, height])
    return "".join(
        " ".join([str(label), *(f"{fraction:.12f}" for fraction in row)]) + "\n"
        for label, row in zip(image.detections.labels.tolist(), fractions.tolist(), strict=True)
    )
