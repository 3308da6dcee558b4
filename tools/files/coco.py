"""Detections as COCO's JSON: a data set, and the list of results that ``loadRes`` takes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.files.atomic import write_json
from tools.files.boxed_images import BoxedImages


def write_coco(out: Path, boxed: BoxedImages) -> None:
    """``coco.json`` and, with the same numbers of images and categories, ``coco_results.json``.

    Images are numbered 1, 2, ... in their order and so are categories. Each annotation has a score
    too. There are no polygons.
    """
    results = list(coco_results(boxed))
    content = {
        "info": boxed.info,
        "licenses": [],
        "images": [
            {"id": number, "file_name": image.file, "height": image.size[0], "width": image.size[1]}
            for number, image in enumerate(boxed.images, start=1)
        ],
        "categories": [
            {"id": number, "name": name, "supercategory": ""}
            for number, name in enumerate(boxed.classes, start=1)
        ],
        "annotations": [
            {
                "id": number,
                **result,
                "area": result["bbox"][2] * result["bbox"][3],
                "segmentation": [],
                "iscrowd": 0,
            }
            for number, result in enumerate(results, start=1)
        ],
    }
    write_json(out / "coco.json", content)
    write_json(out / "coco_results.json", results)


def coco_results(boxed: BoxedImages) -> Iterator[dict[str, Any]]:
    """One a box: a corner with width and height in pixels, its class, its score."""
    for number, image in enumerate(boxed.images, start=1):
        found = image.detections
        rows = zip(found.boxes.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True)
        for (x1, y1, x2, y2), label, score in rows:
            yield {
                "image_id": number,
                "category_id": label + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": score,
            }
