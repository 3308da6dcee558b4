"""``report.json`` for programs and ``report.html`` for a person: one page, no network needed.

The page begins with what a number means, what is wrong and what to do next. Each learning curve is
also a drawing in a file, ``figures/NAME.svg``.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from matplotlib.figure import Figure
from torch import Tensor

from data.evaluation.error_kinds import KINDS
from data.evaluation.metrics import METRICS
from tools.files.atomic import MOST_BYTES, shortened, write_atomically, write_json
from tools.pages.charts import (
    Curves,
    class_bars,
    draw,
    embedded,
    line_charts,
    small_multiples,
    sorted_classes,
    stacked_bars,
    threshold_chart,
)
from tools.pages.draw import encode_jpeg
from tools.pages.numbers import (
    class_metric,
    column_of,
    headings,
    is_number,
    measured,
    metrics_of,
)
from tools.pages.page import write_page
from tools.pages.predictions import Shown
from tools.runs.environment import environment

WRONG = {  # how a box of each kind of error is wrong
    "duplicate": "being a second one around an object",
    "part": "showing a part of an object",
    "group": "holding several objects",
    "localization": "an overlap of .1 to .5",
    "background": "showing no object of the class",
}
WEAKEST = 3  # classes that are named


@dataclass(frozen=True, slots=True)
class Sheet:
    """Images of a report that are shown together.

    Attributes:
        heading: of them all.
        note: what is drawn.
        images: each with its id and words below, and a link to it in the gallery.
    """

    heading: str
    note: str
    images: Sequence[Shown]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a report shows.

    Attributes:
        title: of the page.
        models: by name: the metrics by name, the same ``per_class``, ``threshold_curve``,
            ``boxes``, ``weights_sha256``, ``seconds``, and maybe ``tail_accuracy_curve``.
        settings: flat, shown as a table.
        curves: by heading, then by name of the line: points (iteration, y).
        class_curves: by heading, then by class, then by name of the line: the same.
        box_curves: by class, then by name of the model: points (recall, precision).
        sheets: images.
        repeat: the command that gives the same report again.
        next: a command that shows more.
    """

    title: str
    models: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, Any]
    curves: Curves
    class_curves: Mapping[str, Curves]
    box_curves: Curves
    sheets: Sequence[Sheet]
    repeat: str
    next: str


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
    learning = draw(line_charts(report.curves, x="iteration"))
    per_class = {name: numbers["per_class"] for name, numbers in report.models.items()}
    write_page(
        folder / "report.html",
        "report.html",
        title=report.title,
        report=report,
        models=metrics,
        headline=measured(headings(metrics.values(), headline=True), metrics),
        meanings={name: metric.meaning for name, metric in METRICS.items()},
        further=measured(headings(metrics.values(), headline=False), metrics),
        fractions=[name for name, metric in METRICS.items() if metric.is_fraction],
        per_class=per_class,
        columns={name: measured(headings(rows.values()), rows) for name, rows in per_class.items()},
        problems=_problems(report.models),
        environment=content["environment"],
        charts=embedded(draw(_class_charts(report.models))).values(),
        learning=embedded({**learning, **draw(_threshold_charts(report.models))}).values(),
        folded=embedded(draw(_folded(report))),
        sheets=[
            (sheet, [(shown, _embedded(shown.image)) for shown in sheet.images])
            for sheet in report.sheets
        ],
    )
    _write_figures(folder / "figures", learning)
    write_json(folder / "report.json", content)


def _class_charts(models: Mapping[str, Mapping[str, Any]]) -> dict[str, Figure]:
    """AP of every class, and its kinds of errors where boxes are known."""
    bar, mark = class_metric(models)
    bars = {name: column_of(numbers, bar) for name, numbers in models.items()}
    names = sorted_classes(next(iter(bars.values())))
    if not names:
        return {}
    marks = {name: column_of(numbers, mark) for name, numbers in models.items()}
    title = f"{METRICS[bar].heading} of each class".replace("mAP", "AP")
    mark = METRICS[mark].heading.replace("mAP", "AP")
    charts = {title: class_bars(title, bars, marks, mark=mark)}
    for name, numbers in models.items():
        parts = {kind: column_of(numbers, f"errors_{kind}") for kind in KINDS}
        if any(is_number(value) for column in parts.values() for value in column.values()):
            heading = f"What the top-scoring boxes are: {name}"
            charts[heading] = stacked_bars(heading, parts, names)
    return charts


def _threshold_charts(models: Mapping[str, Mapping[str, Any]]) -> dict[str, Figure]:
    curves, chosen = dict[str, dict[float, float | None]](), dict[str, float]()
    for name, numbers in models.items():
        if numbers.get("threshold_curve"):
            curves[name] = {float(t): value for t, value in numbers["threshold_curve"].items()}
            thresholds = (numbers.get("boxes") or {}).get("thresholds", ())
            chosen |= {name: thresholds[0]} if len(thresholds) == 1 else {}
    title = "CorLoc by threshold of the heatmap"
    return {title: threshold_chart(title, curves, chosen)} if curves else {}


def _folded(report: Report) -> dict[str, Figure]:
    """Small multiples, a chart of each class."""
    every = {
        "Precision of the boxes against recall": small_multiples(
            report.box_curves, x="recall", y="precision"
        ),
        "Tail accuracy: of the images that score above a threshold, how many hold the class": (
            small_multiples(_tail_curves(report.models), x="threshold of the score", y="accuracy")
        ),
        **{
            heading: small_multiples(curves, x="iteration", y=heading)
            for heading, curves in report.class_curves.items()
        },
    }
    return {heading: chart for heading, chart in every.items() if chart is not None}


def _problems(models: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Of each model the weakest classes and the most frequent kind of error, as sentences."""
    key, _ = class_metric(models)
    sentences = []
    for name, numbers in models.items():
        column = {k: v for k, v in column_of(numbers, key).items() if is_number(v)}
        weakest = sorted_classes(column)[-WEAKEST:][::-1]
        words = ", ".join(f"{of_class} {column[of_class]:.2f}" for of_class in weakest)
        sentence = f"{name}: the weakest classes are {words}." if weakest else ""
        errors = {kind: numbers.get(f"errors_{kind}") for kind in KINDS if kind != "hit"}
        known = {kind: value for kind, value in errors.items() if is_number(value)}
        if known:
            kind = max(known, key=lambda kind: known[kind])
            sentence += f" Of its top-scoring boxes {known[kind]:.0%} are wrong by {WRONG[kind]}."
        sentences += [sentence] if sentence else []
    return sentences


def _write_figures(folder: Path, drawings: Mapping[str, str]) -> None:
    """A file for each learning curve by heading, in the place of those of an earlier report.

    In a name ``/`` becomes ``_``, and other characters that a file name cannot hold %XX; a name
    that is too long ends in a hash.
    """
    folder.mkdir(exist_ok=True)
    for earlier in folder.glob("*.svg"):
        earlier.unlink()
    for heading, drawing in drawings.items():
        name = quote(heading.replace("/", "_"), safe=" ,()", errors="surrogateescape")
        path = folder / f"{shortened(name, MOST_BYTES - 4)}.svg"
        write_atomically(path, drawing.encode())


def _tail_curves(models: Mapping[str, Mapping[str, Any]]) -> Curves:
    """By class, then by name of the model: points (threshold, accuracy above it)."""
    curves: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for name, numbers in models.items():
        for class_name, curve in numbers.get("tail_accuracy_curve", {}).items():
            points = zip(curve["threshold"], curve["accuracy"], strict=True)
            curves.setdefault(class_name, {})[name] = list(points)
    return curves


def _embedded(image: Tensor) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(image)).decode()
