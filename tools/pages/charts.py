"""Charts of a page as SVG, by matplotlib: curves, small multiples, bars.

They take the color of the text around them, so they are seen on light and on dark pages.
"""

import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from tools.cli.console import printable

Curves = Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]  # heading, line, points (x, y)
# Okabe and Ito, 2008: apart for color-blind readers, without their yellow and black
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
INK = "#010203"  # becomes the color of the text
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "chart",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # else its place is looked for, which takes a fifth of the drawing
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.alpha": 0.2,
    "legend.frameon": False,
    "legend.fontsize": 8,
    **dict.fromkeys(
        (
            *("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor"),
            *("xtick.color", "ytick.color", "grid.color"),
        ),
        INK,
    ),
}
WIDTH, HEIGHT = 4.2, 2.7  # inches of 72 points
# Fractions; matplotlib's own layout takes as long as the drawing, so it is for names alone.
MARGINS = {"left": 0.16, "right": 0.97, "top": 0.88, "bottom": 0.18}
TICKS = 4  # most steps of an axis of numbers; to draw them is most of the work
COLUMNS = 5  # small multiples side by side
LARGEST = 1e300  # larger numbers leave an axis no room, and are left out like infinite ones
LONGEST, LONGEST_TITLE = 40, 60  # characters of a name in a drawing, and above wide bars
BAR = 0.2  # inches a class


@rc_context(STYLE)
def line_charts(curves: Curves, *, x: str) -> dict[str, Figure]:
    """A chart by heading: finite points only, without lines and headings that have none.

    Args:
        curves: to draw; axes begin at 0 or below.
        x: what the horizontal axis counts.
    """
    charts = {}
    for heading, lines in _drawable(curves).items():
        figure, axes = _chart()
        _draw(axes, lines, heading)
        axes.set_xlabel(x)
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.legend(*_legend(axes))
        charts[heading] = figure
    return charts


@rc_context(STYLE)
def small_multiples(curves: Curves, *, x: str, y: str) -> Figure | None:
    """Every heading as a small chart of fractions, all on the same axes; None without lines."""
    drawable = _drawable(curves)
    if not drawable:
        return None
    rows = math.ceil(len(drawable) / COLUMNS)
    width, height = 2.1 * COLUMNS, 1.7 * rows + 0.7
    figure = Figure((width, height))
    figure.subplots_adjust(
        *(0.7 / width, 0.5 / height, 1 - 0.1 / width, 1 - 0.6 / height),
        wspace=0.15,
        hspace=0.3,
    )
    grid = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, (heading, lines) in zip(grid, drawable.items(), strict=False):
        _draw(axes, lines, heading)
    for axes in grid[len(drawable) :]:
        axes.set_axis_off()
    grid[0].set_ylim(0, 1.05)
    figure.supxlabel(x, fontsize=9, y=0.05 / height)
    figure.supylabel(_short(y), fontsize=9, x=0.05 / width)
    if max(map(len, drawable.values())) > 1:
        fullest = max(range(len(drawable)), key=lambda i: len([*drawable.values()][i]))
        figure.legend(*_legend(grid[fullest]), loc="upper left", ncols=len(COLORS))
    return figure


@rc_context(STYLE)
def class_bars(
    title: str,
    bars: Mapping[str, Mapping[str, float | None]],
    marks: Mapping[str, Mapping[str, float | None]],
    *,
    mark: str,
) -> Figure:
    """A fraction for each class and model as bars, in the order of the first model's.

    Args:
        title: of the chart.
        bars: by model, then by class; None where there is nothing to measure.
        marks: a second fraction of the same, drawn as a line across the bar; of the same models.
        mark: what the lines are.
    """
    names = sorted_classes(next(iter(bars.values())))
    size = (WIDTH * 1.25, BAR * len(names) * max(1, 0.6 * len(bars)) + 0.9)
    figure = Figure(size, layout="constrained")
    axes = figure.subplots()
    places, height = np.arange(len(names)), 0.8 / len(bars)
    for number, (model, of_classes) in enumerate(bars.items()):
        at = places + height * (number - (len(bars) - 1) / 2)
        lengths = [_number(of_classes.get(name)) for name in names]
        axes.barh(at, lengths, height * 0.9, color=COLORS[number % len(COLORS)], label=model)
        crossed = [_number(marks[model].get(name)) for name in names]
        label = mark if number == 0 else None
        axes.plot(crossed, at, "|", color=INK, ms=7, mew=1.5, label=label)
    _finish(figure, axes, title, names)
    return figure


@rc_context(STYLE)
def stacked_bars(
    title: str, parts: Mapping[str, Mapping[str, float | None]], names: Sequence[str]
) -> Figure:
    """Fractions of each class end to end; ``parts`` by what they are, then by class."""
    figure = Figure((WIDTH * 1.25, BAR * len(names) + 0.9), layout="constrained")
    axes = figure.subplots()
    left = np.zeros(len(names))
    for (part, of_classes), color in zip(parts.items(), (*COLORS[2:], *COLORS[:2]), strict=False):
        lengths = np.array([_number(of_classes.get(name)) for name in names])
        axes.barh(np.arange(len(names)), lengths, 0.72, left=left, color=color, label=part)
        left += lengths
    _finish(figure, axes, title, names)
    return figure


@rc_context(STYLE)
def threshold_chart(
    title: str, curves: Mapping[str, Mapping[float, float | None]], chosen: Mapping[str, float]
) -> Figure:
    """A fraction by a threshold for each model, and a line where the chosen one is."""
    figure, axes = _chart()
    lines = {name: [(x, _number(y)) for x, y in points.items()] for name, points in curves.items()}
    _draw(axes, lines, title)
    for name, threshold in chosen.items():
        color = COLORS[[*curves].index(name) % len(COLORS)]
        axes.axvline(threshold, color=color, ls=":", label=f"{name}, chosen: {threshold:g}")
    axes.set_xlabel("threshold, fraction of the heatmap's range")
    axes.set_ylim(bottom=0)
    axes.legend(*_legend(axes))
    return figure


def sorted_classes(fractions: Mapping[str, float | None]) -> list[str]:
    """Classes from the highest fraction to the lowest; those without one are last."""
    return sorted(fractions, key=lambda name: -_number(fractions[name], -1.0))


@rc_context(STYLE)
def to_svg(figure: Figure, title: str) -> str:
    """The drawing as a file with a title of any length."""
    buffer = io.StringIO()
    facts = {"Title": printable(title), "Date": None, "Creator": None}
    with warnings.catch_warnings():  # a browser has letters that matplotlib's font lacks
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        warnings.filterwarnings("ignore", "constrained_layout not applied", UserWarning)
        # savefig would draw all of it twice
        FigureCanvasSVG(figure).print_svg(buffer, metadata=facts)  # type: ignore[no-untyped-call]
    return buffer.getvalue().replace(INK, "currentColor")


def draw(charts: Mapping[str, Figure]) -> dict[str, str]:
    """Each chart as ``to_svg`` gives it, by its heading, which is its title."""
    return {heading: to_svg(chart, heading) for heading, chart in charts.items()}


def embedded(drawings: Mapping[str, str]) -> dict[str, Markup]:
    """Drawings as parts of a page, each as wide as its place; its heading is read aloud."""
    return {heading: _embedded(drawing, heading) for heading, drawing in drawings.items()}


def _embedded(drawing: str, heading: str) -> Markup:
    begin, rest = drawing[drawing.index("<svg") :].split(">", 1)
    begin = re.sub(r' (width|height)="[^"]*"', "", begin)
    return Markup(f'{begin} role="img" aria-label="{escape(printable(heading))}">{rest}')


def _drawable(curves: Curves) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Finite points only, and what has some."""
    finite = {
        heading: {
            name: points
            for name, line in lines.items()
            if (points := [(x, y) for x, y in line if abs(y) < LARGEST])
        }
        for heading, lines in curves.items()
    }
    return {heading: lines for heading, lines in finite.items() if lines}


def _chart() -> tuple[Figure, Axes]:
    figure = Figure((WIDTH, HEIGHT))
    figure.subplots_adjust(**MARGINS)
    return figure, figure.subplots()


def _draw(axes: Axes, lines: Mapping[str, Sequence[tuple[float, float]]], title: str) -> None:
    for number, (name, points) in enumerate(lines.items()):
        mark = "o" if len(points) == 1 else None
        color = COLORS[number % len(COLORS)]
        style = ("-", "--", ":")[number // len(COLORS) % 3]
        xs, ys = zip(*points, strict=True)
        axes.plot(xs, ys, style, marker=mark, ms=3, lw=1.5, color=color, label=name)
    axes.locator_params(nbins=TICKS)
    axes.set_title(_short(title))


def _finish(figure: Figure, axes: Axes, title: str, names: Sequence[str]) -> None:
    axes.set_title(_short(title, LONGEST_TITLE))
    axes.set_yticks(np.arange(len(names)), [_short(name) for name in names])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0, 1)
    figure.legend(*_legend(axes), loc="outside lower center", ncols=3)


def _legend(axes: Axes) -> tuple[list[Any], list[str]]:
    """What is drawn, also where a name begins with ``_``, which matplotlib leaves out."""
    handles: list[Any] = [*axes.lines, *axes.containers]
    named = [(handle, str(handle.get_label())) for handle in handles]
    shown = [(handle, name) for handle, name in named if not re.match(r"_child\d", name)]
    return [handle for handle, _ in shown], [_short(name) for _, name in shown]


def _short(name: str, longest: int = LONGEST) -> str:
    text = printable(name)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _number(value: float | None, missing: float = 0.0) -> float:
    return missing if value is None or math.isnan(value) else value
