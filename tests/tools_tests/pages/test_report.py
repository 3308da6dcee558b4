"""The report: self-contained, escaped, n/a where there is no number."""

import json
import math
import re
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import torch

from data.evaluation.metrics import METRICS
from tests.worlds import PageTags
from tools.cli.console import printable
from tools.pages.numbers import headings, headline_table, markdown_table
from tools.pages.predictions import Shown
from tools.pages.report import Report, Sheet, write_report

HEADLINE = [name for name, metric in METRICS.items() if metric.is_headline]
IMAGE = torch.zeros(3, 8, 8, dtype=torch.uint8)
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
        "class_curves": {},
        "box_curves": {},
        "sheets": [Sheet("Heatmaps", "Red is high.", [Shown("a b", "cat 0.50", IMAGE)])],
        "repeat": "python -m tools.evaluate",
        "next": "python -m tools.gallery",
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
        for table in re.split("<table[^>]*>", page)[1:]
    ]


def charts_of(page: str) -> list[str]:
    """What each drawing of a page is said to be."""
    return [unescape(label) for label in re.findall(r'<svg [^>]*aria-label="([^"]*)"', page)]


def test_the_page_loads_nothing_and_may_load_nothing(tmp_path: Path) -> None:
    page, _ = write(tmp_path)

    tags = PageTags(page).found
    loads = [value for _, attrs in tags for key, value in attrs.items() if key == "src"]
    assert all(tag == "a" for tag, attrs in tags if "href" in attrs)
    assert [str(value)[:23] for value in loads] == ["data:image/jpeg;base64,"]
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in tags}
    names = ("http://www.w3.org/", "http://purl.org/", "http://creativecommons.org/")
    for name in names:  # in drawings; nothing is fetched from there
        page = page.replace(name, "")
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
        class_curves={HOSTILE: {HOSTILE: {HOSTILE: [(0, 1.0), (1, 2.0)]}}},
        box_curves={HOSTILE: {HOSTILE: [(0, 1.0), (1, 2.0)]}},
        sheets=[Sheet(HOSTILE, HOSTILE, [Shown(HOSTILE, HOSTILE, IMAGE)])],
        repeat=HOSTILE,
        next=HOSTILE,
    )

    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 10
    assert content[HOSTILE]["per_class"][HOSTILE] == numbers(None)


def test_the_numbers_of_every_model_and_class_are_shown_with_what_they_mean(
    tmp_path: Path,
) -> None:
    models = {"localizer": model(0.25, corloc=None), "detector": model(0.75, corloc=math.nan)}
    page, content = write(tmp_path, models=models)

    first, further, *classes = tables_of(page)
    assert first[0][:3] == ["number", "localizer", "detector"]
    shown = [key for key in HEADLINE if key != "corloc"]  # which no model has
    assert [row[0] for row in first[1:]] == [METRICS[name].heading for name in shown]
    assert {tuple(row[1:3]) for row in first[1:]} == {("0.250", "0.750")}
    meanings = [METRICS[name].meaning for name in shown]
    assert [unescape(row[3]) for row in first[1:]] == meanings
    assert all(meanings)
    others = [metric.heading for metric in METRICS.values() if not metric.is_headline]
    assert further[0][1:] == others
    assert further[2] == ["detector"] + ["0.750"] * len(others)
    for table, number in zip(classes[:2], ("0.250", "0.750"), strict=True):
        assert table[0] == ["class", *(metric.heading for metric in METRICS.values())]
        assert table[1] == ["cat"] + [number] * len(METRICS)
        assert table[2][1:] == ["n/a"] * len(METRICS)
    assert content["localizer"]["corloc"] is content["detector"]["corloc"] is None
    assert content["detector"]["per_class"]["cat"] == numbers(0.75)
    assert content["localizer"]["threshold_curve"] == {"0.5": 0.25}
    assert content["settings"] == {"optim.lr": 0.1}
    assert content["command"] == "python -m tools.evaluate"
    assert "commit" in content["environment"]


def test_what_no_class_has_is_left_out(tmp_path: Path) -> None:
    per_class = {"cat": {"image_map": 0.5, "corloc": None, "errors_hit": math.nan}}
    page, _ = write(
        tmp_path, models={"localizer": {"image_map": 0.5, "per_class": per_class}}, curves={}
    )

    assert "n/a" not in page
    assert "CorLoc" not in page
    assert charts_of(page) == ["image AP of each class"]


def test_the_weakest_classes_and_the_most_frequent_error_are_named(tmp_path: Path) -> None:
    aps = {"ox": 0.5, "cat": 0.125, "dog": None, "elk": 0.25, "owl": 0.375}
    per_class = {name: {"box_map_area": ap, "errors_part": ap} for name, ap in aps.items()}
    errors = {"errors_hit": 0.6, "errors_part": 0.3, "errors_group": 0.1}
    numbers = {"box_map_area": 0.3, **errors, "per_class": per_class}
    page, _ = write(tmp_path, models={"localizer": numbers})

    assert (
        "localizer: the weakest classes are cat 0.12, elk 0.25, owl 0.38. "
        "Of its top-scoring boxes 30% are wrong by showing a part of an object."
    ) in page
    charts = ["box AP area of each class", "What the top-scoring boxes are: localizer", "loss"]
    assert charts_of(page) == charts


def test_charts_of_classes_are_folded_and_the_curve_of_thresholds_is_not(tmp_path: Path) -> None:
    curve = {"threshold": [0.5, 0.75, 1.0], "accuracy": [0.5, 1.0, math.nan]}
    changes: dict[str, Any] = {
        "tail_accuracy_curve": {"cat": curve},
        "boxes": {"thresholds": [0.5]},
    }
    page, content = write(
        tmp_path,
        models={"localizer": model(**changes), "detector": model(threshold_curve={})},
        box_curves={"cat": {"localizer": [(0.25, 1.0), (0.5, 0.5)]}},
        class_curves={"ap, validation, by class": {"cat": {"localizer": [(1, 0.5), (2, 1.0)]}}},
    )

    shown, folded = page.split("<h2>Details</h2>")
    assert charts_of(shown)[-2:] == ["loss", "CorLoc by threshold of the heatmap"]
    assert "localizer, chosen: 0.5" in shown
    headings = ["Precision of the boxes", "Tail accuracy", "ap, validation, by class"]
    assert [
        label.startswith(heading)
        for label, heading in zip(charts_of(folded), headings, strict=True)
    ] == [True] * 3
    assert content["localizer"]["tail_accuracy_curve"]["cat"]["accuracy"] == [0.5, 1.0, None]


def test_images_stand_above_their_words_below_a_note(tmp_path: Path) -> None:
    page, _ = write(tmp_path)

    assert page.index("<h2>Heatmaps</h2>") < page.index("Red is high.") < page.index("<img")
    link = '<a href="gallery/index.html#image=a%20b&amp;large=1">a b</a>'
    assert f"<figcaption>{link} cat 0.50</figcaption>" in page
    assert "<img" not in write(tmp_path, sheets=[])[0]


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


def test_a_bar_is_as_long_as_its_fraction_and_what_is_none_has_no_bar(tmp_path: Path) -> None:
    model_of = {
        "cat": {"f2": 0.25, "recall": None, "peak_mean_ratio": 2.0, "image_loss": 0.5},
        "dog": {"recall": 1.0},
    }
    page, _ = write(tmp_path, models={"localizer": {"per_class": model_of}})

    bars = re.findall(r'<td class="bar" style="background-size: (\d+)% 100%">([^<]*)</td>', page)
    assert bars == [("25", "0.250"), ("100", "1.000")]
    assert "<td>2.000</td>" in page
    assert "<td>0.500</td>" in page


# Figures

SVG = "{http://www.w3.org/2000/svg}"


def texts_of(figure: Path) -> list[str]:
    texts = ET.parse(figure).iter(f"{SVG}text")
    return ["".join(text.itertext()).strip() for text in texts]


def test_every_curve_is_a_drawing_in_a_file_with_the_lines_of_the_page(tmp_path: Path) -> None:
    lines = {"plain": [(1, 2.0), (3, 0.5)], "robust": [(1, 4.0), (3, 1.0)]}
    page, _ = write(tmp_path, curves={"train/loss": lines, "F2": {"plain": [(1, 0.0), (2, 1.0)]}})

    figures = {path.stem: path for path in (tmp_path / "figures").iterdir()}
    assert figures.keys() == {"train_loss", "F2"}
    for path in figures.values():
        drawn = re.findall(r'<path d="M[^"]*"', path.read_text())
        assert all(line in page for line in drawn)
    assert {"train/loss", "iteration", "plain", "robust"} <= {*texts_of(figures["train_loss"])}


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
    titles = {ET.parse(p).findtext(f"{SVG}title") for p in (tmp_path / "figures").iterdir()}
    assert titles == {printable(heading) for heading in headings}
