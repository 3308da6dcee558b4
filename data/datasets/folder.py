"""Any folder of images: labels from a CSV file, or none at all.

The CSV file has a header ``image,labels`` and maybe a third column ``split``. ``image`` is a path
below the folder, ``labels`` are class names with ``|`` between them, nothing for an image that
holds none of the classes.
"""

import csv
import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch

from data.checks import name_first
from data.datasets.image_set import ImageSet
from data.images import read_image_size
from data.types import Annotation

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
SEPARATOR = "|"


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One line of a labels file.

    Attributes:
        image: path below the folder, with slashes.
        labels: class names, without repetition.
        split: of the third column, empty without one.
    """

    image: str
    labels: tuple[str, ...]
    split: str = ""


def read_labels(path: Path) -> list[LabelRow]:
    """The lines of a labels file in their order; blank lines, a BOM and CRLF are fine.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another header, a line with other columns, an image twice or outside of the
            folder, no line at all; names the file and the line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of labels")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            numbered = enumerate(csv.reader(file, strict=True), start=1)
            lines = [
                (number, row) for number, row in numbered if len(row) > 1 or "".join(row).strip()
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    if not lines or [cell.strip() for cell in lines[0][1]] not in (
        ["image", "labels"],
        ["image", "labels", "split"],
    ):
        raise ValueError(f"{path}: the first line is image,labels or image,labels,split")
    rows, seen = [], set()
    for number, cells in lines[1:]:
        try:
            row = _parse_row(cells, columns=len(lines[0][1]))
            if row.image in seen:
                raise ValueError(f"{row.image!r} is listed twice")
        except ValueError as error:
            raise ValueError(f"{path}: line {number}: {error}") from error
        seen.add(row.image)
        rows.append(row)
    if not rows:
        raise ValueError(f"{path}: no images are listed")
    return rows


def find_images(folder: Path) -> list[LabelRow]:
    """Every image below a folder by its ending, sorted, without labels.

    Raises:
        FileNotFoundError: no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of images")
    paths = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.is_dir()  # a pipe is refused by its reader
    )
    if not paths:
        raise FileNotFoundError(f"{folder}: no images in it ({', '.join(SUFFIXES)})")
    return [LabelRow(image, ()) for image in paths]


def list_images(folder: Path, labels: Path | None) -> list[LabelRow]:
    """The lines of the labels file; without one every image below the folder.

    Raises:
        FileNotFoundError: no such file of labels; without one no such folder, or no image in it.
        ValueError: the file of labels is not one; see ``read_labels``.
    """
    return find_images(folder) if labels is None else read_labels(labels)


def splits_of(
    rows: list[LabelRow], *, val_fraction: float = 0.2, seed: int = 0
) -> dict[str, list[LabelRow]]:
    """Rows by split, in their order; no split is empty.

    ``all`` holds every row. A third column gives the splits that it names, and ``trainval`` is
    train and val together. Without it ``train`` and ``val`` follow from ``val_fraction`` and
    ``seed``, and ``trainval`` is every row. Where no row has a label, ``all`` is the only split.
    """
    splits = {"all": list(rows)}
    if any(row.split for row in rows):
        for row in rows:
            splits.setdefault(row.split, []).append(row)
        both = [row for row in rows if row.split in ("train", "val")]
        splits.setdefault("trainval", both)
    elif any(row.labels for row in rows):
        val = _draw_names((row.image for row in rows), round(val_fraction * len(rows)), seed)
        splits["train"] = [row for row in rows if row.image not in val]
        splits["val"] = [row for row in rows if row.image in val]
        splits["trainval"] = rows
    return {name: members for name, members in splits.items() if members}


class FolderDataset(ImageSet):
    """A folder's images; the ids are their paths below it, boxes are not known.

    Without a file of labels every target and every weight is 0.

    Args:
        folder: that holds the images.
        labels: CSV file, see the module; None for images without labels.
        split: which images, see ``splits_of``.
        classes: names in the order of the labels; without any those of the file, sorted.
        val_fraction: fraction of the images in ``val``.
        seed: of that choice, which depends on names alone.
        leave_out: images not to take, by path.

    Raises:
        FileNotFoundError: the folder, the file or listed images are missing.
        ValueError: an unknown class or split, or an invalid image.
    """

    def __init__(
        self,
        folder: Path,
        labels: Path | None,
        split: str,
        *,
        classes: Sequence[str] = (),
        val_fraction: float = 0.2,
        seed: int = 0,
        leave_out: Collection[Path] = (),
    ) -> None:
        rows = list_images(folder, labels)
        names = tuple(classes) or tuple(sorted({name for row in rows for name in row.labels}))
        if not names:
            raise ValueError(f"{labels or folder}: no classes (no image has a label)")
        for row in rows:
            for name in row.labels:
                if name not in names:
                    raise ValueError(
                        f"{labels}: {row.image}: class {name!r} is not one of {', '.join(names)}"
                    )
        splits = splits_of(rows, val_fraction=val_fraction, seed=seed)
        if split not in splits:
            existing = ", ".join(splits)
            hint = "" if labels else " (--labels names a CSV of labels to learn from)"
            raise ValueError(f"{labels or folder}: no split {split!r}; there are {existing}{hint}")
        chosen = [row for row in splits[split] if folder / row.image not in leave_out]
        missing = [row.image for row in chosen if not (folder / row.image).exists()]
        if missing:
            raise FileNotFoundError(f"{folder}: no such image: {name_first(missing)}")
        paths = [folder / row.image for row in chosen]
        weight = float(labels is not None)
        super().__init__(
            split,
            names,
            paths,
            [
                _without_boxes(row.image, read_image_size(path))
                for row, path in zip(chosen, paths, strict=True)
            ],
            [
                (
                    torch.tensor([float(name in row.labels) for name in names]),
                    torch.full((len(names),), weight),
                )
                for row in chosen
            ],
        )


def one_image(path: Path, classes: Sequence[str]) -> ImageSet:
    """One image without labels as a data set; its id is its name.

    Raises:
        ValueError: not an image by its ending or by its content; names it.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: not an image ({', '.join(SUFFIXES)})")
    nothing = torch.zeros(len(classes))
    annotation = _without_boxes(path.name, read_image_size(path))
    return ImageSet("all", classes, [path], [annotation], [(nothing, nothing)])


def _parse_row(cells: Sequence[str], columns: int) -> LabelRow:
    if len(cells) != columns:
        raise ValueError(f"{len(cells)} columns instead of {columns}")
    image, labels, *split = (cell.strip() for cell in cells)
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
    return LabelRow(parts.as_posix(), tuple(dict.fromkeys(names)), split[0] if split else "")


def _draw_names(images: Iterable[str], count: int, seed: int) -> set[str]:
    """``count`` names with the lowest hashes: a new name changes few of the other choices."""
    return set(
        sorted(images, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())[:count]
    )


def _without_boxes(image_id: str, image_size: tuple[int, int]) -> Annotation:
    empty = torch.zeros(0, dtype=torch.int64)
    return Annotation(image_id, image_size, torch.zeros(0, 4), empty, empty.bool(), empty.bool())
