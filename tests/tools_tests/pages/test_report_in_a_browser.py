"""The report on a wide window, on a phone, in light and in dark: it fits and can be read."""

from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from data.evaluation.metrics import METRICS
from tests.tools_tests.pages.conftest import OpenPage, needs_chromium
from tools.pages.predictions import Shown
from tools.pages.report import Report, Sheet, write_report

pytestmark = needs_chromium
NAMES = [f"a rather long name of class {number}" for number in range(20)]
# Of every element with text of its own: the ratio of its color to the ground behind it, as WCAG 2
# computes it.
CONTRASTS = """() => {
  const light = ([r, g, b]) => [[r, .2126], [g, .7152], [b, .0722]].reduce((sum, [v, w]) => {
    const s = v / 255; return sum + w * (s <= .04045 ? s / 12.92 : ((s + .055) / 1.055) ** 2.4);
  }, 0);
  const parse = text => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const ground = node => {
    for (; node; node = node.parentElement) {
      const color = parse(getComputedStyle(node).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll('body *')].filter(node =>
    node.checkVisibility() && [...node.childNodes].some(c => c.nodeType === 3 && c.data.trim())
  ).map(node => {
    const style = getComputedStyle(node);
    const color = parse(node.namespaceURI.endsWith('svg') ? style.fill : style.color);
    const [a, b] = [light(color), light(ground(node))].sort((x, y) => y - x);
    return (a + .05) / (b + .05);
  });
}"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty classes, twenty images, every number and every chart."""
    folder = tmp_path_factory.mktemp("report")
    row: dict[str, float | None] = dict.fromkeys(METRICS, 0.25)
    numbers: dict[str, Any] = {**row, "per_class": dict.fromkeys(NAMES, row), "boxes": None}
    curve = {"threshold": [0.5, 0.75], "accuracy": [0.5, 1.0]}
    numbers |= {
        "threshold_curve": {0.25: 0.5},
        "tail_accuracy_curve": dict.fromkeys(NAMES, curve),
    }
    lines = {"localizer, train": [(0, 1.0), (9, 0.5)], "localizer, validation": [(9, 0.75)]}
    image = torch.full((3, 240, 320), 99, dtype=torch.uint8)
    images = [Shown(f"{number:06d}", "localizer: cat 0.50", image) for number in range(20)]
    write_report(
        folder,
        Report(
            title="A run on test",
            models={"localizer": numbers, "localizer_robust": numbers},
            settings={"a setting": "a" * 300},
            curves={f"curve {number}": lines for number in range(5)},
            class_curves={"ap, validation, by class": dict.fromkeys(NAMES, lines)},
            box_curves={key: {"localizer": [(0.0, 1.0), (1.0, 0.5)]} for key in NAMES},
            sheets=[Sheet("Heatmaps", "Red is high.", images)],
            repeat="python -m tools.evaluate " + "a" * 300,
            next="python -m tools.gallery",
        ),
    )
    return folder / "report.html"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_it_fits_the_window_and_its_text_stands_out(
    width: int, scheme: Literal["light", "dark"], report: Path, open_page: OpenPage
) -> None:
    page = open_page(report.as_uri())
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)

    root = "document.documentElement"
    if width == 1280:
        assert page.evaluate(f"{root}.scrollHeight") <= 6 * 800
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert page.evaluate(f"{root}.scrollWidth") <= width
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 500
    assert min(contrasts) >= 4.5
