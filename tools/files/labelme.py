"""Detections as LabelMe's JSON, beside the images."""

from pathlib import Path, PurePosixPath
from typing import Any

from tools.files.atomic import write_json
from tools.files.boxed_images import BoxedImage, BoxedImages, link_image


def write_labelme(out: Path, boxed: BoxedImages) -> None:
    """``labelme/`` with a JSON beside each image; a shape has a score, which LabelMe keeps."""
    for image in boxed.images:
        place = out / "labelme" / image.linked
        link_image(place, image.path)
        content: dict[str, Any] = {
            "version": "5.5.0",
            "flags": {},
            "shapes": _shapes(image, boxed.classes),
            "imagePath": PurePosixPath(image.linked).name,
            "imageData": None,
            "imageHeight": image.size[0],
            "imageWidth": image.size[1],
        }
        write_json(out / "labelme" / f"{image.stem}.json", content)


def _shapes(image: BoxedImage, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    found = image.detections
    return [
        {
            "label": classes[label],
            "points": [box[:2], box[2:]],
            "group_id": None,
            "description": "",
            "shape_type": "rectangle",
            "flags": {},
            "score": score,
        }
        for box, label, score in zip(
            found.boxes.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True
        )
    ]
