"""``metrics.jsonl``: its lines, and which of them a resumed run keeps."""

import math
from pathlib import Path

import pytest

from tools.loggers.logger import Logger
from tools.loggers.metrics_file import MetricsFile, read_metrics, truncate_after


def test_each_line_is_one_json_object_and_what_is_not_finite_is_null(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.jsonl"
    with Logger([MetricsFile(path)]) as logger:
        logger.scalar("train/loss", 0.5, 7)
        logger.scalar("train/loss", math.inf, 8)

    assert path.read_text() == (
        '{"step": 7, "tag": "train/loss", "value": 0.5}\n'
        '{"step": 8, "tag": "train/loss", "value": null}\n'
    )


def test_lines_of_the_resumed_step_that_will_come_again_are_taken_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with Logger([MetricsFile(path)]) as logger:
        for tag, step in (("validation/map", 1), ("train/loss", 2), ("validation/map", 2)):
            logger.scalar(tag, 0.5, step)
        logger.flush()

    truncate_after(path, 2, again=("validation/",))

    assert read_metrics(path) == {"validation/map": [(1, 0.5)], "train/loss": [(2, 0.5)]}


@pytest.mark.parametrize(
    "odd",
    [
        '{"step": "7", "tag": "loss", "value": 1.0}',
        '{"step": 7.5, "tag": "loss", "value": 1.0}',
        '{"step": true, "tag": "loss", "value": 1.0}',
        '{"step": null, "tag": "loss", "value": 1.0}',
        '{"step": 1, "tag": ["loss"], "value": 1.0}',
        '{"step": 1, "tag": null, "value": 1.0}',
        '{"step": 1, "tag": "loss", "value": "1.0"}',
        '{"step": 1, "tag": "loss", "value": {}}',
        '{"step": 1, "tag": "loss", "value": 1' + "0" * 400 + "}",
        '{"step": 1' + "0" * 5000 + ', "tag": "loss", "value": 1}',
        "[" * 100_000,
        '"step, tag, value"',
        "\xff\xfe",
    ],
    ids=range(13),
)
def test_a_line_of_json_that_is_no_event_is_left_out(odd: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    event = '{"step": 1, "tag": "loss", "value": 2}\n'
    path.write_text(f"{odd}\n{event}", encoding="latin-1")

    assert read_metrics(path) == {"loss": [(1, 2)]}
    truncate_after(path, 3, again=("validation/",))
    assert path.read_text() == event


def test_lines_that_are_no_events_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    event = '{"step": 1, "tag": "loss", "value": null}\n'
    path.write_text('[1]\n{"step": 1}\n\n' + event + event.strip())

    truncate_after(path, 1)

    assert path.read_text() == event
    ((step, value),) = read_metrics(path)["loss"]
    assert step == 1
    assert math.isnan(value)
    truncate_after(tmp_path / "none.jsonl", 3)
    assert read_metrics(tmp_path / "none.jsonl") == {}
