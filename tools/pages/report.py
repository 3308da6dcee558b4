"""``report.json`` for programs and ``report.html`` for a person: one page, no network needed.

Each learning curve of the page is also a drawing in a file, ``figures/NAME.svg``.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from torch import Tensor

from data.evaluation.metrics import METRICS
from data.json_files import read_json
from tools.cli.console import printable
from tools.files.atomic import MOST_BYTES, shortened, write_json
from tools.pages.charts import Curves, charts
from tools.pages.draw import encode_jpeg
from tools.pages.page import write_page
from tools.runs.environment import environment

Numbers = Mapping[str, Any]  # metrics by name; None or nan where there is nothing to measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a report shows.

    Attributes:
        title: of the page.
        models: by name: the metrics by name, the same ``per_class``, ``threshold_curve``,
            ``weights_sha256``, ``seconds``, and maybe ``tail_accuracy_curve``.
        settings: flat, shown as a table.
        curves: by heading, then by name of the line: points (x, y).
        box_curves: by class, then by name of the model: points (recall, precision).
        images: by heading.
        repeat: the command that gives the same report again.
    """

    title: str
    models: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, Any]
    curves: Curves
    box_curves: Curves
    images: Mapping[str, Tensor]
    repeat: str


def write_report(folder: Path, report: Report) -> None:
    """Write ``report.html``, ``figures`` and ``report.json`` into a folder, made if missing.

    The last one is what other commands read, so it is there when all is.
    """
    content = {
        **report.models,
        "settings": report.settings,
        "environment": environment(),
        "command": report.repeat,
    }
    folder.mkdir(parents=True, exist_ok=True)
    metrics = {name: metrics_of(numbers) for name, numbers in report.models.items()}
    drawn = charts(report.curves)
    write_page(
        folder / "report.html",
        "report.html",
        title=report.title,
        models=metrics,
        headline=headings(metrics.values(), headline=True),
        further=headings(metrics.values(), headline=False),
        fractions=[name for name, metric in METRICS.items() if metric.is_fraction],
        per_class={name: numbers["per_class"] for name, numbers in report.models.items()},
        settings=report.settings,
        environment=content["environment"],
        charts=drawn,
        box_charts=charts(report.box_curves, fractions=True),
        tail_charts=charts(_tail_curves(report.models), fractions=True),
        images={heading: _embedded(image) for heading, image in report.images.items()},
        repeat=report.repeat,
    )
    _write_figures(folder / "figures", drawn)
    write_json(folder / "report.json", content)


def _write_figures(folder: Path, drawn: Mapping[str, Any]) -> None:
    """A file for each curve by heading, in the place of those of an earlier report.

    In a name ``/`` becomes ``_``, and other characters that a file name cannot hold %XX; a name
    that is too long ends in a hash.
    """
    folder.mkdir(exist_ok=True)
    for earlier in folder.glob("*.svg"):
        earlier.unlink()
    for heading, chart in drawn.items():
        name = quote(heading.replace("/", "_"), safe=" ,()", errors="surrogateescape")
        path = folder / f"{shortened(name, MOST_BYTES - 4)}.svg"
        write_page(path, "figure.svg", heading=heading, chart=chart)


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
            metrics_of(numbers)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: not a report ({error})") from error
    if not models:
        raise ValueError(f"{path}: not a report (no model is in it)")
    return content


def models_of(report: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The models' parts of a ``report.json``, by name: those with numbers of classes."""
    parts = {name: part for name, part in report.items() if isinstance(part, dict)}
    return {name: part for name, part in parts.items() if "per_class" in part}


def _tail_curves(models: Mapping[str, Mapping[str, Any]]) -> Curves:
    """By class, then by name of the model: points (threshold, accuracy above it)."""
    curves: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for name, numbers in models.items():
        for class_name, curve in numbers.get("tail_accuracy_curve", {}).items():
            points = zip(curve["threshold"], curve["accuracy"], strict=True)
            curves.setdefault(class_name, {})[name] = list(points)
    return curves


def metrics_of(model: Mapping[str, Any]) -> dict[str, float | None]:
    """The metrics in a model's part of a report, by name: what its classes have."""
    names = dict.fromkeys(name for row in model["per_class"].values() for name in row)
    return {name: model.get(name) for name in names}


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
        [name, *(_three_digits(numbers.get(key)) for key in columns)]
        for name, numbers in rows.items()
    ]
    return [[kind, *columns.values()], *lines]


def markdown_table(heads: Sequence[str], *lines: Sequence[str]) -> str:
    """A table in Markdown; every line has as many cells as there are heads."""
    cells = [[printable(cell).replace("|", "\\|") for cell in line] for line in (heads, *lines)]
    first, *others = [f"| {' | '.join(line)} |" for line in cells]
    return "\n".join([first, "|---" * len(heads) + "|", *others])


def _three_digits(value: float | None) -> str:
    return "n/a" if value is None or value != value else f"{value:.3f}"


def _embedded(image: Tensor) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(image)).decode()
