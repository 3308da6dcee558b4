"""A column for each class: 1 present, 0 absent, -1 or nothing unknown."""

from data.datasets.labels.content import ImageLabels, Labels
from data.datasets.labels.place import LabelsPlace
from data.datasets.labels.table import LABEL, SPLIT, WANTED, image_name
from data.datasets.source import Problem

VALUES = {
    **dict.fromkeys(("1", "1.0", "true"), 1),
    **dict.fromkeys(("0", "0.0", "false"), 0),
    **dict.fromkeys(("-1", "-1.0", ""), -1),
}


def read_one_hot(place: LabelsPlace) -> Labels | None:
    """The labels of a table that has no column of labels; None for anything else.

    Raises:
        ValueError: no column but that of the images, one without a name, or one twice.
    """
    table = place.table
    if table is None or table.column(LABEL) is not None:
        return None
    where, of_split = table.image_column(), table.column(SPLIT)
    columns = {name: k for k, name in enumerate(table.header) if k not in (where, of_split)}
    expected = len(table.header) - 1 - (of_split is not None)
    if not columns or "" in columns or len(columns) < expected:
        raise ValueError(
            f"{table.path}: {WANTED}, or image and a column for each class, of another name each; "
            f"it is {','.join(table.header)[:80]}"
        )
    rows, wrong = dict[str, ImageLabels](), dict[int, str]()
    for number, cells in table.rows:
        values = {name: VALUES.get(cells[k].lower()) for name, k in columns.items()}
        try:
            image = image_name(cells[where])
            split = table.split_of(cells)
            if image in rows:
                raise ValueError(f"{image!r} is listed twice")
            if odd := [name for name, value in values.items() if value is None]:
                cell = cells[columns[odd[0]]]
                raise ValueError(f"{cell!r} of column {odd[0]} is not 1, 0 or -1")
        except ValueError as error:
            wrong[number] = str(error)
            continue
        present, unknown = (tuple(n for n, v in values.items() if v == k) for k in (1, -1))
        rows[image] = ImageLabels(present, split, unknown=unknown)
    problems = table.problems(wrong)
    written = {cells[k] for _, cells in table.rows for k in columns.values()}
    if "-1" in written and "0" not in written:  # -1 is absent for some people
        cure = "write 0 for a class that is absent, -1 for one that may be there or not"
        problems.insert(0, Problem(table.path, "holds -1 and no 0", cure))
    unsure = any(row.unknown for row in rows.values())
    form = "a column for each class" + (", -1 or nothing unknown" if unsure else "")
    return Labels(form, rows, tuple(problems), tuple(sorted(columns)))
