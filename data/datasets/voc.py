"""PASCAL VOC in the devkit's layout: lists, annotations, image-level labels, a data set.

Corners become zero-based and half-open here, see ``data.types``.
"""

import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor

from data.checks import check_annotation, without_path
from data.datasets.settings import DataSettings
from data.datasets.source import Problem, Scan, Source
from data.datasets.turned import turn_annotation
from data.types import Annotation

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip

OFFICIAL_COUNTS = {"train": 2501, "val": 2510, "trainval": 5011, "test": 4952}
DISJOINT = (("train", "val"), ("train", "test"), ("val", "test"), ("trainval", "test"))

DifficultPolicy = Literal["ignore", "positive", "negative"]

_YEAR = "VOC2007"


def image_path(voc_root: Path, image_id: str) -> Path:
    """Where the image lies below the folder that holds ``VOC2007``."""
    return voc_root / _YEAR / "JPEGImages" / f"{image_id}.jpg"


def annotation_path(voc_root: Path, image_id: str) -> Path:
    """Where the annotation lies below the folder that holds ``VOC2007``."""
    return voc_root / _YEAR / "Annotations" / f"{image_id}.xml"


def image_ids(voc_root: Path, split: str) -> list[str]:
    """Names of a split in the order of its list; blank lines, a BOM and CRLF are fine.

    Raises:
        FileNotFoundError: there is no such list.
        ValueError: an empty list, a name twice, or a name that is not a plain file name.
    """
    path = voc_root / _YEAR / "ImageSets" / "Main" / f"{split}.txt"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no list of split {split!r} (--voc-root or $VOC_ROOT is the folder that "
            f"holds {_YEAR})"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file in UTF-8 ({error})") from error
    ids = [line.strip() for line in text.splitlines() if line.strip()]
    if not ids:
        raise ValueError(f"{path}: the list is empty")
    for name in ids:
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise ValueError(f"{path}: {name!r} is not the name of an image")
    repeated = sorted(name for name, count in Counter(ids).items() if count > 1)
    if repeated:
        raise ValueError(f"{path}: listed twice: {', '.join(repeated[:5])}")
    return ids


def read_annotation(path: Path, classes: Sequence[str] = VOC_CLASSES) -> Annotation:
    """Objects of one image; ``<part>`` boxes inside of objects are not objects.

    Args:
        path: a devkit XML file.
        classes: names in the order of the labels.

    Returns:
        Boxes in the original image; no objects give tensors of zero rows.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not XML, a document type (entities can expand without bound), UTF-16, an
            unknown class, a missing or non-numeric field, or a box outside of the image.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no annotation (--voc-root is the folder that holds {_YEAR})"
        )
    text = path.read_bytes()
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise ValueError(f"{path}: a document type is not accepted in an annotation")
    if b"\0" in text:  # it could hide a document type
        raise ValueError(f"{path}: UTF-16 is not accepted in an annotation")
    try:
        return _parse_annotation(ET.fromstring(text), path.stem, classes)
    except (ET.ParseError, LookupError, ValueError) as error:  # LookupError: its encoding
        raise ValueError(f"{path}: {error}") from error


def image_level_labels(
    annotation: Annotation, num_classes: int = 20, *, difficult: DifficultPolicy = "ignore"
) -> tuple[Tensor, Tensor]:
    """Which classes the image holds.

    Args:
        annotation: its objects.
        num_classes: C.
        difficult: treatment of a class whose objects are all difficult: ``ignore`` gives
            it weight 0, ``positive`` counts it as present, ``negative`` as absent.

    Returns:
        targets ``[C]`` float32 in {0, 1} and weights ``[C]`` float32, 0 = ignored. Without objects
        every target is 0 and every weight 1.

    Raises:
        ValueError: an unknown policy.
    """
    if difficult not in ("ignore", "positive", "negative"):
        raise ValueError(f"difficult is ignore, positive or negative; got {difficult!r}")
    targets, weights = torch.zeros(num_classes), torch.ones(num_classes)
    difficult_labels = annotation.labels[annotation.difficult]
    if difficult == "ignore":
        weights[difficult_labels] = 0
    elif difficult == "positive":
        targets[difficult_labels] = 1
    countable = annotation.labels[~annotation.difficult]
    targets[countable] = 1
    weights[countable] = 1
    return targets, weights


class VOCSource(Source):
    """VOC, or a data set in its layout; a split is a list.

    Args:
        voc_root: folder that holds ``VOC2007``.
        classes: names in the order of the labels.
        difficult: see ``image_level_labels``.

    Raises:
        FileNotFoundError: the folder holds no ``VOC2007``.
    """

    whole = "trainval"

    def __init__(
        self,
        voc_root: Path,
        classes: Sequence[str] = VOC_CLASSES,
        *,
        difficult: DifficultPolicy = "ignore",
    ) -> None:
        if not (voc_root / _YEAR).is_dir():
            raise FileNotFoundError(
                f"{voc_root}: no {_YEAR} in it (--voc-root is the folder that holds {_YEAR})"
            )
        self.root = voc_root
        self._classes = tuple(classes)
        self._difficult = difficult
        self._annotations: dict[str, Annotation] = {}

    @classmethod
    def from_settings(cls, settings: DataSettings) -> Self | None:
        """The folder of ``--voc-root``, unless other images are named."""
        if settings.images or settings.voc_root is None:
            return None
        classes = settings.classes or VOC_CLASSES
        return cls(settings.voc_root, classes, difficult=settings.difficult)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the labels."""
        return self._classes

    def ids(self, split: str) -> list[str]:
        """Names in the order of the list; blank lines, a BOM and CRLF are fine.

        Raises:
            FileNotFoundError: there is no such list.
            ValueError: an empty list, a name twice, or a name that is not a plain file name.
        """
        return image_ids(self.root, split)

    def path(self, image_id: str) -> Path:
        """The file of an image."""
        return image_path(self.root, image_id)

    def labels(self, image_id: str) -> tuple[Tensor, Tensor]:
        """See ``image_level_labels``."""
        annotation = self.annotation(image_id)
        return image_level_labels(annotation, len(self.classes), difficult=self._difficult)

    def annotation(self, image_id: str) -> Annotation:
        """See ``read_annotation``, in the frame of the upright image; each file is read once."""
        if image_id not in self._annotations:
            path = annotation_path(self.root, image_id)
            annotation = read_annotation(path, self.classes)
            self._annotations[image_id] = turn_annotation(annotation, self.path(image_id))
        return self._annotations[image_id]

    def official_count(self, split: str) -> int | None:
        """Number of images of VOC2007's own splits."""
        return OFFICIAL_COUNTS.get(split) if self.classes == VOC_CLASSES else None

    def scan(self) -> Scan:
        """Read and compare the four lists, and read every annotation that they name.

        Raises:
            FileNotFoundError: none of the four lists exists.
        """
        folder = self.root / _YEAR / "ImageSets" / "Main"
        existing = [split for split in OFFICIAL_COUNTS if (folder / f"{split}.txt").exists()]
        if not existing:
            raise FileNotFoundError(f"{folder}: none of the lists {', '.join(OFFICIAL_COUNTS)}")
        splits, annotations = dict[str, list[str]](), dict[str, Annotation]()
        of_lists, of_files = list[Problem](), list[Problem]()
        for split in existing:
            path = folder / f"{split}.txt"
            try:
                splits[split] = self.ids(split)
            except (ValueError, OSError) as error:
                of_lists.append(Problem(path, without_path(path, error), "correct the list"))
        for one, other in DISJOINT:
            shared = sorted(set(splits.get(one, ())) & set(splits.get(other, ())))
            if shared:
                what = f"{len(shared)} images are in {one} too, such as {shared[0]}"
                cure = "an image is for learning or for testing"
                of_lists.append(Problem(folder / f"{other}.txt", what, cure))
        for name in dict.fromkeys(name for names in splits.values() for name in names):
            try:
                annotations[name] = self.annotation(name)
            except (ValueError, OSError) as error:
                path = annotation_path(self.root, name)
                cure = "restore or correct the file, or take the name off the lists"
                of_files.append(Problem(path, without_path(path, error), cure))
        sizes = {name: annotation.image_size for name, annotation in annotations.items()}
        objects = {name: self._objects(annotation) for name, annotation in annotations.items()}
        where = attrgetter("where")
        problems = sorted(of_lists, key=where) + sorted(of_files, key=where)
        return Scan(self.classes, splits, objects, sizes, problems)

    def _objects(self, annotation: Annotation) -> Counter[tuple[str, bool]]:
        pairs = zip(annotation.labels.tolist(), annotation.difficult.tolist(), strict=True)
        return Counter((self.classes[label], difficult) for label, difficult in pairs)


def _parse_annotation(root: ET.Element, image_id: str, classes: Sequence[str]) -> Annotation:
    size = (int(_text(root, "size/height")), int(_text(root, "size/width")))
    objects = root.findall("object")
    corners = torch.tensor(
        [
            [float(_text(item, f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")]
            for item in objects
        ]
    ).reshape(-1, 4)
    names = [_text(item, "name") for item in objects]
    for name in names:
        if name not in classes:
            raise ValueError(f"class {name!r} is not one of {', '.join(classes)}")
    annotation = Annotation(
        image_id,
        size,
        corners - torch.tensor([1.0, 1.0, 0.0, 0.0]),  # one-based closed to zero-based half-open
        torch.tensor([classes.index(name) for name in names], dtype=torch.int64),
        torch.tensor([item.findtext("difficult", "0").strip() == "1" for item in objects]).bool(),
        torch.tensor([item.findtext("truncated", "0").strip() == "1" for item in objects]).bool(),
    )
    check_annotation(annotation, len(classes))
    return annotation


def _text(element: ET.Element, path: str) -> str:
    text = element.findtext(path)
    if text is None or not text.strip():
        raise ValueError(f"<{element.tag}> lacks {path}")
    return text.strip()
