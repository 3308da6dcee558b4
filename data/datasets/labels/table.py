"""Tables as text: CSV with commas, semicolons or tabs, columns known by what people call them."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data.datasets.labels.content import SPLITS
from data.datasets.source import Problem

# Names of columns, in small letters with _ between words. Of several columns of images the first of
# these is taken: what names a file is rather that than a number.
IMAGE = (
    *("file_name", "filename", "file_path", "filepath", "image_path", "img_path", "path"),
    *("image", "image_name", "imagename", "file", "img", "images", "image_id", "imageid", "id"),
)
LABEL = (
    *("labels", "label", "tags", "tag", "classes", "class", "class_name"),
    *("categories", "category", "label_name", "labelname"),
)
SPLIT = ("split", "set", "subset")
WANTED = "the first line names the columns, such as image,labels or image,labels,split"


@dataclass(frozen=True)
class Table:
    """A file with a header.

    Attributes:
        path: of the file.
        header: names of the columns, as written.
        rows: number of each line, and its cells, as many as there are columns.
        wrong: what is wrong with the other lines, by their number.
    """

    path: Path
    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    wrong: dict[int, str]

    def problems(self, wrong: Mapping[int, str]) -> list[Problem]:
        """The problem of each line, in their order."""
        cure = f"correct the line; the columns are {', '.join(self.header)}"
        lines = sorted({**self.wrong, **wrong}.items())
        return [Problem(self.path, f"line {number}: {what}", cure) for number, what in lines]

    def image_column(self) -> int:
        """Where the column of the images is; there is one."""
        names = [_plain(name) for name in self.header]
        return names.index(next(name for name in IMAGE if name in names))

    def split_of(self, cells: Sequence[str]) -> str:
        """The split of a row; empty without such a column.

        Raises:
            ValueError: the cell is empty, or ``all``.
        """
        column = self.column(SPLIT)
        return "" if column is None else split_name(cells[column])

    def column(self, names: Sequence[str]) -> int | None:
        """Where the column of one of these names is, None if there is none.

        Raises:
            ValueError: there are several.
        """
        found = [k for k, name in enumerate(self.header) if _plain(name) in names]
        if len(found) > 1:
            several = ", ".join(self.header[k] for k in found)
            raise ValueError(f"{self.path}: which column is meant, {several}? (keep one of them)")
        return found[0] if found else None


def read_table(path: Path) -> Table:
    """The lines of a table; blank lines, a BOM and CRLF are fine.

    Raises:
        ValueError: not text in UTF-8, no column of images, or no line but the header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            delimiter = _delimiter(file.readlines())
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, strict=True, skipinitialspace=True)
            lines = [(reader.line_num, tuple(cell.strip() for cell in row)) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        hint = "a spreadsheet saves it as CSV UTF-8"
        raise ValueError(f"{path}: not a CSV file in UTF-8 ({error}; {hint})") from error
    lines = [(number, cells) for number, cells in lines if cells not in ((), ("",))]
    found = ",".join(lines[0][1])[:80] if lines else "nothing"
    if not lines or not any(_plain(name) in IMAGE for name in lines[0][1]):
        raise ValueError(f"{path}: {WANTED}; it is {found}")
    (_, header), *rows = lines
    if not rows:
        raise ValueError(f"{path}: no images are listed")
    wrong = {
        number: f"{len(cells)} columns instead of {len(header)}"
        for number, cells in rows
        if len(cells) != len(header)
    }
    return Table(path, header, tuple(row for row in rows if row[0] not in wrong), wrong)


def image_name(cell: str) -> str:
    """The image of a cell as a path below the folder, with slashes.

    Raises:
        ValueError: it lies elsewhere, or the cell is empty.
    """
    parts = PurePosixPath(cell.replace("\\", "/"))
    drive = re.match("[A-Za-z]:", cell)
    if not cell or drive or parts.is_absolute() or ".." in parts.parts or "\0" in cell:
        raise ValueError(f"{cell!r} is not a path below the folder of images")
    return parts.as_posix()


def split_name(cell: str) -> str:
    """The split of a cell; Train, valid and the like are the usual splits.

    Raises:
        ValueError: it is empty, or ``all``.
    """
    if not cell:
        raise ValueError("the split is empty")
    if cell == "all":
        raise ValueError("the split 'all' is every image already")
    return SPLITS.get(cell.lower(), cell)


def _plain(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _delimiter(lines: Sequence[str]) -> str:
    """The one that gives the header a column of images, a comma if none does."""
    header = next((line for line in lines if line.strip()), "")
    for delimiter in (",", "\t", ";"):
        cells = [cell.strip(' "\r\n') for cell in header.split(delimiter)]
        if len(cells) > 1 and any(_plain(cell) in IMAGE for cell in cells):
            return delimiter
    return ","
