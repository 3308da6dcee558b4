"""Detections as COCO's JSON: a data set, and the list of results that ``loadRes`` takes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.files.atomic import write_atomically, write_json
from tools.files.boxed_images import BoxedImages


def write_coco(out: Path, boxed: BoxedImages) -> None:
    """``coco.json`` and, with the same numbers of images and categories, ``coco_results.json``.

    Images are numbered 1, 2, ... in their order and so are categories. The data set's annotations
    are the known objects, or without any the detections, each with its score; a difficult object is
    a crowd, which COCOeval leaves out. There are no polygons. The results, 71 MB of 500 000 boxes,
    have no blanks and lines, which take as much time and space again.
    """
    results = list(coco_results(boxed))
    crowds = known_objects(boxed) if boxed.known else ((result, False) for result in results)
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
                **row,
                "area": row["bbox"][2] * row["bbox"][3],
                "segmentation": [],
                "iscrowd": int(is_crowd),
            }
            for number, (row, is_crowd) in enumerate(crowds, start=1)
        ],
    }
    write_json(out / "coco.json", content)
    text = json.dumps(results, allow_nan=False, separators=(",", ":"))
    write_atomically(out / "coco_results.json", text.encode())


def coco_results(boxed: BoxedImages) -> Iterator[dict[str, Any]]:
    """One a box: a corner with width and height in pixels, its class, its score."""
    for number, image in enumerate(boxed.images, start=1):
        found = image.detections
        rows = zip(found.boxes.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True)
        for box, label, score in rows:
            yield {**_row(number, box, label), "score": score}


def known_objects(boxed: BoxedImages) -> Iterator[tuple[dict[str, Any], bool]]:
    """The same of each known object without a score, and whether it is difficult."""
    for number, known in enumerate(boxed.known, start=1):
        columns = known.boxes.tolist(), known.labels.tolist(), known.difficult.tolist()
        for box, label, is_difficult in zip(*columns, strict=True):
            yield _row(number, box, label), is_difficult


def _row(number: int, box: list[float], label: int) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    return {"image_id": number, "category_id": label + 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
