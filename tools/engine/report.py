"""``report.json`` for programs and ``report.html`` for a person: one page, no network needed."""

import base64
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from torch import Tensor

from tools.engine.draw import encode_jpeg
from tools.engine.files import write_atomically
from tools.engine.printable import printable
from tools.engine.run_folder import environment, write_json

COLUMNS = {
    "image_map": "image mAP",
    "f2": "F2",
    "recall": "recall",
    "box_map_11point": "box mAP 11-point",
    "box_map_area": "box mAP area",
    "corloc": "CorLoc",
    "point_accuracy": "point accuracy",
    "heat_coverage": "heat coverage",
}
ERRORS = {
    "box_recall": "objects found at all",
    "errors_hit": "hit",
    "errors_repeated": "again on the same",
    "errors_part": "part of one",
    "errors_grouped": "several in one box",
    "errors_localisation": "badly placed",
    "errors_background": "nothing there",
}
DETECTOR_COLUMNS = {
    "box_map_11point": "box mAP 11-point",
    "box_map_area": "box mAP area",
    "corloc": "CorLoc",
    "image_map": "image mAP",
    "box_recall": "objects found at all",
    "errors_part": "part of one",
}
Curves = Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]  # heading, line, points (x, y)
COLOURS = ("#1b6ca8", "#c8553d", "#4a8f3c", "#7d4fa3")


def write_report(
    folder: Path,
    title: str,
    models: Mapping[str, Mapping[str, Any]],
    *,
    settings: Mapping[str, Any],
    curves: Curves,
    box_curves: Curves,
    pictures: Mapping[str, Tensor],
    repeat: str,
) -> None:
    """Write both files.

    Args:
        folder: gets ``report.json`` and ``report.html``; is made if need be.
        title: of the page.
        models: by name (``localizer``, ``localizer_robust``, ``detector``): the numbers of
            ``COLUMNS`` and ``ERRORS``, ``per_class``, ``threshold_curve``, ``weights_sha256``,
            ``seconds``.
        settings: flat, shown as a table.
        curves: by heading, then by name of the line: points (x, y).
        box_curves: by class, then by name of the model: points (recall, precision).
        pictures: by heading.
        repeat: the command that gives the same again.
    """
    content = {**models, "settings": settings, "environment": environment(), "command": repeat}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "report.json", content)
    write_page(
        folder / "report.html",
        title=title,
        columns=COLUMNS,
        errors=ERRORS,
        models=models,
        settings=settings,
        environment=content["environment"],
        charts=charts(curves),
        box_charts=charts(box_curves, shares=True),
        rules={key: COLUMNS[key] for key in ("box_map_11point", "box_map_area")},
        pictures={heading: _embedded(picture) for heading, picture in pictures.items()},
        repeat=repeat,
    )


def write_page(path: Path, **content: Any) -> None:
    """A page from the template of its name; every text in it is escaped."""
    templates = Environment(loader=PackageLoader("tools.engine"), autoescape=True)
    page = templates.get_template(path.name).render(**content)
    write_atomically(path, page.encode(errors="backslashreplace"))


def markdown_table(models: Mapping[str, Mapping[str, Any]]) -> str:
    """The means of all models, one a line."""
    lines = ["| model | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, numbers in models.items():
        lines.append(_line(name, [numbers.get(key) for key in COLUMNS]))
    return "\n".join(lines)


def markdown_classes(numbers: Mapping[str, Any]) -> str:
    """What one model reaches on each class, one a line."""
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


def _embedded(picture: Tensor) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(picture)).decode()


def charts(curves: Curves, *, shares: bool = False) -> dict[str, dict[str, Any]]:
    """What can be drawn: points that are finite, lines and headings that have any.

    Axes end at the smallest and the largest value, or at 0 and 1 where both are ``shares``.
    """
    result = {}
    for heading, lines in curves.items():
        finite = {name: [p for p in line if math.isfinite(p[1])] for name, line in lines.items()}
        drawn = {name: line for name, line in finite.items() if line}
        if drawn:
            result[heading] = _chart(drawn, [(0.0, 0.0), (1.0, 1.0)] if shares else [])
    return result


def _chart(
    lines: Mapping[str, Sequence[tuple[float, float]]], ends: Sequence[tuple[float, float]]
) -> dict[str, Any]:
    """Lines in a 560x220 drawing, with axes that hold the ends as well."""
    points = [*ends, *(point for line in lines.values() for point in line)]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    left, low = min(xs), min(0.0, *ys)
    width, height = (max(xs) - left) or 1, (max(ys) - low) or 1

    def place(x: float, y: float) -> str:
        return f"{50 + 500 * (x - left) / width:.1f},{200 - 180 * (y - low) / height:.1f}"

    return {
        "lines": [
            {"name": name, "colour": colour, "points": " ".join(place(x, y) for x, y in line)}
            for (name, line), colour in zip(lines.items(), COLOURS * 8, strict=False)
        ],
        "x": (f"{left:g}", f"{max(xs):g}"),
        "y": (f"{low:.3g}", f"{max(ys):.3g}"),
    }
