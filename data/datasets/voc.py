"""PASCAL VOC in the devkit's layout: lists, annotations, image-level labels, a data set.

Its folder is VOC2007, another VOCnnnn, or one that holds Annotations, JPEGImages and ImageSets
itself. Without annotations the labels are those of the lists of each class.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Self

from torch import Tensor

from data.checks import without_path
from data.datasets.labels.class_lists import read_lists
from data.datasets.labels.content import (
    DifficultPolicy,
    ImageLabels,
    Labels,
    counted,
    targets_and_weights,
    to_annotation,
)
from data.datasets.labels.names import SUFFIXES
from data.datasets.labels.voc_xml import read_xml
from data.datasets.settings import DataSettings
from data.datasets.source import Problem, Scan, Source, refuse
from data.datasets.turned import turn_annotation
from data.datasets.voc_layout import HINT, YEAR, read_list, split_names, voc_folder, without_ending
from data.images import read_image_size
from data.types import Annotation, without_boxes

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip

OFFICIAL_COUNTS = {"train": 2501, "val": 2510, "trainval": 5011, "test": 4952}
DISJOINT = (("train", "val"), ("train", "test"), ("val", "test"), ("trainval", "test"))


def read_annotation(
    path: Path,
    classes: Sequence[str] = VOC_CLASSES,
    *,
    first_pixel: int = 1,
    image: Path | None = None,
) -> Annotation:
    """Objects of one image; ``<part>`` boxes inside of objects are not objects.

    Args:
        path: a devkit XML file.
        classes: names in the order of the labels.
        first_pixel: number of the first pixel in it.
        image: gives the size that the file does not say.

    Returns:
        Boxes in the original image; no objects give tensors of zero rows.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not XML, a document type (entities can expand without bound), UTF-16, an
            unknown class, a missing or non-numeric field, or a box outside of the image.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no annotation ({HINT})")
    row = read_xml(path, first_pixel)
    size = row.size or (read_image_size(image) if image else None)
    try:
        if size is None:
            raise ValueError("<annotation> lacks size/width and size/height")
        return to_annotation(path.stem, row, classes, size)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def image_level_labels(
    annotation: Annotation, num_classes: int = 20, *, difficult: DifficultPolicy = "ignore"
) -> tuple[Tensor, Tensor]:
    """Which classes the image holds.

    Args:
        annotation: its objects.
        num_classes: C.
        difficult: see ``targets_and_weights``.

    Returns:
        targets ``[C]`` float32 in {0, 1} and weights ``[C]`` float32, 0 = ignored. Without objects
        every target is 0 and every weight 1.

    Raises:
        ValueError: an unknown policy.
    """
    countable, doubtful = (
        {str(label) for label in annotation.labels[annotation.difficult == flag].tolist()}
        for flag in (False, True)
    )
    row = ImageLabels(tuple(countable), difficult=tuple(doubtful - countable))
    return targets_and_weights(row, [str(label) for label in range(num_classes)], difficult)


class VOCSource(Source):
    """VOC, or a data set in its layout; a split is a list.

    Args:
        voc_root: folder of the data set, see the module.
        classes: names in the order of the labels.
        difficult: see ``targets_and_weights``.
        first_pixel: number of the first pixel in the annotations.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there are several.
    """

    learned = ("trainval", "")

    def __init__(
        self,
        voc_root: Path,
        classes: Sequence[str] = VOC_CLASSES,
        *,
        difficult: DifficultPolicy = "ignore",
        first_pixel: int = 1,
    ) -> None:
        self.folder = voc_folder(voc_root)
        self.root = voc_root
        self._classes = tuple(classes)
        self._difficult = difficult
        self._first_pixel = first_pixel
        self._annotations: dict[str, Annotation] = {}

    @classmethod
    def from_settings(cls, settings: DataSettings) -> Self | None:
        """The folder of ``--voc-root``, unless other images are named."""
        if settings.images or settings.voc_root is None:
            return None
        return cls(
            settings.voc_root,
            settings.classes or VOC_CLASSES,
            difficult=settings.difficult,
            first_pixel=1 if settings.first_pixel is None else settings.first_pixel,
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the labels."""
        return self._classes

    @property
    def split_names(self) -> tuple[str, ...]:
        """Names of the lists of images, VOC's own first."""
        return tuple(split_names(self.folder, OFFICIAL_COUNTS))

    def ids(self, split: str) -> list[str]:
        """Names in the order of the list; blank lines, a BOM and CRLF are fine.

        Raises:
            FileNotFoundError: there is no such list.
            ValueError: an empty list, a name twice, or a name that is not a plain file name.
        """
        return read_list(self.folder, split)

    @property
    def form(self) -> str:
        """That the labels are those of the class lists, where there are no annotations."""
        return "" if self._has_annotations else "class lists, no boxes"

    def path(self, image_id: str) -> Path:
        """The file of an image; of another ending than ``.jpg`` if that is the one there is.

        Raises:
            ValueError: there are several.
        """
        found = self._images.get(image_id, [])
        if len(found) > 1:
            raise ValueError(f"{found[0]}: the image of {image_id}, or {found[1].name}?")
        return found[0] if found else self.folder / "JPEGImages" / f"{image_id}.jpg"

    def labels(self, image_id: str) -> tuple[Tensor, Tensor]:
        """See ``targets_and_weights``.

        Raises:
            ValueError: there are no annotations and an invalid list of a class.
        """
        if self._has_annotations:
            annotation = self.annotation(image_id)
            return image_level_labels(annotation, len(self.classes), difficult=self._difficult)
        refuse(self._lists.problems)
        if image_id not in self._lists.rows:
            raise ValueError(f"{self._main}: no list of a class holds {image_id}")
        return targets_and_weights(self._lists.rows[image_id], self.classes, self._difficult)

    def annotation(self, image_id: str) -> Annotation:
        """In the frame of the upright image; each file is read once. Class lists have no boxes."""
        if not self._has_annotations:
            return without_boxes(image_id, read_image_size(self.path(image_id)))
        if image_id not in self._annotations:
            image = self.path(image_id)
            annotation = read_annotation(
                self._annotation_path(image_id),
                self.classes,
                first_pixel=self._first_pixel,
                image=image,
            )
            self._annotations[image_id] = turn_annotation(annotation, image)
        return self._annotations[image_id]

    def official_count(self, split: str) -> int | None:
        """Number of images of VOC2007's own splits."""
        is_voc = self.classes == VOC_CLASSES and self.folder.resolve().name == YEAR
        return OFFICIAL_COUNTS.get(split) if is_voc else None

    def scan(self) -> Scan:
        """Read and compare the lists, and read every annotation that they name.

        Raises:
            FileNotFoundError: there is no list.
        """
        existing = self.split_names
        if not existing:
            raise FileNotFoundError(f"{self._main}: none of the lists {', '.join(OFFICIAL_COUNTS)}")
        splits, of_lists = dict[str, list[str]](), list[Problem]()
        for split in existing:
            path = self._main / f"{split}.txt"
            try:
                splits[split] = self.ids(split)
            except (ValueError, OSError) as error:
                of_lists.append(Problem(path, without_path(path, error), "correct the list"))
        for one, other in DISJOINT:
            shared = sorted(set(splits.get(one, ())) & set(splits.get(other, ())))
            if shared:
                what = f"{len(shared)} images are in {one} too, such as {shared[0]}"
                cure = "an image is for learning or for testing"
                of_lists.append(Problem(self._main / f"{other}.txt", what, cure))
        problems = sorted(of_lists, key=attrgetter("where"))
        names = list(dict.fromkeys(name for ids in splits.values() for name in ids))
        if not self._has_annotations:
            rows = {name: self._lists.rows[name] for name in names if name in self._lists.rows}
            problems += self._lists.problems
            return Scan(
                self.classes, splits, {n: counted(r) for n, r in rows.items()}, {}, problems
            )
        return self._scan_annotations(splits, names, problems)

    def _scan_annotations(
        self, splits: dict[str, list[str]], names: Sequence[str], problems: list[Problem]
    ) -> Scan:
        annotations, of_files = dict[str, Annotation](), list[Problem]()
        for name in names:
            try:
                annotations[name] = self.annotation(name)
            except (ValueError, OSError) as error:
                path = self._annotation_path(name)
                cure = "correct the file, take the name off the lists, or --on-bad skip"
                what = without_path(path, error)
                of_files.append(Problem(path, what, cure, self.path(name)))
        sizes = {name: annotation.image_size for name, annotation in annotations.items()}
        objects = {name: self._objects(annotation) for name, annotation in annotations.items()}
        problems += sorted(of_files, key=attrgetter("where"))
        return Scan(self.classes, splits, objects, sizes, problems)

    def _annotation_path(self, image_id: str) -> Path:
        return self.folder / "Annotations" / f"{image_id}.xml"

    def _objects(self, annotation: Annotation) -> Counter[tuple[str, bool]]:
        pairs = zip(annotation.labels.tolist(), annotation.difficult.tolist(), strict=True)
        return Counter((self.classes[label], difficult) for label, difficult in pairs)

    @property
    def _main(self) -> Path:
        return self.folder / "ImageSets" / "Main"

    @cached_property
    def _has_annotations(self) -> bool:
        """Whether there are any; else the class lists are asked, if there are any of these."""
        is_there = next((self.folder / "Annotations").glob("*.xml"), None) is not None
        return is_there or not (self._lists.rows or self._lists.problems)

    @cached_property
    def _lists(self) -> Labels:
        lists = read_lists(self._main, self.classes)
        rows = {without_ending(self.folder, name): row for name, row in lists.rows.items()}
        return replace(lists, rows=rows)

    @cached_property
    def _images(self) -> dict[str, list[Path]]:
        """Images by their name without ending."""
        images: dict[str, list[Path]] = {}
        for path in sorted((self.folder / "JPEGImages").glob("*")):
            if path.suffix.lower() in SUFFIXES:
                images.setdefault(path.stem, []).append(path)
        return images
