"""COCO's JSON of instances: the labels of an image are the categories of its annotations."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from data.datasets.labels.content import (
    Corners,
    ImageLabels,
    LabeledObject,
    Labels,
    number_of,
    of_objects,
    size_of,
)
from data.datasets.labels.names import split_of
from data.datasets.labels.place import LabelsPlace
from data.datasets.labels.table import image_name
from data.datasets.source import Problem
from data.json_files import read_json

ROUNDING = 0.02  # x + width of two numbers with two decimals may leave the image by so much
CURE = "restore the file"


def read_coco(place: LabelsPlace) -> Labels | None:
    """The images and instances of a ``.json`` file; None for anything else.

    An image without annotations holds no class. ``iscrowd`` makes an object difficult.

    Raises:
        ValueError: not JSON, or not COCO's.
    """
    path = place.file
    if path is None or path.suffix.lower() != ".json":
        return None
    content = read_json(path, description="JSON")
    try:
        images, annotations, categories = (
            content[key] for key in ("images", "annotations", "categories")
        )
        names = {category["id"]: str(category["name"]).strip() for category in categories}
        sizes = {image["id"]: image for image in images}
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: JSON without COCO's images, annotations and categories ({error})"
        ) from error
    problems = _repeated(path, "category", [c["name"] for c in categories])
    problems += _repeated(path, "image id", [image["id"] for image in images])
    problems += _repeated(path, "file_name", [image.get("file_name") for image in images])
    objects: dict[Any, list[LabeledObject]] = {}
    wrong: dict[Any, str] = {}
    for annotation in annotations:
        image_id = annotation.get("image_id")
        if image_id not in sizes or annotation.get("category_id") not in names:
            what = f"annotation {annotation.get('id')} is of no listed image or category"
            problems.append(Problem(path, what, CURE))
            continue
        try:
            item = _object(annotation, names[annotation["category_id"]], sizes[image_id])
            objects.setdefault(image_id, []).append(item)
        except (KeyError, TypeError, ValueError) as error:
            wrong[image_id] = f"annotation {annotation.get('id')}: no box ({error})"
    return _labels(path, images, objects, wrong, problems)


def _labels(
    path: Path,
    images: list[dict[str, Any]],
    objects: dict[Any, list[LabeledObject]],
    wrong: dict[Any, str],
    problems: list[Problem],
) -> Labels:
    named = dict[str, dict[str, Any]]()
    for image in images:
        try:
            named[image_name(str(image.get("file_name", "")))] = image
        except ValueError as error:
            problems.append(Problem(path, f"image {image['id']}: {error}", CURE))
    splits = split_of(named)
    rows = {}
    for name, image in named.items():
        problem, size = wrong.get(image["id"], ""), None
        try:
            size = _size(image)
        except ValueError as error:
            problem = problem or str(error)
        if problem:
            rows[name] = ImageLabels(split=splits[name], file=path, problem=problem)
        else:
            found = objects.get(image["id"], [])
            rows[name] = of_objects(found, split=splits[name], size=size, file=path)
    return Labels("COCO's instances, with boxes", rows, tuple(problems))


def _object(annotation: dict[str, Any], name: str, image: dict[str, Any]) -> LabeledObject:
    x, y, width, height = map(number_of, annotation["bbox"])
    corners: Corners = (x, y, x + width, y + height)
    if size := _size(image):
        ends = (*size[::-1], *size[::-1])
        corners = tuple(  # type: ignore[assignment]  # four again
            min(max(value, 0), end) if -ROUNDING <= value <= end + ROUNDING else value
            for value, end in zip(corners, ends, strict=True)
        )
    difficult = bool(annotation.get("iscrowd") or annotation.get("ignore"))
    return LabeledObject(name, corners, first_pixel=0, difficult=difficult)


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    return size_of(*(number_of(image.get(side) or 0) for side in ("height", "width")))


def _repeated(path: Path, kind: str, values: Iterable[Any]) -> list[Problem]:
    seen, again = set(), []
    for value in values:
        if value in seen:
            again.append(value)
        seen.add(value)
    return [Problem(path, f"{kind} {value!r} is there twice", CURE) for value in again]
