"""One row an object, with its corners: ``filename,width,height,class,xmin,ymin,xmax,ymax``."""

from dataclasses import dataclass, field

from data.datasets.labels.content import (
    ImageLabels,
    LabeledObject,
    Labels,
    number_of,
    of_objects,
    size_of,
)
from data.datasets.labels.place import LabelsPlace
from data.datasets.labels.table import LABEL, Table, image_name

SIDES = (
    ("xmin", "x_min", "x1"),
    ("ymin", "y_min", "y1"),
    ("xmax", "x_max", "x2"),
    ("ymax", "y_max", "y2"),
)


@dataclass
class _Rows:
    """What the rows of an image say."""

    split: str
    size: tuple[int, int] | None
    objects: list[LabeledObject] = field(default_factory=list)


def read_box_rows(place: LabelsPlace) -> Labels | None:
    """The objects of a table with a column of labels and one for each side; None for others.

    A row without label and corners is an image without objects.
    """
    table = place.table
    if table is None or (label := table.column(LABEL)) is None:
        return None
    sides = [k for k in map(table.column, SIDES) if k is not None]
    if len(sides) < 4:
        return None
    images, wrong = dict[str, _Rows](), dict[int, str]()
    for number, cells in table.rows:
        try:
            image = image_name(cells[table.image_column()])
            new = _Rows(table.split_of(cells), _size(table, cells))
            rows = images.setdefault(image, new)
            if (rows.split, rows.size) != (new.split, new.size):
                raise ValueError(f"{image!r} has another split or size than before")
            if cells[label] or any(cells[k] for k in sides):
                rows.objects.append(_object(cells[label], [cells[k] for k in sides], place))
        except ValueError as error:
            wrong[number] = str(error)
    rows_of = {name: _labels(rows, table) for name, rows in images.items()}
    return Labels("one row an object, with boxes", rows_of, tuple(table.problems(wrong)))


def _labels(rows: _Rows, table: Table) -> ImageLabels:
    return of_objects(rows.objects, split=rows.split, size=rows.size, file=table.path)


def _object(name: str, sides: list[str], place: LabelsPlace) -> LabeledObject:
    if not name:
        raise ValueError("a box without a label")
    xmin, ymin, xmax, ymax = map(number_of, sides)
    return LabeledObject(name, (xmin, ymin, xmax, ymax), place.first_pixel)


def _size(table: Table, cells: tuple[str, ...]) -> tuple[int, int] | None:
    columns = table.column(("height",)), table.column(("width",))
    return size_of(*(number_of(cells[k] or 0) if k is not None else 0 for k in columns))
