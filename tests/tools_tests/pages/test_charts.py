"""Charts: what is drawn, and that names are text in them."""

import math
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from matplotlib.figure import Figure

from tools.cli.console import printable
from tools.pages.charts import (
    COLORS,
    INK,
    class_bars,
    draw,
    embedded,
    line_charts,
    small_multiples,
    sorted_classes,
    stacked_bars,
    threshold_chart,
    to_svg,
)

HOSTILE = "<script>'&'</script> $x_1$\n\udcff"
SVG = "{http://www.w3.org/2000/svg}"


Columns = dict[str, float | None]


def lines_of(figure: Figure, axes: int = 0) -> dict[str, list[tuple[float, float]]]:
    drawn: list[Any] = [*figure.axes[axes].lines]
    return {
        str(line.get_label()): [(float(x), float(y)) for x, y in line.get_xydata()]
        for line in drawn
    }


def texts_of(svg: str) -> list[str]:
    return ["".join(text.itertext()).strip() for text in ET.fromstring(svg).iter(f"{SVG}text")]


def test_curves_are_drawn_from_zero_on_as_far_as_they_are_finite() -> None:
    nan, inf = math.nan, math.inf
    charts = line_charts(
        {
            "a": {"plain": [(10, 4.0), (30, 1.0)], "robust": [(0, nan)]},
            "b": {"plain": [(0, nan), (1, 1.0), (2, inf), (3, 2.0)]},
            "one point": {"plain": [(5, 1.0)]},
            "nothing": {"plain": [], "robust": [(0, nan)]},
            "below": {"plain": [(0, -1.0), (1, 1.0)]},
        },
        x="iteration",
    )

    assert [*charts] == ["a", "b", "one point", "below"]
    assert lines_of(charts["a"]) == {"plain": [(10, 4), (30, 1)]}
    assert lines_of(charts["b"]) == {"plain": [(1, 1), (3, 2)]}
    assert charts["one point"].axes[0].lines[0].get_marker() == "o"
    assert charts["a"].axes[0].get_ylim()[0] == 0
    assert charts["below"].axes[0].get_ylim()[0] < -1
    assert charts["a"].axes[0].get_xlabel() == "iteration"
    assert [*line_charts({}, x="iteration")] == []


def test_a_small_chart_of_each_class_shares_its_axes_with_the_others() -> None:
    curves = {f"class {k}": {"m": [(0.5, k / 10)]} for k in range(7)}
    figure = small_multiples(curves, x="recall", y="precision")

    assert figure is not None
    shown = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in shown] == [*curves]
    assert {axes.get_ylim() for axes in shown} == {(0, 1.05)}
    assert lines_of(figure, 6) == {"m": [(0.5, 0.6)]}
    assert not figure.legends
    several = small_multiples({"a": {"m": [(0, 1)], "n": [(0, 1)]}}, x="", y="")
    assert several is not None
    assert [text.get_text() for text in several.legends[0].get_texts()] == ["m", "n"]
    assert small_multiples({"a": {"m": [(0.0, math.nan)]}}, x="", y="") is None


def test_bars_of_classes_stand_in_the_order_of_the_first_model() -> None:
    column: Columns = {"cat": 0.25, "dog": None, "ox": 0.5}
    assert sorted_classes(column | {"elk": math.nan}) == ["ox", "cat", "dog", "elk"]
    other: Columns = {"cat": 0.75, "dog": 0.5, "ox": 0.0}

    figure = class_bars("AP", {"m": column, "n": other}, {"m": other, "n": column}, mark="F2")

    axes: Any = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ox", "cat", "dog"]
    widths = [[bar.get_width() for bar in bars.patches] for bars in axes.containers]
    assert widths == [[0.5, 0.25, 0], [0, 0.75, 0.5]]
    assert [list(line.get_xdata()) for line in axes.lines] == [[0, 0.75, 0.5], [0.5, 0.25, 0]]


def test_parts_of_a_bar_are_end_to_end() -> None:
    parts: dict[str, Columns] = {
        "hit": {"cat": 0.25, "dog": None},
        "part": {"cat": 0.75, "dog": None},
    }
    axes: Any = stacked_bars("Kinds", parts, ["cat", "dog"]).axes[0]

    places = [[(bar.get_x(), bar.get_width()) for bar in bars.patches] for bars in axes.containers]
    assert places == [[(0, 0.25), (0, 0)], [(0.25, 0.75), (0, 0)]]


def test_the_chosen_threshold_is_marked() -> None:
    curves: dict[str, dict[float, float | None]] = {"m": {0.25: 0.5, 0.5: None}, "n": {0.25: 1}}
    lines = lines_of(threshold_chart("CorLoc", curves, {"n": 0.25}))

    assert lines["m"] == [(0.25, 0.5), (0.5, 0)]
    assert [x for x, _ in lines["n, chosen: 0.25"]] == [0.25, 0.25]


@pytest.mark.parametrize("name", [HOSTILE, "_hidden", "\x00\x1b[31m", "$", "猫", "a -- b"])
def test_names_from_outside_are_text(name: str) -> None:
    (figure,) = line_charts({name: {name: [(0, 1.0)]}}, x="iteration").values()
    bars = class_bars("AP", {name: {name: 0.5}}, {name: {name: 0.5}}, mark="F2")

    drawn = draw({name: figure})
    for svg in (to_svg(bars, name), drawn[name], embedded(drawn)[name]):
        assert printable(name) in texts_of(svg)
        assert "<script" not in svg


def test_a_long_name_is_cut_in_a_drawing_and_whole_in_its_title() -> None:
    long = "long " * 100
    figure = class_bars("AP", {long: {long: 0.5}}, {long: {long: 0.5}}, mark="F2")

    svg = to_svg(figure, long)

    assert max(map(len, texts_of(svg))) == 40
    assert ET.fromstring(svg).findtext(f"{SVG}title") == long


def test_a_drawing_takes_the_color_of_the_text_around_it_and_is_the_same_again() -> None:
    def chart() -> Figure:
        return line_charts({"loss": {"m": [(0, 1.0), (1, 0.5)]}}, x="iteration")["loss"]

    svg = to_svg(chart(), "loss")
    assert INK not in svg
    assert "currentColor" in svg
    assert COLORS[0] in svg
    assert svg == to_svg(chart(), "loss")
    root = ET.fromstring(embedded({'a "loss"': svg})['a "loss"'])
    assert root.attrib["aria-label"] == 'a "loss"'
    assert not {"width", "height"} & root.attrib.keys()
    assert "viewBox" in root.attrib
