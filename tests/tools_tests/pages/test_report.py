"""The report: self-contained, escaped, n/a where there is no number."""

import json
import math
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import torch

from data.evaluation.metrics import METRICS
from tests.worlds import PageTags
from tools.pages.report import Report, headings, headline_table, markdown_table, write_report

HEADLINE = [name for name, metric in METRICS.items() if metric.is_headline]
HOSTILE = "<script>alert('&')</script>\n\udcff"


def numbers(value: float | None) -> dict[str, float | None]:
    return dict.fromkeys(METRICS, value)


def model(value: float = 0.25, **changes: Any) -> dict[str, Any]:
    per_class = {"cat": numbers(value), HOSTILE: numbers(None)}
    extra = {"threshold_curve": {0.5: value}, "weights_sha256": "00", "seconds": 1.0}
    return {**numbers(value), "per_class": per_class, **extra, **changes}


def write(folder: Path, **changes: Any) -> tuple[str, dict[str, Any]]:
    arguments: dict[str, Any] = {
        "models": {"localizer": model()},
        "settings": {"optim.lr": 0.1},
        "curves": {"loss": {"localizer": [(1, 2.0), (3, 0.5)]}},
        "box_curves": {},
        "images": {"Heatmap": torch.zeros(3, 8, 8, dtype=torch.uint8)},
        "repeat": "python -m tools.evaluate",
    }
    write_report(folder, Report(title="A run", **(arguments | changes)))
    content: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return (folder / "report.html").read_text(), content


def tables_of(page: str) -> list[list[list[str]]]:
    """Cells of each line of each table."""
    return [
        [
            re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line, re.DOTALL)
            for line in table.split("<tr>")[1:]
        ]
        for table in page.split("<table>")[1:]
    ]


def lines_of(page: str) -> list[str]:
    return re.findall(r'<polyline points="([^"]*)"', page)


def test_the_page_loads_nothing_and_may_load_nothing(tmp_path: Path) -> None:
    page, _ = write(tmp_path)

    tags = PageTags(page).found
    loads = [value for _, attrs in tags for key, value in attrs.items() if key in ("src", "href")]
    assert [str(value)[:23] for value in loads] == ["data:image/jpeg;base64,"]
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in tags}
    assert "http://" not in page
    assert "https://" not in page
    policies = [attrs["content"] for _, attrs in tags if "http-equiv" in attrs]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_names_from_outside_are_escaped_everywhere(tmp_path: Path) -> None:
    page, content = write(
        tmp_path,
        models={HOSTILE: model()},
        settings={HOSTILE: HOSTILE},
        curves={HOSTILE: {HOSTILE: [(0, 1.0), (1, 2.0)]}},
        images={HOSTILE: torch.zeros(3, 8, 8, dtype=torch.uint8)},
        repeat=HOSTILE,
    )

    assert "<script" not in page
    assert "alert('" not in page
    assert page.count("&lt;script&gt;") >= 10
    assert content[HOSTILE]["per_class"][HOSTILE] == numbers(None)


def test_the_numbers_of_every_model_and_class_are_shown_with_their_origin(tmp_path: Path) -> None:
    models = {"localizer": model(0.25, corloc=None), "detector": model(0.75, corloc=math.nan)}
    page, content = write(tmp_path, models=models)

    first, further, *classes = tables_of(page)
    assert first[0] == ["model", *(METRICS[name].heading for name in HEADLINE)]
    assert [row[0] for row in first[1:]] == ["localizer", "detector"]
    for row, number in zip(first[1:], ("0.250", "0.750"), strict=True):
        shown = dict(zip(HEADLINE, row[1:], strict=True))
        assert shown == dict.fromkeys(HEADLINE, number) | {"corloc": "n/a"}
    others = [metric.heading for metric in METRICS.values() if not metric.is_headline]
    assert further[0][1:] == others
    assert further[2] == ["detector"] + ["0.750"] * len(others)
    for table, number in zip(classes[:2], ("0.250", "0.750"), strict=True):
        assert table[0] == ["class", *first[0][1:], *others]
        assert table[1] == ["cat"] + [number] * len(METRICS)
        assert table[2][1:] == ["n/a"] * len(METRICS)
    assert content["localizer"]["corloc"] is content["detector"]["corloc"] is None
    assert content["detector"]["per_class"]["cat"] == numbers(0.75)
    assert content["localizer"]["threshold_curve"] == {"0.5": 0.25}
    assert content["settings"] == {"optim.lr": 0.1}
    assert content["command"] == "python -m tools.evaluate"
    assert "commit" in content["environment"]


def test_curves_fill_their_charts_from_zero_to_their_highest_finite_value(tmp_path: Path) -> None:
    nan, inf = math.nan, math.inf
    curves: dict[str, dict[str, list[tuple[int, float]]]] = {
        "a": {"localizer": [(10, 4.0), (20, 1.0), (30, 0.0)]},
        "b": {"localizer": [(0, nan), (1, 1.0), (2, inf), (3, 2.0)]},
        "constant": {"localizer": [(1, 0.0), (2, 0.0)]},
        "one point": {"localizer": [(5, 1.0)]},
        "empty heading": {"localizer": [], "localizer_robust": [(0, nan)]},
    }
    page, _ = write(tmp_path, curves=curves)

    assert lines_of(page) == [
        "50.0,20.0 300.0,155.0 550.0,200.0",
        "50.0,110.0 550.0,20.0",
        "50.0,200.0 550.0,200.0",
        "50.0,20.0",
    ]
    assert ">10</text>" in page
    assert ">30</text>" in page
    assert "empty heading" not in page


def test_the_short_table_has_a_line_for_each_model_and_the_headline_metrics() -> None:
    models = {"localizer": numbers(0.25), "a\n|b\x1b[31m": numbers(math.nan) | {"f2": 1.0}}
    rows = headline_table("model", models)
    heading, rule, first, second = markdown_table(*rows).splitlines()

    assert rows[0] == ["model", *(METRICS[name].heading for name in HEADLINE)]
    assert heading == f"| {' | '.join(rows[0])} |"
    assert heading.count("|") == rule.count("|") == len(HEADLINE) + 2
    assert first == "| localizer |" + " 0.250 |" * len(HEADLINE)
    assert second == r"| a\n\|b\x1b[31m | n/a | 1.000 |" + " n/a |" * (len(HEADLINE) - 2)


def test_a_table_shows_the_metrics_that_it_finds_and_unknown_ones_by_their_names() -> None:
    rows: dict[str, dict[str, float | None]] = {
        "cat": {"new": 0.5, "corloc": 0.25},
        "a|b": {"f2": None, "errors_hit": 1.0},
    }

    assert headline_table("class", rows) == [
        ["class", "F2", "CorLoc", "new"],
        ["cat", "n/a", "0.250", "0.500"],
        ["a|b", "n/a", "n/a", "n/a"],
    ]
    assert headings(rows.values(), headline=False) == {"errors_hit": "hit"}
    assert list(headings(rows.values())) == ["f2", "corloc", "errors_hit", "new"]


def test_a_table_without_lines_has_its_heading() -> None:
    assert markdown_table(["a", "b|c"]) == "| a | b\\|c |\n|---|---|"


def test_box_curves_share_axes_from_0_to_1(tmp_path: Path) -> None:
    page, _ = write(
        tmp_path, curves={}, box_curves={"cat": {"localizer": [(0.25, 1.0), (0.5, 0.5)]}}
    )

    # the drawing is 500 wide from 50 on and 180 high above 200
    assert lines_of(page) == ["175.0,20.0 300.0,110.0"]


def test_the_tail_accuracy_of_each_class_is_a_line_as_far_as_it_is_defined(tmp_path: Path) -> None:
    curve = {"threshold": [0.5, 0.75, 1.0], "accuracy": [0.5, 1.0, math.nan]}
    models = {"localizer": model(tail_accuracy_curve={"cat": curve}), "detector": model()}

    page, content = write(tmp_path, curves={}, models=models)

    assert lines_of(page) == ["300.0,110.0 425.0,20.0"]
    assert "<h2>Tail accuracy: " in page
    assert content["localizer"]["tail_accuracy_curve"]["cat"]["accuracy"] == [0.5, 1.0, None]
    assert "Tail accuracy" not in write(tmp_path)[0]


def test_a_bar_is_as_long_as_its_fraction_and_what_is_none_has_no_bar(tmp_path: Path) -> None:
    model_of = {"cat": {"f2": 0.25, "recall": None, "peak_mean_ratio": 2.0, "image_loss": 0.5}}
    page, _ = write(tmp_path, models={"localizer": {"per_class": model_of}})

    bars = re.findall(r'<td class="bar" style="background-size: (\d+)% 100%">([^<]*)</td>', page)
    assert bars == [("25", "0.250")]
    assert "<td>2.000</td>" in page
    assert "<td>0.500</td>" in page


# Figures

SVG = "{http://www.w3.org/2000/svg}"


def texts_of(figure: Path) -> list[str | None]:
    return [text.text for text in ET.parse(figure).iter(f"{SVG}text")]


def test_every_curve_is_a_drawing_in_a_file_with_the_lines_of_the_page(tmp_path: Path) -> None:
    lines = {"plain": [(1, 2.0), (3, 0.5)], "robust": [(1, 4.0), (3, 1.0)]}
    page, _ = write(tmp_path, curves={"train/loss": lines, "F2": {"plain": [(1, 0.0), (2, 1.0)]}})

    figures = {path.stem: path for path in (tmp_path / "figures").iterdir()}
    assert figures.keys() == {"train_loss", "F2"}
    drawn = [
        line.attrib["points"]
        for path in figures.values()
        for line in ET.parse(path).iter(f"{SVG}polyline")
    ]
    assert sorted(drawn) == sorted(lines_of(page))
    title, *words = texts_of(figures["train_loss"])
    assert title == "train/loss"
    assert words == ["4", "0", "1", "3", "plain", "robust"]


def test_figures_of_an_earlier_report_are_gone(tmp_path: Path) -> None:
    write(tmp_path, curves={"a": {"x": [(0, 1.0)]}, "b": {"x": [(0, 1.0)]}})
    write(tmp_path, curves={"b": {"x": [(0, 1.0)]}, "c": {"x": [(0, 1.0)]}})
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"b.svg", "c.svg"}

    write(tmp_path, curves={})
    assert not any((tmp_path / "figures").iterdir())


def test_names_from_outside_are_file_names_and_text_in_a_figure(tmp_path: Path) -> None:
    headings = [HOSTILE, "../../up", "\x1b\x00 &", "long " * 100]
    write(tmp_path, curves={heading: {HOSTILE: [(0, 1.0)]} for heading in headings})

    assert {path.name for path in tmp_path.iterdir()} == {"figures", "report.html", "report.json"}
    titles = {texts_of(path)[0] for path in (tmp_path / "figures").iterdir()}
    assert titles == {
        *("<script>alert('&')</script>\\n\\udcff", "../../up", "\\x1b\\x00 &", "long " * 100)
    }
