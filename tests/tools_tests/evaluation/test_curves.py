"""Learning curves of a report, from what trainings have logged or somebody has written."""

import json
import math
from pathlib import Path

from tools.evaluation.curves import learning_curves
from tools.pages.charts import line_charts, small_multiples, to_svg
from tools.runs.saved import load_run


def add_lines(run_dir: Path, lines: list[tuple[str, int, float]]) -> None:
    with (run_dir / "metrics.jsonl").open("a") as file:
        for tag, step, value in lines:
            file.write(json.dumps({"tag": tag, "step": step, "value": value}) + "\n")


def test_the_last_level_of_a_constant_answer_counts(copy: Path) -> None:
    add_lines(copy, [("baseline/loss", 0, 0.5), ("baseline/loss", 0, 0.25)])

    curves, _ = learning_curves([load_run(copy)])

    (points,) = (
        lines[name] for lines in curves.values() for name in lines if "every image alike" in name
    )
    assert [value for _, value in points] == [0.25, 0.25]


def test_any_tags_and_values_are_drawn(copy: Path) -> None:
    class_name = load_run(copy).settings.classes[0]
    tags = ["", "/", "//x", "validation", "<b>/$x_{", "a\0b/\u202e", f"validation/ap/{class_name}"]
    values = [0.0, 1e308, -1e308, math.inf, -math.inf, math.nan, 10**299]
    add_lines(copy, [(tag, k, value) for tag in tags for k, value in enumerate(values)])
    add_lines(copy, [("only/large", 2**62, -1e308), ("only/large", -(2**62), 1e308)])

    curves, of_classes = learning_curves([load_run(copy)])

    drawn = line_charts(curves, x="iteration")
    assert set(tags[:-1]) <= drawn.keys()
    assert "only/large" not in drawn
    for heading, chart in drawn.items():
        assert "<b>" not in to_svg(chart, heading)
    for heading, charts in of_classes.items():
        assert small_multiples(charts, x="iteration", y=heading) is not None
