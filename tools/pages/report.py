"""``report.json`` for programs and ``report.html`` for a person: one page, no network needed."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from tools.cli.console import printable
from tools.files.atomic import write_json
from tools.pages.charts import Curves, charts, write_page
from tools.pages.draw import encode_jpeg
from tools.runs.environment import environment

COLUMNS = {
    "image_map": "image mAP",
    "f2": "F2",
    "recall": "recall",
    "box_map_11point": "box mAP 11-point",
    "box_map_area": "box mAP area",
    "corloc": "CorLoc",
    "point_accuracy": "point accuracy",
    "heatmap_coverage": "heatmap coverage",
}
ERRORS = {
    "box_recall": "box recall",
    "errors_hit": "hit",
    "errors_duplicate": "duplicate",
    "errors_part": "part",
    "errors_group": "group",
    "errors_localization": "localization",
    "errors_background": "background",
}
DETECTOR_COLUMNS = {
    "box_map_11point": "box mAP 11-point",
    "box_map_area": "box mAP area",
    "corloc": "CorLoc",
    "image_map": "image mAP",
    "box_recall": "box recall",
    "errors_part": "part",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a report shows.

    Attributes:
        title: of the page.
        models: by name (``localizer``, ``localizer_robust``, ``detector``): the numbers of
            ``COLUMNS`` and ``ERRORS``, ``per_class``, ``threshold_curve``, ``weights_sha256``,
            ``seconds``.
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
    """Write ``report.json`` and ``report.html`` into a folder, which is made if it is missing."""
    content = {
        **report.models,
        "settings": report.settings,
        "environment": environment(),
        "command": report.repeat,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "report.json", content)
    write_page(
        folder / "report.html",
        title=report.title,
        columns=COLUMNS,
        errors=ERRORS,
        models=report.models,
        settings=report.settings,
        environment=content["environment"],
        charts=charts(report.curves),
        box_charts=charts(report.box_curves, fractions=True),
        rules={key: COLUMNS[key] for key in ("box_map_11point", "box_map_area")},
        images={heading: _embedded(image) for heading, image in report.images.items()},
        repeat=report.repeat,
    )


def markdown_table(models: Mapping[str, Mapping[str, Any]]) -> str:
    """The means over classes, one model a line."""
    lines = ["| model | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, numbers in models.items():
        lines.append(_line(name, [numbers.get(key) for key in COLUMNS]))
    return "\n".join(lines)


def markdown_classes(numbers: Mapping[str, Any]) -> str:
    """The numbers of one model on each class, one class a line."""
    keys = {key: COLUMNS[key] for key in ("box_map_11point", "box_map_area", "corloc", "image_map")}
    lines = ["| class | " + " | ".join(keys.values()) + " |", "|---" * (len(keys) + 1) + "|"]
    for name, row in numbers["per_class"].items():
        lines.append(_line(name, [row.get(key) for key in keys]))
    return "\n".join(lines)


def _line(name: str, values: Sequence[float | None]) -> str:
    shown = printable(name).replace("|", "\\|")
    return f"| {shown} | " + " | ".join(_three_digits(value) for value in values) + " |"


def _three_digits(value: float | None) -> str:
    return "n/a" if value is None or value != value else f"{value:.3f}"


def _embedded(image: Tensor) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(image)).decode()
