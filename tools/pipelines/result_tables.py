"""The result tables: means over the seeds of each row, written into a page between marks."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from data.evaluation.metrics import METRICS
from tools.pages.numbers import headings, markdown_table
from tools.pipelines.result_rows import KINDS, OF_BOXES, Row

PAGE = "README.md"  # in the folder of the results
CLASSES = "classes"  # of a table: the detector's rows class by class


def with_tables(page: str, rows: Sequence[Row], folder: Path) -> str:
    """The page with the tables between its marks written anew from the files of a folder.

    Raises:
        ValueError: the marks of a table are missing.
    """
    for kind in tables_of(rows):
        begin, end = marks(kind)
        before, found_begin, rest = page.partition(begin)
        _, found_end, after = rest.partition(end)
        if not (found_begin and found_end):
            raise ValueError(f"{folder / PAGE}: the marks {begin} and {end} are missing")
        text = class_table(rows, folder) if kind == CLASSES else table(rows, kind, folder)
        page = f"{before}{begin}\n{text}\n{end}{after}"
    return page


def empty_page(rows: Sequence[Row]) -> str:
    """A page of nothing but the marks of its tables."""
    parts = ["# Results", *("\n".join(marks(kind)) for kind in tables_of(rows))]
    return "\n\n".join(parts) + "\n"


def tables_of(rows: Sequence[Row]) -> list[str]:
    """The tables that rows are in, in the order of ``KINDS``, that of the classes last."""
    kinds = [kind for kind in KINDS if any(row.kind == kind for row in rows)]
    return kinds + [CLASSES] * ("detector" in kinds)


def marks(kind: str) -> tuple[str, str]:
    """Lines before and after a table."""
    return f"<!-- {kind} table: written by tools.make_results -->", f"<!-- end of {kind} table -->"


def table(rows: Sequence[Row], kind: str, folder: Path) -> str:
    """Means over the seeds with their sample deviation; rows without results say so."""
    of_kind = [(row.title, row.results(folder)) for row in rows if row.kind == kind]
    columns = {name: METRICS[name].heading for name in KINDS[kind].columns} or headings(
        (result["metrics"] for _, results in of_kind for result in results), headline=True
    )
    lines = []
    for title, results in of_kind:
        if not results:
            lines.append([title, *[""] * len(columns), "not yet run", ""])
            continue
        cells = [_spread([result["metrics"].get(key) for result in results]) for key in columns]
        minutes = statistics.mean(result["seconds"] for result in results) / 60
        lines.append([title, *cells, f"{len(results)}", f"{minutes:.0f}"])
    return markdown_table([kind, *columns.values(), "seeds", "minutes"], *lines)


def class_table(rows: Sequence[Row], folder: Path) -> str:
    """The first detector class by class, means over its seeds."""
    results = next((row.results(folder) for row in rows if row.kind == "detector"), [])
    lines = [
        [
            name,
            *(
                _spread([result["per_class"][name].get(key) for result in results])
                for key in OF_BOXES
            ),
        ]
        for name in (results[0]["per_class"] if results else ())
    ]
    return markdown_table(["class", *(METRICS[key].heading for key in OF_BOXES)], *lines)


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if len(known) < len(values):  # a class without objects, or a row that is older than the metric
        return "n/a"
    mean = statistics.mean(known)
    if len(known) == 1:
        return f"{mean:.3f}"
    return f"{mean:.3f} ± {statistics.stdev(known):.3f}"
