"""Numbers of evaluated models as ``report.json`` holds them, and tables of them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from data.evaluation.metrics import METRICS
from data.json_files import read_json
from tools.cli.console import printable

Numbers = Mapping[str, Any]  # metrics by name; None or nan where there is nothing to measure
LARGEST = 1e300  # of a number that a report may hold
# What is shown class by class, and the number that stands beside it: of boxes, else of images.
BY_CLASS = (("box_map_area", "box_map_11point"), ("image_map", "f2"))


def read_report(folder: Path) -> dict[str, Any]:
    """The content of the ``report.json`` of an evaluation; holds at least one model.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is not a report; names it.
    """
    path = folder / "report.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such report (evaluate writes one)")
    content: dict[str, Any] = read_json(path, description="a report")
    try:
        models = models_of(content)
        for numbers in models.values():
            _check_numbers(numbers)
        for part in ("settings", "environment"):
            if not isinstance(content.get(part, {}), dict):
                raise ValueError(f"{part}: {content[part]!r:.80}")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: not a report ({error})") from error
    if not models:
        raise ValueError(f"{path}: not a report (no model is in it)")
    return content


def _check_numbers(numbers: Mapping[str, Any]) -> None:
    """Refuse a model's part with values that are no numbers."""
    named = metrics_of(numbers) | {"seconds": numbers.get("seconds")}
    for where, row in {"": named, **numbers["per_class"]}.items():
        for key, value in row.items():
            is_known = type(value) in (int, float) and abs(value) < LARGEST
            if not (value is None or is_known or value != value):
                raise ValueError(f"{f'{where} {key}'.strip()}: {value!r:.80}")
    if not isinstance(numbers.get("split", ""), str):
        raise ValueError(f"split: {numbers['split']!r:.80}")


def models_of(report: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The models' parts of a ``report.json``, by name: those with numbers of classes."""
    parts = {name: part for name, part in report.items() if isinstance(part, dict)}
    return {name: part for name, part in parts.items() if "per_class" in part}


def metrics_of(model: Mapping[str, Any]) -> dict[str, float | None]:
    """The metrics in a model's part of a report, by name: what its classes have."""
    names = dict.fromkeys(name for row in model["per_class"].values() for name in row)
    return {name: model.get(name) for name in names}


def measured(found: dict[str, str], rows: Mapping[str, Numbers]) -> dict[str, str]:
    """Headings of the metrics that some row has a number of."""
    return {
        name: heading
        for name, heading in found.items()
        if any(is_number(row.get(name)) for row in rows.values())
    }


def is_number(value: float | None) -> TypeGuard[float]:
    """Whether there was something to measure."""
    return value is not None and not math.isnan(value)


def class_metric(models: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    """The pair of ``BY_CLASS`` that some model has numbers of."""
    return next(
        (
            pair
            for pair in BY_CLASS
            if any(is_number(numbers.get(pair[0])) for numbers in models.values())
        ),
        BY_CLASS[-1],
    )


def column_of(numbers: Mapping[str, Any], key: str) -> dict[str, float | None]:
    """One number of every class."""
    return {name: row.get(key) for name, row in numbers["per_class"].items()}


def headings(rows: Iterable[Numbers], *, headline: bool | None = None) -> dict[str, str]:
    """Headings of the metrics that some rows hold, by name, in the order of ``METRICS``.

    Args:
        rows: metrics by name.
        headline: only those of the short tables, or only the others; None for all. A metric that
            ``METRICS`` lacks, from a newer version, is last with its name, and in the short tables.
    """
    found = dict.fromkeys(name for row in rows for name in row)
    known = [(name, metric.heading, metric.is_headline) for name, metric in METRICS.items()]
    unknown = [(name, name, True) for name in found if name not in METRICS]
    return {
        name: heading
        for name, heading, is_headline in (*known, *unknown)
        if name in found and headline in (None, is_headline)
    }


def headline_table(kind: str, rows: Mapping[str, Numbers]) -> list[list[str]]:
    """Headings, then the headline metrics of each row by name; ``kind`` says what the rows are."""
    columns = headings(rows.values(), headline=True)
    lines = [
        [name, *(three_digits(numbers.get(key)) for key in columns)]
        for name, numbers in rows.items()
    ]
    return [[kind, *columns.values()], *lines]


def markdown_table(heads: Sequence[str], *lines: Sequence[str]) -> str:
    """A table in Markdown; every line has as many cells as there are heads."""
    cells = [[printable(cell).replace("|", "\\|") for cell in line] for line in (heads, *lines)]
    first, *others = [f"| {' | '.join(line)} |" for line in cells]
    return "\n".join([first, "|---" * len(heads) + "|", *others])


def three_digits(value: float | None) -> str:
    """A number of a table; n/a where there was nothing to measure."""
    return "n/a" if value is None or value != value else f"{value:.3f}"
