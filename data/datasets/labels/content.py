"""What labels say of images, whatever form they have on disk."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from data.checks import check_annotation
from data.datasets.source import Problem
from data.types import Annotation

DifficultPolicy = Literal["ignore", "positive", "negative"]
Corners = tuple[float, float, float, float]

# What people call the usual splits, and what they are called here.
SPLITS = {
    "training": "train",
    "valid": "val",
    "validation": "val",
    "testing": "test",
    **{name: name for name in ("train", "val", "test", "trainval")},
}


@dataclass(frozen=True, slots=True)
class LabeledObject:
    """An object with its box.

    Attributes:
        name: of its class.
        corners: xmin, ymin, xmax, ymax as they are written.
        first_pixel: number of the first pixel in them: 1 where both corners belong to the box,
            0 where the box ends at the second corner.
        difficult: it is neither a hit nor a miss.
        truncated: it extends beyond its box.
    """

    name: str
    corners: Corners
    first_pixel: int = 1
    difficult: bool = False
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class ImageLabels:
    """What is said of an image. A class that no field names is absent.

    Attributes:
        labels: classes that it holds, without repetition.
        split: empty where none is named.
        difficult: classes of which it holds difficult objects alone.
        unknown: classes that it may hold or not.
        objects: with their boxes; None where boxes are not known.
        size: (height, width) that the boxes are in; None where it is not said.
        file: of its annotation; None where it has no file of its own.
        problem: why the annotation cannot be used; empty if it can.
    """

    labels: tuple[str, ...] = ()
    split: str = ""
    difficult: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    objects: tuple[LabeledObject, ...] | None = None
    size: tuple[int, int] | None = None
    file: Path | None = None
    problem: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Every class that is named."""
        return (*self.labels, *self.difficult, *self.unknown)


@dataclass(frozen=True, slots=True)
class Labels:
    """What is said of all images.

    Attributes:
        form: how it is written, in words.
        rows: by image, a path below the folder of images, with slashes.
        problems: of the file, one for each line.
        classes: that the file declares, sorted; empty where they are those that images have.
    """

    form: str
    rows: dict[str, ImageLabels]
    problems: tuple[Problem, ...] = ()
    classes: tuple[str, ...] = ()


def of_objects(
    objects: Sequence[LabeledObject],
    *,
    split: str = "",
    size: tuple[int, int] | None = None,
    file: Path | None = None,
) -> ImageLabels:
    """The labels of an image whose objects are known."""
    labels = dict.fromkeys(item.name for item in objects if not item.difficult)
    difficult = dict.fromkeys(item.name for item in objects if item.name not in labels)
    return ImageLabels(
        tuple(labels), split, tuple(difficult), objects=tuple(objects), size=size, file=file
    )


def counted(row: ImageLabels) -> Counter[tuple[str, bool]]:
    """How often an image holds (class, difficult); once where boxes are not known."""
    if row.objects is not None:
        return Counter((item.name, item.difficult) for item in row.objects)
    return Counter([*((n, False) for n in row.labels), *((n, True) for n in row.difficult)])


def targets_and_weights(
    row: ImageLabels, classes: Sequence[str], difficult: DifficultPolicy = "ignore"
) -> tuple[Tensor, Tensor]:
    """Which classes an image holds.

    Args:
        row: what is said of it.
        classes: names in the order of the labels.
        difficult: treatment of a class whose objects are all difficult: ``ignore`` gives
            it weight 0, ``positive`` counts it as present, ``negative`` as absent.

    Returns:
        targets ``[C]`` float32 in {0, 1} and weights ``[C]`` float32, 0 = ignored. Without labels
        every target is 0 and every weight 1.

    Raises:
        ValueError: an unknown policy.
    """
    if difficult not in ("ignore", "positive", "negative"):
        raise ValueError(f"difficult is ignore, positive or negative; got {difficult!r}")
    present = {*row.labels, *(row.difficult if difficult == "positive" else ())}
    ignored = {*row.unknown, *(row.difficult if difficult == "ignore" else ())} - present
    targets = torch.tensor([float(name in present) for name in classes])
    return targets, torch.tensor([float(name not in ignored) for name in classes])


def to_annotation(
    image_id: str, row: ImageLabels, classes: Sequence[str], size: tuple[int, int]
) -> Annotation:
    """The objects of an image as tensors; zero rows where there are none or boxes are not known.

    Args:
        image_id: its name.
        row: what is said of it.
        classes: names in the order of the labels.
        size: (height, width) that holds every box.

    Raises:
        ValueError: the annotation cannot be used, an unknown class, or a box without area or
            outside of the image; names the object and its corners as they are written.
    """
    if row.problem:
        raise ValueError(row.problem)
    objects = row.objects or ()
    for number, item in enumerate(objects, start=1):
        _check_object(f"object {number}", item, classes, size)
    corners = torch.tensor([item.corners for item in objects]).reshape(-1, 4)
    first = torch.tensor([[item.first_pixel] * 2 + [0] * 2 for item in objects]).reshape(-1, 4)
    annotation = Annotation(
        image_id,
        size,
        corners - first,
        torch.tensor([classes.index(item.name) for item in objects], dtype=torch.int64),
        torch.tensor([item.difficult for item in objects]).bool(),
        torch.tensor([item.truncated for item in objects]).bool(),
    )
    check_annotation(annotation, len(classes))
    return annotation


def number_of(value: object) -> float:
    """A number, or a text that says one in plain digits; Python's own reading takes 1_0 for 10.

    Raises:
        ValueError: anything else.
    """
    is_plain = value.isascii() and "_" not in value if isinstance(value, str) else False
    if not is_plain and type(value) not in (int, float):
        raise ValueError(f"{value!r} is no number")
    try:
        return float(value)  # type: ignore[arg-type]  # a text or a number, as just seen
    except OverflowError as error:
        raise ValueError("a number that is too large") from error


def size_of(height: float, width: float) -> tuple[int, int] | None:
    """(height, width) in whole pixels; None where one of them is 0, which is not known.

    Raises:
        ValueError: one is not finite.
    """
    if not (math.isfinite(height) and math.isfinite(width)):
        raise ValueError(f"a size is two finite numbers, got {width:g}x{height:g}")
    rounded = round(height), round(width)
    return rounded if all(rounded) else None


def _check_object(
    context: str, item: LabeledObject, classes: Sequence[str], size: tuple[int, int]
) -> None:
    if item.name not in classes:
        raise ValueError(f"class {item.name!r} is not one of {', '.join(classes)}")
    height, width = size
    xmin, ymin, xmax, ymax = item.corners
    first = item.first_pixel
    context = f"{context} ({item.name}): its corners {xmin:.9g} {ymin:.9g} {xmax:.9g} {ymax:.9g}"
    if not all(abs(value) < float("inf") for value in item.corners):
        raise ValueError(f"{context} are not finite")
    if min(xmin, ymin) < first or xmax > width or ymax > height:
        from_0 = first == 1 and min(xmin, ymin) >= 0 and xmax <= width and ymax <= height
        hint = " (--first-pixel 0 if the first pixel of the files is 0)" if from_0 else ""
        raise ValueError(f"{context} leave {width}x{height} pixels that count from {first}{hint}")
    if xmax <= xmin - first or ymax <= ymin - first:
        raise ValueError(f"{context} enclose no area")
