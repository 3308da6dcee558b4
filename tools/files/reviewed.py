"""Boxes that a person has marked in a gallery: the CSV file that its page saves."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from data.datasets.labels.content import number_of
from data.datasets.labels.table import Table, read_table
from data.datasets.source import refuse

COLUMNS = ("image", "class", "x1", "y1", "x2", "y2", "score", "mark", "new_class")
ACCEPTED, REJECTED, RELABELED, ABSENT = MARKS = ("accepted", "rejected", "relabeled", "absent")


class MarkedBox(NamedTuple):
    """A box of a gallery, and what a person has said of it.

    Attributes:
        class_name: that it was found with.
        corners: x1 y1 x2 y2 in pixels of the original, zero-based and half-open.
        score: that it was found with.
        mark: one of ``MARKS``; empty for a box without one in an image that has others.
        new_class: of a relabeled box; else empty.
    """

    class_name: str
    corners: tuple[float, ...]
    score: float
    mark: str
    new_class: str

    @property
    def tenths(self) -> list[int]:
        """The corners in whole tenths of a pixel, as a gallery's page has them."""
        return [round(10 * side) for side in self.corners]

    @property
    def kept_class(self) -> str:
        """The class with which the box stays; empty if it does not."""
        return {ACCEPTED: self.class_name, RELABELED: self.new_class}.get(self.mark, "")


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What a file says.

    Attributes:
        path: of the file.
        boxes: by image, in the order of the file.
    """

    path: Path
    boxes: dict[str, list[MarkedBox]]


def read_reviewed(path: Path) -> Reviewed:
    """The marked boxes of a file, and the others of their images.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, or invalid lines; names the first twenty.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of reviewed boxes (a gallery saves one)")
    table = read_table(path)
    missing = [name for name in COLUMNS if name not in table.header]
    if missing:
        raise ValueError(
            f"{path}: no column {', '.join(missing)} (a gallery saves reviewed boxes as CSV)"
        )
    boxes, wrong = dict[str, list[MarkedBox]](), dict[int, str]()
    for number, cells in table.rows:
        try:
            image, box = _row(table, cells)
        except ValueError as error:
            wrong[number] = str(error)
        else:
            boxes.setdefault(image, []).append(box)
    refuse(table.problems(wrong))
    return Reviewed(path, boxes)


def _row(table: Table, cells: tuple[str, ...]) -> tuple[str, MarkedBox]:
    cell = {name: cells[table.header.index(name)] for name in COLUMNS}
    *corners, score = (number_of(cell[name]) for name in COLUMNS[2:7])
    x1, y1, x2, y2 = corners
    if not all(map(math.isfinite, (*corners, score))) or x2 <= x1 or y2 <= y1:
        raise ValueError(f"{' '.join(cells[2:7])} are no box with a score")
    mark, new_class = cell["mark"], cell["new_class"]
    if mark not in ("", *MARKS):
        raise ValueError(f"the mark {mark!r} is not one of {', '.join(MARKS)}")
    if (mark == RELABELED) != bool(new_class):
        raise ValueError(f"a new class belongs to a relabeled box, got {mark!r} and {new_class!r}")
    return cell["image"], MarkedBox(cell["class"], tuple(corners), score, mark, new_class)
