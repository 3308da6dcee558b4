"""A column of labels: one row an image with all its labels, or one row a label."""

import re
from collections.abc import Sequence

from data.datasets.labels.content import ImageLabels, Labels
from data.datasets.labels.place import LabelsPlace
from data.datasets.labels.table import LABEL, SPLIT, Table, image_name

SEPARATORS = "|;,"  # between the labels of a cell; the first one that a file uses is the only one


def read_rows(place: LabelsPlace) -> Labels | None:
    """The labels of a table with a column of labels; None for anything else.

    A cell that equals one of the classes that the user names is one label, whatever is in it.
    """
    table = place.table
    if table is None or (column := table.column(LABEL)) is None:
        return None
    if table.header == ("image_name", "tags"):
        raise ValueError(f"{table.path}: image_name,tags is the header of labels between blanks")
    cells = [_unbracketed(row[column]) for _, row in table.rows]
    used = [s for s in SEPARATORS if any(s in cell for cell in cells if cell not in place.classes)]
    separator = used[0] if used else ""
    rows, wrong, listed = dict[str, ImageLabels](), dict[int, str](), 0
    where = table.image_column()
    for (number, row), cell in zip(table.rows, cells, strict=True):
        try:
            image = image_name(row[where])
            split = table.split_of(row)
            said = ImageLabels(_labels(cell, used, place.classes), split)
            rows[image] = _joined(image, rows[image], said, separator) if image in rows else said
            listed += 1
        except ValueError as error:
            wrong[number] = str(error)
    form = "one row a label" if listed > len(rows) else "one row an image"
    form += f", {separator} between its labels" if separator else ""
    return Labels(form + _unread(table), rows, tuple(table.problems(wrong)))


def _labels(cell: str, used: Sequence[str], classes: Sequence[str]) -> tuple[str, ...]:
    """The labels of a cell, without repetition."""
    if not cell or cell in classes:
        return (cell,) if cell else ()
    if others := [s for s in used[1:] if s in cell]:
        raise ValueError(f"{others[0]} in {cell!r}, labels of other lines have {used[0]} between")
    names = [name.strip() for name in (cell.split(used[0]) if used else [cell])]
    if not all(names):
        raise ValueError(f"an empty class name in {cell!r}")
    return tuple(dict.fromkeys(names))


def _joined(image: str, first: ImageLabels, again: ImageLabels, separator: str) -> ImageLabels:
    """The labels of two rows of an image."""
    if separator:
        raise ValueError(f"{image!r} is listed twice (other lines have {separator} between labels)")
    if first.split != again.split:
        raise ValueError(f"{image!r} is in {first.split} and in {again.split}")
    if bool(first.labels) != bool(again.labels):
        raise ValueError(f"{image!r} is listed with a label and without one")
    return ImageLabels(tuple(dict.fromkeys((*first.labels, *again.labels))), first.split)


def _unbracketed(cell: str) -> str:
    """A list as Python and JSON write it without its brackets and quotes."""
    if not re.fullmatch(r"\[.*\]", cell):
        return cell
    return ",".join(name.strip(" '\"") for name in cell[1:-1].split(","))


def _unread(table: Table) -> str:
    known = {table.image_column(), table.column(LABEL), table.column(SPLIT)}
    others = [name for k, name in enumerate(table.header) if k not in known]
    return f"; columns that are not read: {', '.join(others)}" if others else ""
