"""Detections as predictions of Label Studio, with scores."""

from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

from tools.cli.console import printable
from tools.files.atomic import write_atomically, write_json
from tools.files.boxed_images import BoxedImage, BoxedImages


def write_label_studio(out: Path, boxed: BoxedImages) -> None:
    """``label_studio.json`` with a task an image, and ``label_studio.xml``, its labeling interface.

    The score of a prediction is the mean of its boxes' scores, 0 without boxes.
    """
    tasks = [
        {
            "data": {"image": boxed.image_url + quote(image.file, errors="surrogateescape")},
            "predictions": [
                {
                    "model_version": boxed.model,
                    "score": float(image.detections.scores.sum()) / max(1, len(regions)),
                    "result": regions,
                }
            ],
        }
        for image in boxed.images
        for regions in [_regions(image, boxed.classes)]
    ]
    write_json(out / "label_studio.json", tasks)
    view = ET.Element("View")
    ET.SubElement(view, "Image", name="image", value="$image")
    choices = ET.SubElement(view, "RectangleLabels", name="label", toName="image")
    for name in boxed.classes:
        ET.SubElement(choices, "Label", value=printable(name))
    ET.indent(view)
    write_atomically(out / "label_studio.xml", ET.tostring(view, encoding="utf-8") + b"\n")


def _regions(image: BoxedImage, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Boxes in percent of the image."""
    height, width = image.size
    found = image.detections
    rows = zip(found.boxes.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True)
    return [
        {
            "id": f"box{number}",
            "type": "rectanglelabels",
            "from_name": "label",
            "to_name": "image",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "score": score,
            "value": {
                "x": 100 * x1 / width,
                "y": 100 * y1 / height,
                "width": 100 * (x2 - x1) / width,
                "height": 100 * (y2 - y1) / height,
                "rotation": 0,
                "rectanglelabels": [printable(classes[label])],
            },
        }
        for number, ((x1, y1, x2, y2), label, score) in enumerate(rows)
    ]
