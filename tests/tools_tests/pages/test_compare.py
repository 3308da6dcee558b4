"""Several runs in one table, read from what they wrote."""

import json
import math
import re
from pathlib import Path

import pytest

from tools.compare_runs import main
from tools.runs.folder import evaluation_folder


def make_run(folder: Path, model: str, value: float, name: str = "test") -> Path:
    """A run folder with a report and a curve of two points."""
    evaluation = evaluation_folder(folder, name)
    evaluation.mkdir(parents=True)
    metrics = {"image_map": value, "errors_part": None, "new & unknown": value / 2}
    numbers = {**metrics, "split": "test", "seconds": 60.0, "per_class": {"cat": metrics}}
    (evaluation / "report.json").write_text(json.dumps({model: numbers, "settings": {}}))
    lines = [{"step": step, "tag": "train/loss", "value": value} for step in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [
        make_run(tmp_path / "a" / "plain", "localizer", 0.25),
        make_run(tmp_path / "<b>", "detector", 0.75),
    ]


def compare(runs: list[Path], out: Path, *more: str) -> int:
    every = ["--runs", json.dumps([str(run) for run in runs]), "--split", "test"]
    return main([*every, "--out", str(out), *more])


def test_every_model_is_in_the_tables_and_the_page_has_the_chosen_curves_and_names_as_text(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for chosen, count in (("", 1), ("validation/", 0)):
        assert compare(runs, tmp_path / "out", "--curves", chosen) == 0

        page = (tmp_path / "out" / "compare.html").read_text()
        assert page.count('aria-label="train/loss"') == count
        assert "<b>" not in page
        assert "&lt;b&gt; detector" in page

    table = (tmp_path / "out" / "compare.md").read_text()
    assert table.startswith("| model | image mAP | new & unknown |\n")
    assert "| plain localizer | 0.250 | 0.125 |" in table
    assert "| <b> detector | 0.750 | 0.375 |" in table
    printed = [re.split(r"\s{2,}", line) for line in capsys.readouterr().out.splitlines()]
    assert printed[:1] + printed[2:4] == [
        ["model", "plain localizer", "<b> detector"],
        ["image mAP", "0.250", "0.750"],
        ["new & unknown", "0.125", "0.375"],
    ]
    numbers = json.loads((tmp_path / "out" / "compare.json").read_text())
    names = ["split", "seconds", "image_map", "errors_part", "new & unknown"]
    assert list(numbers["plain localizer"].items()) == list(
        zip(names, ["test", 60, 0.25, None, 0.125], strict=True)
    )
    assert re.findall(r"<tr><td>(.*?)</td>", page) == [
        *("split", "minutes of training", "image mAP", "new &amp; unknown", "cat")
    ]


def test_settings_that_differ_are_first_the_best_is_bold_and_doubts_are_told(
    runs: list[Path], tmp_path: Path
) -> None:
    assert compare(runs, tmp_path / "same") == 0
    page = (tmp_path / "same" / "compare.html").read_text()
    assert "<p>None.</p>" in page
    assert "different" not in page
    assert re.findall(r'class="best">(.*?)</td>', page) == ["0.750", "0.750"]  # mean and class

    report = evaluation_folder(runs[1], "test") / "report.json"
    content = json.loads(report.read_text())
    content["settings"] = {"optim.lr": 0.5, "run_dir": "elsewhere", "seed": 0}
    content["detector"] |= {"split": "val", "per_class": {"dog": {"image_map": 0.5}}}
    report.write_text(json.dumps(content))
    assert compare(runs, tmp_path / "other") == 0
    page = (tmp_path / "other" / "compare.html").read_text()
    lines = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td></tr>", page)
    assert lines[:2] == [("optim.lr", "", "0.5"), ("seed", "", "0")]
    assert "Evaluated on different images (plain localizer: test, &lt;b&gt; detector: val)" in page
    assert "The models know different classes." in page
    assert lines[-2:] == [("cat", "0.250", "n/a"), ("dog", "n/a", "0.500")]


def test_folders_of_one_name_are_told_apart_and_evaluations_have_names(tmp_path: Path) -> None:
    both = [make_run(tmp_path / side / "run", "localizer", 0.5, "last") for side in ("x", "y")]

    assert compare(both, tmp_path / "out", "--name", "last") == 0
    assert "| x/run localizer |" in (tmp_path / "out" / "compare.md").read_text()


@pytest.mark.parametrize(
    "content", ["", "no json", "[]", "{}", '{"localizer": 3}', '{"detector": {"per_class": []}}']
)
def test_a_folder_without_a_report_is_refused(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = evaluation_folder(tmp_path / "run", "test")
    folder.mkdir(parents=True)
    if content:
        (folder / "report.json").write_text(content)

    assert compare([tmp_path / "run"], tmp_path / "out") == 2
    assert f"error: {folder / 'report.json'}: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("image_map", "0.5"),
        ("image_map", [0.5]),
        ("image_map", True),
        ("image_map", 10**400),
        ("image_map", -math.inf),
        ("seconds", "long"),
        ("split", 7),
        ("per_class", {"cat": {"image_map": {}}}),
        ("per_class", {"cat": ["image_map"]}),
        ("per_class", {"cat": None}),
    ],
)
def test_a_number_that_is_none_is_refused_with_its_report(
    part: str, value: object, runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = evaluation_folder(runs[0], "test") / "report.json"
    content = json.loads(report.read_text())
    content["localizer"][part] = value
    report.write_text(json.dumps(content))

    assert compare(runs, tmp_path / "out") == 2
    assert f"error: {report}: not a report (" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("part", ["settings", "environment"])
def test_settings_without_names_are_refused_with_their_report(
    part: str, runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = evaluation_folder(runs[0], "test") / "report.json"
    report.write_text(json.dumps(json.loads(report.read_text()) | {part: ["--seed"]}))

    assert compare(runs, tmp_path / "out") == 2
    assert f"error: {report}: not a report ({part}: " in capsys.readouterr().err


def test_what_a_report_does_not_tell_is_left_empty(runs: list[Path], tmp_path: Path) -> None:
    report = evaluation_folder(runs[0], "test") / "report.json"
    content = json.loads(report.read_text())
    del content["settings"], content["localizer"]["split"], content["localizer"]["seconds"]
    content["localizer"] |= {"image_map": math.nan}
    report.write_text(json.dumps(content))

    assert compare(runs, tmp_path / "out") == 0
    assert "| plain localizer | n/a | 0.125 |" in (tmp_path / "out" / "compare.md").read_text()


@pytest.mark.parametrize("names", [[], ["run", "run"], ["run", "{tmp}/run"]])
def test_a_comparison_of_nothing_or_of_a_run_with_itself_is_refused(
    names: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "run", "localizer", 0.5)

    assert compare([Path(name.format(tmp=tmp_path)) for name in names], tmp_path / "out") == 2
    assert "error: --runs: " in capsys.readouterr().err
