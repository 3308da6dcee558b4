"""The report: self-contained, escaped, n/a where there is no number."""

import json
import math
import re
from pathlib import Path
from typing import Any

import torch

from tests.worlds import PageTags
from tools.pages.report import COLUMNS, Report, markdown_classes, markdown_table, write_report

HOSTILE = "<script>alert('&')</script>\n\udcff"


def numbers(value: float | None) -> dict[str, float | None]:
    return dict.fromkeys(COLUMNS, value)


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

    cells = re.findall(r"<td>([^<]*)</td>", page)
    assert cells.count("0.250") == cells.count("0.750") == 2 * len(COLUMNS) - 1
    rows = cells[: len(COLUMNS) + 1], cells[len(COLUMNS) + 1 :][: len(COLUMNS) + 1]
    for row in rows:
        assert row[1 + list(COLUMNS).index("corloc")] == "n/a"
        assert row.count("n/a") == 1
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


def test_the_table_for_a_terminal_has_a_line_for_each_model() -> None:
    models = {"localizer": numbers(0.25), "a\n|b\x1b[31m": numbers(math.nan) | {"f2": 1.0}}
    heading, rule, first, second = markdown_table(models).splitlines()

    assert heading.count("|") == rule.count("|") == len(COLUMNS) + 2
    assert first == "| localizer |" + " 0.250 |" * len(COLUMNS)
    assert second == r"| a\n\|b\x1b[31m | n/a | 1.000 |" + " n/a |" * (len(COLUMNS) - 2)


def test_classes_stand_one_a_line_and_an_absent_one_has_no_number() -> None:
    per_class = {"cat": {"box_map_11point": 0.5, "corloc": 0.25}, "a|b": {"box_map_11point": None}}

    lines = markdown_classes({"per_class": per_class}).splitlines()[2:]

    assert lines == ["| cat | 0.500 | n/a | 0.250 | n/a |", "| a\\|b | n/a | n/a | n/a | n/a |"]


def test_box_curves_share_axes_from_0_to_1_and_a_bar_is_as_long_as_its_ap(tmp_path: Path) -> None:
    page, _ = write(
        tmp_path, curves={}, box_curves={"cat": {"localizer": [(0.25, 1.0), (0.5, 0.5)]}}
    )

    # the drawing is 500 wide from 50 on and 180 high above 200
    assert lines_of(page) == ["175.0,20.0 300.0,110.0"]
    assert 'style="width: 38px"></span>0.250' in page  # a quarter of 150 pixels
