"""VOC's lists of a class, ``cat_train.txt``: each line an image and 1, 0 or -1.

1 is present, 0 difficult objects alone, -1 absent.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from data.checks import name_first
from data.datasets.labels.content import ImageLabels, Labels
from data.datasets.labels.place import LabelsPlace
from data.datasets.source import Problem

LINE = re.compile(r"(\S.*?)\s+(-1|0|1)")


def class_list(path: Path) -> list[tuple[str, int]] | None:
    """Each image of a list with its value; None for a file that is none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        return None
    pairs = [LINE.fullmatch(line.strip()) for line in lines if line.strip()]
    read = [(pair[1], int(pair[2])) for pair in pairs if pair]
    return read if read and len(read) == len(pairs) else None


def read_class_lists(place: LabelsPlace) -> Labels | None:
    """The lists of a folder; None for anything else."""
    if place.folder is None:
        return None
    found = read_lists(place.folder, place.classes)
    return found if found.rows or found.problems else None


def read_lists(folder: Path, classes: Sequence[str] = ()) -> Labels:
    """The labels of every image in the lists of a folder; no rows without lists.

    Args:
        folder: such as ``ImageSets/Main``.
        classes: whose lists are read; when empty those of all lists, whose names then end in
            _ and a split without _.
    """
    values: dict[str, dict[str, int]] = {}
    splits: dict[str, set[str]] = {}
    problems: list[Problem] = []
    for path in sorted(folder.glob("*_*.txt")):
        name, split = _class_and_split(path.stem, classes)
        for image, value in (class_list(path) if name else None) or ():
            splits.setdefault(image, set()).add(split)
            if values.setdefault(name, {}).setdefault(image, value) != value:
                what = f"{image} is {value} here and {values[name][image]} in another list"
                problems.append(Problem(path, what, "an image has one value for a class"))
    if values and (lacking := [name for name in classes if name not in values]):
        what = f"no list of {name_first(lacking)}; there are lists of {name_first(list(values))}"
        problems.append(Problem(folder, what, "--classes names those that have lists"))
    problems += _gaps(folder, values, splits)
    rows = {image: _row(image, values, of_image) for image, of_image in splits.items()}
    return Labels("a list for each class, no boxes", rows, tuple(problems), tuple(sorted(values)))


def _class_and_split(stem: str, classes: Sequence[str]) -> tuple[str, str]:
    if not classes:
        name, _, split = stem.rpartition("_")
        return name, split
    name = max((n for n in classes if stem.startswith(f"{n}_")), key=len, default="")
    return name, stem.removeprefix(f"{name}_")


def _gaps(
    folder: Path, values: dict[str, dict[str, int]], splits: dict[str, set[str]]
) -> list[Problem]:
    """Images that some classes say nothing of, and those that are in two splits."""
    problems = []
    for name, of_images in values.items():
        if lacking := [image for image in splits if image not in of_images]:
            what = f"the lists of {name} lack {len(lacking)} images: {name_first(lacking)}"
            problems.append(Problem(folder, what, "each image stands in a list of each class"))
    for image, of_image in splits.items():
        if len(of_image - {"trainval"}) > 1:
            what = f"{image} is in {' and '.join(sorted(of_image))}"
            problems.append(Problem(folder, what, "an image is for learning or for testing"))
    return problems


def _row(image: str, values: dict[str, dict[str, int]], splits: set[str]) -> ImageLabels:
    present, difficult = (
        tuple(name for name, of_images in values.items() if of_images.get(image) == value)
        for value in (1, 0)
    )
    return ImageLabels(present, min(splits - {"trainval"}, default="trainval"), difficult)
