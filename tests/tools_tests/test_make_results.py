"""Rows of the README: skipped when they have a file, summed up with their deviation."""

import json
from pathlib import Path

import pytest

from tools.engine.report import COLUMNS
from tools.jobs import make_results
from tools.jobs.make_results import BEGIN, END, Row, read_rows, table, with_tables
from tools.make_results import main


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(make_results, "RESULTS", tmp_path)
    return tmp_path


def row(seeds: tuple[int, ...] = (0, 1)) -> Row:
    return Row("toy", "A toy", "demo.yaml", (), seeds, "")


def write_result(results: Path, seed: int, value: float) -> None:
    metrics = dict.fromkeys(COLUMNS, value)
    content = {"metrics": metrics, "seconds": 120.0}
    (results / f"toy-seed{seed}.json").write_text(json.dumps(content))


def test_two_seeds_give_mean_and_sample_deviation(results: Path) -> None:
    write_result(results, 0, 0.4)
    write_result(results, 1, 0.6)
    # deviations of .1 each, two seeds: sqrt(.01 + .01) = .141
    line = table([row()]).splitlines()[-1]
    assert line.startswith("| A toy | 0.500 ± 0.141 | ")
    assert line.endswith(" | 2 | 2 |")


def test_one_seed_has_no_deviation(results: Path) -> None:
    write_result(results, 0, 0.25)
    assert "± " not in table([row((0,))])


def test_a_row_without_files_says_so(results: Path) -> None:
    assert "not yet run" in table([row()]).splitlines()[-1]


def test_only_the_part_between_the_marks_is_replaced(results: Path) -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    new = with_tables(page, [row()])
    assert new.startswith(f"before\n{BEGIN}\n| localizer |")
    assert new.endswith(f"|\n{END}\nafter\n")
    assert "old" not in new


def test_a_page_without_marks_is_refused(results: Path) -> None:
    with pytest.raises(ValueError, match="the marks"):
        with_tables("no tables here", [row()])


def test_rows_name_configs_that_exist() -> None:
    for listed in read_rows():
        assert (make_results.CONFIGS / listed.config).is_file()


def test_a_row_is_made_once_and_then_skipped(
    results: Path, tiny_voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"{BEGIN}\n{END}\n")
    monkeypatch.setattr(make_results, "README", readme)
    words = ("--image_sizes", "[96]", "--loop.epochs", "1", "--split", "train")
    toy = Row("toy", "A toy", "demo.yaml", words, (3,), "")
    monkeypatch.setattr(make_results, "read_rows", lambda: [toy])
    argv = ["--voc-root", str(tiny_voc), "--runs", str(tmp_path / "runs")]
    assert main(argv) == 0
    result = tmp_path / "toy-seed3.json"
    content = json.loads(result.read_text())
    assert content["seed"] == 3
    assert content["command"].startswith("python -m tools.train_localizer --config tools/configs/")
    assert "| A toy |" in readme.read_text()
    stamp = result.stat().st_mtime_ns
    assert main(argv) == 0
    assert result.stat().st_mtime_ns == stamp
