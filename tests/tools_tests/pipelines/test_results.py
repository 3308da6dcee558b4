"""Rows of the README: skipped when they have a file, summed up with their deviation."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data.proposals.files import load_proposals
from tools.evaluation.settings import EvaluateSettings
from tools.make_proposals import main as make_proposals
from tools.make_results import main
from tools.pages.report import COLUMNS, DETECTOR_COLUMNS
from tools.pipelines import results as make_results
from tools.pipelines.results import (
    CLASSES,
    KINDS,
    Row,
    class_table,
    marks,
    read_rows,
    table,
    with_tables,
)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(make_results, "RESULTS", tmp_path)
    return tmp_path


def row(seeds: tuple[int, ...] = (0, 1)) -> Row:
    return Row("toy", "A toy", "demo.yaml", (), seeds)


def page(inside: str = "old") -> str:
    """A page with the marks of every table."""
    parts = [f"{begin}\n{inside}\n{end}" for begin, end in map(marks, (*KINDS, CLASSES))]
    return "\n".join(["before", *parts, "after"]) + "\n"


def write_result(results: Path, seed: int, value: float) -> None:
    metrics = dict.fromkeys(COLUMNS | DETECTOR_COLUMNS, value)
    per_class = {"cat": metrics, "dog": dict.fromkeys(metrics)}
    content = {"metrics": metrics, "per_class": per_class, "seconds": 120.0}
    (results / f"toy-seed{seed}.json").write_text(json.dumps(content))


def test_two_seeds_give_mean_and_sample_deviation(results: Path) -> None:
    write_result(results, 0, 0.4)
    write_result(results, 1, 0.6)
    # deviations of .1 each, two seeds: sqrt(.01 + .01) = .141
    line = table([row()], "localizer").splitlines()[-1]
    assert line.startswith("| A toy | 0.500 ± 0.141 | ")
    assert line.endswith(" | 2 | 2 |")


def test_one_seed_has_no_deviation(results: Path) -> None:
    write_result(results, 0, 0.25)
    assert "± " not in table([row((0,))], "localizer")


def test_a_row_without_files_says_so(results: Path) -> None:
    assert "not yet run" in table([row()], "localizer").splitlines()[-1]


def test_only_the_parts_between_the_marks_are_replaced(results: Path) -> None:
    new = with_tables(page(), [row()])
    assert new.startswith(f"before\n{marks('localizer')[0]}\n| localizer |")
    assert new.endswith(f"|\n{marks(CLASSES)[1]}\nafter\n")
    assert "old" not in new


def test_each_table_holds_the_rows_of_its_kind(results: Path) -> None:
    detector = Row("toy", "A toy", "demo.yaml", (), (0,), kind="detector")
    write_result(results, 0, 0.25)
    assert "A toy" in table([detector], "detector")
    assert "A toy" not in table([detector], "localizer")


def test_a_detector_is_shown_class_by_class_and_an_absent_class_has_no_number(
    results: Path,
) -> None:
    detector = Row("toy", "A toy", "demo.yaml", (), (0, 1), kind="detector")
    write_result(results, 0, 0.25)
    write_result(results, 1, 0.25)
    assert class_table([detector]).splitlines()[2:] == [
        "| cat | 0.250 ± 0.000 | 0.250 ± 0.000 | 0.250 ± 0.000 |",
        "| dog | n/a | n/a | n/a |",
    ]


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
    readme.write_text(page())
    monkeypatch.setattr(make_results, "README", readme)
    words = ("--image_sizes", "[96]", "--loop.epochs", "1", "--split", "train")
    toy = Row("toy", "A toy", "demo.yaml", words, (3,))
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


def test_a_detectors_row_makes_its_proposals_and_looks_at_val(
    results: Path, tiny_voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(page())
    monkeypatch.setattr(make_results, "README", readme)
    words = (
        *("--image_sizes", "[96]", "--loop.epochs", "1", "--from-localizer", "null"),
        *("--frozen-backbone", "false", "--model.width", "8", "--max-proposals", "20"),
    )
    toy = Row("toy", "A toy", "demo_wsddn.yaml", words, (0,), kind="ablation", split="val")
    monkeypatch.setattr(make_results, "read_rows", lambda: [toy])
    made = tmp_path / "runs" / "proposals" / "trainval.npz"
    place = ["--voc-root", str(tiny_voc), "--split", "trainval", "--out", str(made)]
    assert make_proposals([*place, "--max-boxes", "3"]) == 0  # another way of making them

    assert main(["--voc-root", str(tiny_voc), "--runs", str(tmp_path / "runs")]) == 0

    content = json.loads((tmp_path / "toy-seed0.json").read_text())
    assert (content["split"], content["corloc_split"]) == ("val", "val")
    assert "--split train" in content["command"]
    assert set(DETECTOR_COLUMNS) <= set(content["metrics"])
    assert min(len(found.boxes) for found in load_proposals(made).values()) > 3


def test_a_row_may_look_at_the_training_of_another_with_the_heatmap_of_a_third(
    results: Path, tiny_voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme, runs = tmp_path / "README.md", tmp_path / "runs"
    readme.write_text(page())
    trained: list[Path] = []
    evaluated: list[EvaluateSettings] = []

    def evaluate(settings: EvaluateSettings) -> None:
        evaluated.append(settings)
        numbers: dict[str, Any] = dict.fromkeys(COLUMNS | DETECTOR_COLUMNS, 0.5)
        numbers |= {
            "threshold_curve": {},
            "split": "val",
            "corloc_split": "val",
            "weights_sha256": "",
        }
        numbers |= {"per_class": {}, "seconds": 1.0, "evaluation_seconds": 1.0}
        settings.run_dir.mkdir(parents=True, exist_ok=True)
        (settings.run_dir / "report.json").write_text(json.dumps({"detector": numbers}))

    for name in ("train_localizer", "train_wsddn"):
        monkeypatch.setattr(make_results, name, lambda settings: trained.append(settings.run_dir))
    monkeypatch.setattr(make_results, "evaluate", evaluate)
    monkeypatch.setattr(make_results, "README", readme)
    warm = Row("warm", "Heatmap", "demo.yaml", (), (1,), split="val")
    plain = Row("plain", "Plain", "wsddn_lite0.yaml", (), (1,), kind="detector", split="val")
    both = replace(plain, name="both", title="Both", training="plain", rescore_from="warm")
    monkeypatch.setattr(make_results, "read_rows", lambda: [warm, plain, both])

    argv = ["--voc-root", str(tiny_voc), "--runs", str(runs), "--only", "both"]
    assert main(argv) == 0

    assert trained == [runs / "plain-seed1", runs / "warm-seed1"]
    assert [(s.run_dir, s.rescore_from) for s in evaluated] == [tuple(trained)]
    content = json.loads((results / "both-seed1.json").read_text())
    assert "train_wsddn" in content["command"]
    assert content["rescore_from"] == "warm"
