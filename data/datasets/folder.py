"""Any folder of images: labels in one of the forms of ``data.datasets.labels``, or none at all."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor

from data.checks import name_first, without_path
from data.datasets.image_set import ImageSet
from data.datasets.labels.content import (
    SPLITS,
    DifficultPolicy,
    ImageLabels,
    Labels,
    counted,
    targets_and_weights,
    to_annotation,
)
from data.datasets.labels.forms import read_labels
from data.datasets.labels.names import SUFFIXES, find_images, without_suffix
from data.datasets.labels.place import LabelsPlace
from data.datasets.settings import DataSettings
from data.datasets.source import Problem, Scan, Source, refuse
from data.datasets.turned import turn_annotation
from data.images import optional_formats, read_image_size
from data.types import Annotation

# Images that people have and that are not read.
UNREAD = {
    *(".heic", ".heif", ".avif", ".jxl", ".jp2", ".cr2", ".nef", ".arw", ".dng", ".svg", ".psd")
} - set(optional_formats())


class FolderSource(Source):
    """A folder of images; the ids are their paths below it.

    Without labels every target and every weight is 0.

    Args:
        folder: that holds the images, or one image.
        labels: a file or folder in one of the forms of ``data.datasets.labels.forms``, or the word
            ``folders``; None for images without labels.
        classes: names in the order of the labels; without any those of the labels, sorted.
        val_fraction: fraction of the images in ``val``.
        seed: of that choice, which depends on names alone.
        difficult: see ``targets_and_weights``.
        first_pixel: number of the first pixel in annotations of VOC's form.

    Raises:
        FileNotFoundError: the folder or the file is missing.
        ValueError: the one image is not an image by its ending, or has labels.
    """

    def __init__(
        self,
        folder: Path,
        labels: Path | Literal["folders"] | None = None,
        *,
        classes: Sequence[str] = (),
        val_fraction: float = 0.2,
        seed: int = 0,
        difficult: DifficultPolicy = "ignore",
        first_pixel: int = 1,
    ) -> None:
        self._single = [folder.name] if folder.is_file() else []
        self.root = folder.parent if self._single else folder
        if self._single and folder.suffix.lower() not in SUFFIXES:
            raise ValueError(f"{folder}: not an image ({', '.join(SUFFIXES)})")
        if not self.root.is_dir():
            raise FileNotFoundError(f"{folder}: no such image or folder of images")
        if isinstance(labels, Path) and not (labels.is_file() or labels.is_dir()):
            raise FileNotFoundError(f"{labels}: no such file or folder of labels")
        if self._single and labels is not None:
            raise ValueError(f"{labels}: labels are of a folder of images, {folder} is one image")
        self._labels = labels
        self._classes = tuple(classes)
        self._val_fraction = val_fraction
        self._seed = seed
        self._difficult = difficult
        self._first_pixel = first_pixel

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
            difficult=settings.difficult,
            first_pixel=1 if settings.first_pixel is None else settings.first_pixel,
        )

    @cached_property
    def content(self) -> Labels:
        """What the labels say, with all their problems; without any every image, unlabeled."""
        if self._labels is None:
            images = self._single or find_images(self.root)
            return Labels("", dict.fromkeys(images, ImageLabels()))
        return read_labels(LabelsPlace(self._labels, self.root, self._classes, self._first_pixel))

    @property
    def where(self) -> Path:
        """The file or folder of the labels; without any that of the images."""
        return self._labels if isinstance(self._labels, Path) else self.root

    @property
    def form(self) -> str:
        """How the labels are written; empty without labels."""
        named = f"{self._labels.name}: " if isinstance(self._labels, Path) else ""
        return f"{named}{self.content.form}" if self.content.form else ""

    @property
    def rows(self) -> dict[str, ImageLabels]:
        """What the labels say of each image; invalid lines are not in it."""
        return self.content.rows

    @cached_property
    def splits(self) -> dict[str, list[str]]:
        """Image ids by split, in the order of the file, or sorted; no split is empty.

        ``all`` holds every image. Labels may name splits, and then ``trainval`` is train and val
        together. Else ``train`` and ``val`` follow from the fraction and the seed, and ``trainval``
        is every image. Where no image has a label, ``all`` is the only split.
        """
        rows, images = self.rows.values(), list(self.rows)
        splits = {"all": images}
        if any(row.split for row in rows):
            for image, row in self.rows.items():
                splits.setdefault(row.split, []).append(image)
            parts = ("train", "val", "trainval")
            splits["trainval"] = [image for image in images if self.rows[image].split in parts]
        elif any(row.names for row in rows):
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
        named = {name for row in self.rows.values() for name in row.names}
        return self._classes or self.content.classes or tuple(sorted(named))

    @property
    def split_names(self) -> tuple[str, ...]:
        """Names of the splits, ``all`` first."""
        return tuple(self.splits)

    def ids(self, split: str) -> list[str]:
        """Paths below the folder, in the order of the file, or sorted.

        Raises:
            ValueError: an invalid file, or no such split.
        """
        refuse(self.content.problems)
        if split in self.splits:
            return self.splits[split]
        usual = SPLITS.get(split.lower(), split)
        if usual not in self.splits:
            existing = ", ".join(self.splits)
            hint = "" if self._labels else " (--labels names the labels to learn from)"
            raise ValueError(f"{self.where}: no split {split!r}; there are {existing}{hint}")
        return self.splits[usual]

    def path(self, image_id: str) -> Path:
        """The file of an image."""
        return self.root / image_id

    def labels(self, image_id: str) -> tuple[Tensor, Tensor]:
        """Targets and weights; weights are 0 without labels, and of classes that these lack."""
        targets, weights = targets_and_weights(self.rows[image_id], self.classes, self._difficult)
        asked = self.content.classes or self.classes
        known = [self._labels is not None and name in asked for name in self.classes]
        return targets, weights * torch.tensor(known, dtype=torch.float32)

    def annotation(self, image_id: str) -> Annotation:
        """The size of the image, and its objects where the labels have boxes.

        Raises:
            ValueError: an invalid annotation; names its file.
        """
        row = self.rows[image_id]
        size = row.size or read_image_size(self.path(image_id))
        try:
            annotation = to_annotation(image_id, row, self.classes, size)
        except ValueError as error:
            raise ValueError(f"{row.file}: {image_id}: {error}") from error
        return turn_annotation(annotation, self.path(image_id)) if row.size else annotation

    def scan(self) -> Scan:
        """Find what is wrong with the labels, and names that are none of the classes."""
        problems = [*self.content.problems]
        cure = "correct the labels, or name the class with --classes"
        problems += [Problem(self.path(name), what, cure) for name, what in self._unknown()]
        cure = "correct the annotation, or leave the image out with --on-bad skip"
        files = {name: row.file for name, row in self.rows.items() if row.file}
        sizes = {}
        for name, file in files.items():
            try:
                sizes[name] = self.annotation(name).image_size
            except (ValueError, OSError) as error:
                problems.append(Problem(file, without_path(file, error), cure, self.path(name)))
        objects = {name: counted(row) for name, row in self.rows.items()}
        return Scan(self.classes, self.splits, objects, sizes, problems)

    def remarks(self) -> list[str]:
        """Images that no label names, files that are not read, and images that share a name."""
        found = self._single or find_images(self.root)
        unlisted = [name for name in found if name not in self.rows]
        of_file = Counter(path.suffix.lower() for path in self.root.rglob("*"))
        unread = [f"{of_file[suffix]} {suffix}" for suffix in sorted(UNREAD) if of_file[suffix]]
        by_stem = dict[str, list[str]]()
        for name in self.rows:
            by_stem.setdefault(without_suffix(name), []).append(name)
        twins = [" and ".join(names) for names in by_stem.values() if len(names) > 1]
        return [
            f"{self.root}: {what}: {name_first(names)}"
            for what, names in (
                ("images without a line in the labels, not used", unlisted),
                ("images of kinds that are not read (convert them to JPEG or PNG)", unread),
                ("one annotation file is opened for both by labeling tools", twins),
            )
            if names
        ]

    def open(self, split: str, *, leave_out: Collection[Path] = ()) -> ImageSet:
        """The images of a split.

        Raises:
            FileNotFoundError: listed images are missing; names the first of them.
            ValueError: invalid labels, an unknown class or split, or an invalid image.
        """
        refuse(self.content.problems)
        if not self.classes:
            raise ValueError(f"{self.where}: no classes (no image has a label)")
        for name, what in self._unknown():
            raise ValueError(f"{self.where}: {name}: {what}")
        return super().open(split, leave_out=leave_out)

    def _unknown(self) -> list[tuple[str, str]]:
        """Images with a label that is none of the classes, and what is wrong with it.

        Where labels come with boxes, that is a problem of the annotation.
        """
        return [
            (image, f"class {label!r} is not one of {', '.join(self.classes)}")
            for image, row in self.rows.items()
            for label in row.names
            if row.file is None and label not in self.classes
        ]


def _draw_names(images: Iterable[str], count: int, seed: int) -> set[str]:
    """``count`` names with the lowest hashes: a new name changes few of the other choices."""
    return set(
        sorted(images, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())[:count]
    )
