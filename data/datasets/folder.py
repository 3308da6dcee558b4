"""Any folder of images: labels from a CSV file, or none at all.

The CSV file has a header ``image,labels`` and maybe a third column ``split``. ``image`` is a path
below the folder, ``labels`` are class names with ``|`` between them, nothing for an image that
holds none of the classes.
"""

import csv
import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Self

import torch
from torch import Tensor

from data.checks import name_first
from data.datasets.image_set import ImageSet
from data.datasets.settings import DataSettings
from data.datasets.source import Problem, Scan, Source
from data.images import optional_formats, read_image_size
from data.types import Annotation, without_boxes

SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"),
    *optional_formats(),
)
SEPARATOR = "|"
HEADERS = (["image", "labels"], ["image", "labels", "split"])


@dataclass(frozen=True, slots=True)
class ImageLabels:
    """What a labels file says of an image.

    Attributes:
        labels: class names, without repetition.
        split: of the third column, empty without one.
    """

    labels: tuple[str, ...] = ()
    split: str = ""


def read_labels(path: Path) -> dict[str, ImageLabels]:
    """The lines of a labels file, in their order; blank lines, a BOM and CRLF are fine.

    Returns:
        By image: its path below the folder, with slashes.

    Raises:
        ValueError: another header, a line with other columns, an image twice or outside of the
            folder, no line at all; names the file and the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [[cell.strip() for cell in row] for row in csv.reader(file, strict=True)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    numbered = [(n, cells) for n, cells in enumerate(lines, start=1) if cells not in ([], [""])]
    if not numbered or numbered[0][1] not in HEADERS:
        raise ValueError(f"{path}: the first line is image,labels or image,labels,split")
    rows: dict[str, ImageLabels] = {}
    for number, cells in numbered[1:]:
        try:
            image, row = _parse_row(cells, columns=len(numbered[0][1]))
            if image in rows:
                raise ValueError(f"{image!r} is listed twice")
        except ValueError as error:
            raise ValueError(f"{path}: line {number}: {error}") from error
        rows[image] = row
    if not rows:
        raise ValueError(f"{path}: no images are listed")
    return rows


def find_images(folder: Path) -> list[str]:
    """The path below a folder of every image, known by its ending, sorted, with slashes.

    Raises:
        FileNotFoundError: no image is in it.
    """
    paths = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.is_dir()  # a pipe is refused by its reader
    )
    if not paths:
        raise FileNotFoundError(f"{folder}: no images in it ({', '.join(SUFFIXES)})")
    return paths


class FolderSource(Source):
    """A folder of images; the ids are their paths below it, boxes are not known.

    Without a file of labels every target and every weight is 0.

    Args:
        folder: that holds the images, or one image.
        labels: CSV file, see the module; None for images without labels.
        classes: names in the order of the labels; without any those of the file, sorted.
        val_fraction: fraction of the images in ``val``.
        seed: of that choice, which depends on names alone.

    Raises:
        FileNotFoundError: the folder or the file is missing.
        ValueError: the one image is not an image by its ending, or has a file of labels.
    """

    def __init__(
        self,
        folder: Path,
        labels: Path | None = None,
        *,
        classes: Sequence[str] = (),
        val_fraction: float = 0.2,
        seed: int = 0,
    ) -> None:
        self._single = [folder.name] if folder.is_file() else []
        self.root = folder.parent if self._single else folder
        if self._single and folder.suffix.lower() not in SUFFIXES:
            raise ValueError(f"{folder}: not an image ({', '.join(SUFFIXES)})")
        if not self.root.is_dir():
            raise FileNotFoundError(f"{folder}: no such image or folder of images")
        if labels is not None and not labels.is_file():
            raise FileNotFoundError(f"{labels}: no such file of labels")
        if self._single and labels is not None:
            raise ValueError(f"{labels}: labels are of a folder of images, {folder} is one image")
        self._labels = labels
        self._classes = tuple(classes)
        self._val_fraction = val_fraction
        self._seed = seed

    @classmethod
    def from_settings(cls, settings: DataSettings) -> Self | None:
        """The folder of ``--images``, or the one image."""
        images = settings.images
        if images is None or (images.is_file() and images.suffix.lower() not in SUFFIXES):
            return None
        return cls(
            images,
            settings.labels,
            classes=settings.classes,
            val_fraction=settings.val_fraction,
            seed=settings.split_seed,
        )

    @cached_property
    def rows(self) -> dict[str, ImageLabels]:
        """The lines of the labels file by image id; without one every image, without labels."""
        if self._labels is not None:
            return read_labels(self._labels)
        return dict.fromkeys(self._single or find_images(self.root), ImageLabels())

    @cached_property
    def splits(self) -> dict[str, list[str]]:
        """Image ids by split, in the order of the file, or sorted; no split is empty.

        ``all`` holds every image. A third column gives the splits that it names, and ``trainval``
        is train and val together. Without it ``train`` and ``val`` follow from the fraction and
        the seed, and ``trainval`` is every image. Where no image has a label, ``all`` is the only
        split.
        """
        rows, images = self.rows.values(), list(self.rows)
        splits = {"all": images}
        if any(row.split for row in rows):
            for image, row in self.rows.items():
                splits.setdefault(row.split, []).append(image)
            both = [image for image in images if self.rows[image].split in ("train", "val")]
            splits.setdefault("trainval", both)
        elif any(row.labels for row in rows):
            splits |= self.draw_splits(images)
        return {name: members for name, members in splits.items() if members}

    def draw_splits(self, images: Sequence[str]) -> dict[str, list[str]]:
        """``trainval``, which is these images, and ``train`` and ``val`` by fraction and seed."""
        val = _draw_names(images, round(self._val_fraction * len(images)), self._seed)
        return {
            "train": [image for image in images if image not in val],
            "val": [image for image in images if image in val],
            "trainval": list(images),
        }

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the labels."""
        named = {name for row in self.rows.values() for name in row.labels}
        return self._classes or tuple(sorted(named))

    def ids(self, split: str) -> list[str]:
        """Paths below the folder, in the order of the file, or sorted.

        Raises:
            ValueError: an invalid file, or no such split.
        """
        if split not in self.splits:
            existing = ", ".join(self.splits)
            hint = "" if self._labels else " (--labels names a CSV of labels to learn from)"
            raise ValueError(
                f"{self._labels or self.root}: no split {split!r}; there are {existing}{hint}"
            )
        return self.splits[split]

    def path(self, image_id: str) -> Path:
        """The file of an image."""
        return self.root / image_id

    def labels(self, image_id: str) -> tuple[Tensor, Tensor]:
        """Targets and weights; every weight is 0 without a file of labels."""
        present = self.rows[image_id].labels
        targets = torch.tensor([float(name in present) for name in self.classes])
        return targets, torch.full((len(self.classes),), float(self._labels is not None))

    def annotation(self, image_id: str) -> Annotation:
        """The size of the image; it has no boxes."""
        return without_boxes(image_id, read_image_size(self.path(image_id)))

    def scan(self) -> Scan:
        """Find names of classes that are none of the classes."""
        cure = "correct the labels file, or name the class with --classes"
        unknown = [Problem(self.path(name), what, cure) for name, what in self._unknown()]
        objects = {
            name: Counter((label, False) for label in row.labels) for name, row in self.rows.items()
        }
        return Scan(self.classes, self.splits, objects, {}, unknown)

    def open(self, split: str, *, leave_out: Collection[Path] = ()) -> ImageSet:
        """The images of a split.

        Raises:
            FileNotFoundError: listed images are missing.
            ValueError: an unknown class or split, or an invalid image.
        """
        if not self.classes:
            raise ValueError(f"{self._labels or self.root}: no classes (no image has a label)")
        for name, what in self._unknown():
            raise ValueError(f"{self._labels}: {name}: {what}")
        paths = [(name, self.path(name)) for name in self.ids(split)]
        missing = [name for name, path in paths if path not in leave_out and not path.exists()]
        if missing:
            raise FileNotFoundError(f"{self.root}: no such image: {name_first(missing)}")
        return super().open(split, leave_out=leave_out)

    def _unknown(self) -> list[tuple[str, str]]:
        """Images with a label that is none of the classes, and what is wrong with it."""
        return [
            (image, f"class {label!r} is not one of {', '.join(self.classes)}")
            for image, row in self.rows.items()
            for label in row.labels
            if label not in self.classes
        ]


def _parse_row(cells: Sequence[str], columns: int) -> tuple[str, ImageLabels]:
    if len(cells) != columns:
        raise ValueError(f"{len(cells)} columns instead of {columns}")
    image, labels, *split = cells
    parts = PurePosixPath(image.replace("\\", "/"))
    if not image or parts.is_absolute() or ".." in parts.parts or "\0" in image:
        raise ValueError(f"{image!r} is not a path below the folder")
    names = [name.strip() for name in labels.split(SEPARATOR)] if labels else []
    if not all(names):
        raise ValueError(f"an empty class name in {labels!r}")
    if split and not split[0]:
        raise ValueError("the split is empty")
    if split and split[0] == "all":
        raise ValueError("the split 'all' is every image already")
    return parts.as_posix(), ImageLabels(tuple(dict.fromkeys(names)), split[0] if split else "")


def _draw_names(images: Iterable[str], count: int, seed: int) -> set[str]:
    """``count`` names with the lowest hashes: a new name changes few of the other choices."""
    return set(
        sorted(images, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())[:count]
    )
