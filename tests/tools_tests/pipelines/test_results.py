"""Rows of the result tables: skipped when they have a file, summed up with their deviation."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.evaluation.metrics import METRICS, Comparison, Floats, Metric
from data.proposals.files import load_proposals
from data.synthetic.dataset import SYNTHETIC_CLASSES, write_synthetic_voc
from tools.compare_runs import main as compare_runs
from tools.evaluation.settings import EvaluateSettings
from tools.loggers.metrics_file import read_metrics
from tools.make_proposals import main as make_proposals
from tools.make_results import main
from tools.pipelines import results as make_results
from tools.pipelines.result_rows import KINDS, Row, read_rows
from tools.pipelines.result_tables import CLASSES, class_table, marks, table, with_tables
from tools.pipelines.settings import MakeResultsSettings
from tools.runs.folder import evaluation_folder

Make = Callable[..., int]
TOY = Row("toy", "A toy", "demo.yaml", (), (0, 1))
DETECTOR = replace(TOY, kind="detector")


def page(inside: str = "old") -> str:
    """A page with the marks of every table."""
    parts = [f"{begin}\n{inside}\n{end}" for begin, end in map(marks, (*KINDS, CLASSES))]
    return "\n".join(["before", *parts, "after"]) + "\n"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder of results, with a page of empty tables."""
    (tmp_path / "README.md").write_text(page())
    return tmp_path


def write_result(results: Path, seed: int, value: float) -> None:
    metrics = dict.fromkeys(METRICS, value)
    per_class = {"cat": metrics, "dog": dict.fromkeys(metrics)}
    content = {"metrics": metrics, "per_class": per_class, "seconds": 120.0}
    (results / f"toy-seed{seed}.json").write_text(json.dumps(content))


# Tables


def test_two_seeds_give_mean_and_sample_deviation_and_one_has_none(results: Path) -> None:
    write_result(results, 0, 0.4)
    assert "± " not in table([TOY], "localizer", results)
    write_result(results, 1, 0.6)
    # deviations of .1 each, two seeds: sqrt(.01 + .01) = .141
    line = table([TOY], "localizer", results).splitlines()[-1]
    assert line.startswith("| A toy | 0.500 ± 0.141 | ")
    assert line.endswith(" | 2 | 2 |")


def test_a_row_without_files_says_so(results: Path) -> None:
    assert "not yet run" in table([TOY], "localizer", results).splitlines()[-1]


def test_only_the_parts_between_the_marks_are_replaced(results: Path) -> None:
    new = with_tables(page(), [TOY, DETECTOR], results)
    assert new.startswith(f"before\n{marks('localizer')[0]}\n| localizer |")
    assert new.endswith(f"|\n{marks(CLASSES)[1]}\nafter\n")
    assert new.count("old") == len(KINDS) - 2  # tables without rows
    with pytest.raises(ValueError, match="the marks"):
        with_tables("no tables here", [TOY], results)


def test_each_table_holds_the_rows_of_its_kind_and_a_detector_its_classes(results: Path) -> None:
    write_result(results, 0, 0.25)
    write_result(results, 1, 0.25)
    assert "A toy" in table([DETECTOR], "detector", results)
    assert "A toy" not in table([DETECTOR], "localizer", results)
    assert class_table([DETECTOR], results).splitlines()[2:] == [
        "| cat | 0.250 ± 0.000 | 0.250 ± 0.000 | 0.250 ± 0.000 |",
        "| dog | n/a | n/a | n/a |",  # absent
    ]


def test_a_new_folder_gets_a_page_of_the_tables_that_its_rows_are_in(tmp_path: Path) -> None:
    rows, folder = tmp_path / "rows.yaml", tmp_path / "tables"
    rows.write_text("mine: {title: My way, config: demo.yaml, seeds: [0]}\n")
    assert main(["--rows", str(rows), "--results", str(folder), "--tables-only"]) == 0
    written = (folder / "README.md").read_text()
    assert written.startswith(f"# Results\n\n{marks('localizer')[0]}\n| localizer |")
    assert "| My way |" in written
    assert marks("detector")[0] not in written


def test_the_rows_of_the_project_are_well_formed() -> None:
    assert len(read_rows()) > len(KINDS)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[1, 2]", "not a file of rows"),
        ("a: {title: x", "not a file of rows"),
        ("a: {title: x, config: demo.yaml, seed: 0}", "unexpected keyword argument 'seed'"),
        ("a: {title: x, config: dmo.yaml, seeds: [0]}", "row a: dmo.yaml is no config"),
        ("a: {title: x, config: demo.yaml}", "row a: no seeds"),
        (
            "a: {title: x, config: demo.yaml, seeds: [0], kind: detectr}",
            "row a: detectr is no table",
        ),
        ("a: {title: x, config: demo.yaml, seeds: [0], rescore_from: [b]}", "row a: b is no row"),
    ],
)
def test_a_wrong_file_of_rows_is_refused_by_its_name(
    content: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.yaml"
    rows.write_text(content)
    assert main(["--rows", str(rows), "--results", str(tmp_path / "t"), "--tables-only"]) == 2
    error = capsys.readouterr().err
    assert str(rows) in error
    assert problem in error
    assert not (tmp_path / "t").exists()


def test_a_metric_that_an_old_row_lacks_is_not_available(results: Path) -> None:
    write_result(results, 0, 0.5)
    path = results / "toy-seed0.json"
    content = json.loads(path.read_text())
    del content["metrics"]["corloc"], content["per_class"]["cat"]["corloc"]
    path.write_text(json.dumps(content))

    cells = table([DETECTOR], "detector", results).splitlines()[-1].split(" | ")
    assert cells.count("n/a") == 1
    assert class_table([DETECTOR], results).splitlines()[2] == "| cat | 0.500 | 0.500 | n/a |"


def test_a_localizers_table_shows_the_headline_metrics_that_some_row_holds(results: Path) -> None:
    write_result(results, 0, 0.5)
    path = results / "toy-seed0.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"metrics": {"f2": 0.5, "errors_hit": 0.5}}))
    assert table([TOY], "localizer", results).splitlines() == [
        *("| localizer | F2 | seeds | minutes |", "|---|---|---|---|"),
        "| A toy | 0.500 | 1 | 2 |",
    ]

    path.with_name("new-seed0.json").write_text(json.dumps(content))
    head, _, old, new = table([TOY, replace(TOY, name="new")], "localizer", results).splitlines()
    headline = [metric.heading for metric in METRICS.values() if metric.is_headline]
    assert head == f"| localizer | {' | '.join(headline)} | seeds | minutes |"
    assert old.split(" | ").count("n/a") == len(headline) - 1
    assert new.split(" | ").count("0.500") == len(headline)


# Making rows


@pytest.fixture(scope="module")
def few_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("few")
    write_synthetic_voc(root, num_train=2, num_val=1, num_test=1)
    return root


@pytest.fixture
def make(results: Path, few_images: Path, tmp_path: Path) -> Make:
    """Makes rows from those images, in ``runs``."""

    def make_rows(rows: list[Row], *words: str) -> int:
        file = tmp_path / "rows.yaml"
        contents = {row.name: asdict(row) for row in rows}
        for content in contents.values():
            del content["name"]
        file.write_text(json.dumps(contents))
        places = ["--voc-root", str(few_images), "--runs", str(tmp_path / "runs")]
        return main([*places, "--rows", str(file), "--results", str(results), *words])

    return make_rows


def test_a_beginning_that_no_row_has_is_refused(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make([TOY], "--only", "tow") == 2
    assert "--only tow: no row's name begins so" in capsys.readouterr().err


def test_a_row_is_made_once_and_then_skipped(results: Path, make: Make) -> None:
    words = ("--image_sizes", "[96]", "--loop.epochs", "1", "--split", "train")
    toy = replace(TOY, settings=words, seeds=(3,))
    assert make([toy]) == 0
    result = results / "toy-seed3.json"
    content = json.loads(result.read_text())
    assert content["seed"] == 3
    training, evaluation = content["commands"]
    assert training.startswith("python -m tools.train_localizer --config tools/configs/")
    assert evaluation.startswith("python -m tools.evaluate --split test --name toy ")
    assert "| A toy |" in (results / "README.md").read_text()
    stamp = result.stat().st_mtime_ns
    assert make([toy]) == 0
    assert result.stat().st_mtime_ns == stamp


def test_a_classifiers_row_is_trained_by_its_command_and_shows_its_metrics(
    results: Path, make: Make
) -> None:
    words = ("--image-sizes", "[96]", "--loop.epochs", "1", "--split", "train")
    small = ("--model.backbone", "squeezenet1_1", "--classes", f"[{','.join(SYNTHETIC_CLASSES)}]")
    whole = (*words, *small, "--pretrained", "false", "--frozen-backbone", "false")
    toy = Row("toy", "A toy", "classifier_lite0.yaml", whole, (0,), kind="classifier")

    assert make([toy]) == 0

    training, evaluation = json.loads((results / "toy-seed0.json").read_text())["commands"]
    assert training.startswith("python -m tools.train_classifier --config tools/configs/")
    assert "--proposals" not in training + evaluation
    head, _, line = table([toy], "classifier", results).splitlines()
    columns = ("image mAP", "accuracy", "tail accuracy", "F2", "recall", "seeds", "minutes")
    assert head == f"| classifier | {' | '.join(columns)} |"
    assert line.startswith("| A toy | ")


def images_of_the_class(split: Comparison) -> Floats:
    """Fraction of the images that hold a class; nan for the last class."""
    fractions: Floats = split.targets.mean(axis=0)
    fractions[-1] = np.nan
    return fractions


@pytest.mark.parametrize("is_headline", [True, False])
def test_a_metric_is_added_by_one_row(
    is_headline: bool,
    results: Path,
    make: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = Metric("images of the class", images_of_the_class, is_headline)
    monkeypatch.setitem(METRICS, "image_fraction", row)
    words = ("--image_sizes", "[96]", "--loop.epochs", "1", "--split", "train")

    assert make([replace(TOY, settings=(*words, "--val-split", "val"), seeds=(3,))]) == 0

    run = tmp_path / "runs" / "toy-seed3"
    evaluation = evaluation_folder(run, "toy")
    report = json.loads((evaluation / "report.json").read_text())["localizer"]
    *known, last = [numbers["image_fraction"] for numbers in report["per_class"].values()]
    assert last is None
    assert set(known) == {0, 1}  # one image
    mean = report["image_fraction"]
    assert mean == pytest.approx(np.mean(known))
    assert len(read_metrics(run / "metrics.jsonl")["validation/image_fraction"]) == 1
    result = json.loads((results / "toy-seed3.json").read_text())
    assert result["metrics"]["image_fraction"] == mean
    assert result["per_class"] == report["per_class"]

    page = (evaluation / "report.html").read_text()
    assert page.count(">images of the class</t") == 2  # of the model, of its classes
    assert page.count(f">{mean:.3f}</td>") >= 1
    printed, table = capsys.readouterr().out, (results / "README.md").read_text()
    assert ("\nimages of the class  " in printed) == is_headline
    assert (" | images of the class | seeds |" in table) == is_headline

    out = tmp_path / "compared"
    assert compare_runs([f"--runs=[{run}]", "--name=toy", f"--out={out}"]) == 0
    assert "<td>images of the class</td>" in (out / "compare.html").read_text()
    compared = json.loads((out / "compare.json").read_text())["toy-seed3 localizer"]
    assert compared["image_fraction"] == mean
    assert (" | images of the class |" in (out / "compare.md").read_text()) == is_headline


def test_a_detectors_row_makes_its_proposals_and_looks_at_val(
    results: Path, make: Make, few_images: Path, tmp_path: Path
) -> None:
    words = (
        *("--image_sizes", "[96]", "--loop.epochs", "1", "--from-localizer", "null"),
        *("--frozen-backbone", "false", "--model.width", "8", "--max-proposals", "20"),
    )
    toy = Row("toy", "A toy", "demo_wsddn.yaml", words, (0,), kind="ablation", split="val")
    made = tmp_path / "runs" / "proposals" / "trainval.npz"
    place = ["--voc-root", str(few_images), "--split", "trainval", "--out", str(made)]
    assert make_proposals([*place, "--max-boxes", "3"]) == 0  # another way of making them

    assert make([toy]) == 0

    content = json.loads((results / "toy-seed0.json").read_text())
    assert (content["split"], content["corloc_split"]) == ("val", "val")
    assert "--split train" in content["commands"][0]
    assert set(KINDS["ablation"].columns) <= set(content["metrics"])
    assert min(len(proposals.boxes) for proposals in load_proposals(made).values()) > 3


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], list[EvaluateSettings]]:
    """Settings of the trainings and of the evaluations of rows, neither of which is done."""
    trained: list[Any] = []
    evaluated: list[EvaluateSettings] = []

    def evaluate(settings: EvaluateSettings) -> None:
        evaluated.append(settings)
        numbers: dict[str, Any] = dict.fromkeys(METRICS, 0.5)
        numbers |= {"per_class": {"cat": dict(numbers)}, "threshold_curve": {}}
        numbers |= {"split": "val", "corloc_split": "val"}
        numbers |= {"weights_sha256": "", "seconds": 1.0, "evaluation_seconds": 1.0}
        folder = evaluation_folder(settings.run_dir, settings.name)
        folder.mkdir(parents=True)
        (folder / "report.json").write_text(json.dumps({"detector": numbers}))

    for name, kind in KINDS.items():
        monkeypatch.setitem(KINDS, name, replace(kind, train=trained.append))
    monkeypatch.setattr(make_results, "evaluate", evaluate)
    return trained, evaluated


WARM = Row("warm", "Heatmap", "demo.yaml", (), (1,), split="val")
PLAIN = Row("plain", "Plain", "wsddn_lite0.yaml", (), (1,), kind="detector", split="val")


def test_a_row_may_look_at_the_trainings_of_others_with_the_heatmaps_of_a_third(
    results: Path, make: Make, tmp_path: Path, noted: tuple[list[Any], list[EvaluateSettings]]
) -> None:
    other = replace(PLAIN, name="other", settings=("--model.width", "8"))
    both = replace(
        PLAIN,
        name="both",
        title="Both",
        training="plain",
        evaluation=("--support-iou", "0.25", "--image-sizes", "[64,96]"),
        also_runs=("other",),
        rescore_from=("warm",),
    )

    assert make([WARM, PLAIN, other, both], "--only", "both") == 0

    trained = [settings.run_dir for settings in noted[0]]
    assert trained == [tmp_path / "runs" / f"{name}-seed1" for name in ("plain", "other", "warm")]
    (settings,) = noted[1]
    assert [settings.run_dir, *settings.also_runs, *settings.rescore_from] == trained
    assert (settings.name, settings.support_iou) == ("both", 0.25)
    assert settings.image_sizes == (64, 96)
    content = json.loads((results / "both-seed1.json").read_text())
    kinds = [command.split()[2] for command in content["commands"]]
    detector, localizer = "tools.train_wsddn", "tools.train_localizer"
    assert kinds == [detector, detector, localizer, "tools.evaluate"]
    assert "--support-iou 0.25" in content["commands"][3]


def test_a_row_may_learn_from_further_images_and_is_left_out_without_them(
    results: Path,
    make: Make,
    few_images: Path,
    tmp_path: Path,
    noted: tuple[list[Any], list[EvaluateSettings]],
) -> None:
    more = replace(PLAIN, name="more", also=True)
    assert make([more]) == 0
    assert noted == ([], [])

    images, labels = tmp_path / "more", tmp_path / "more.csv"
    images.mkdir()
    path = next(few_images.rglob("*.jpg"))
    shutil.copy(path, images / "new.jpg")
    labels.write_text("image,labels\nnew.jpg,cat\n")
    assert make([more], f"--also-images={images}", f"--also-labels={labels}") == 0

    trained: Any = noted[0][0]
    assert (trained.also_images, trained.also_labels) == ((images,), (labels,))
    assert [path.name for path in trained.proposals] == ["trainval.npz", "also.npz"]
    assert [*load_proposals(trained.proposals[1])] == ["new.jpg"]
    command = json.loads((results / "more-seed1.json").read_text())["commands"][0]
    assert "--also-images MORE --also-labels MORE.csv --proposals trainval.npz also.npz" in command
    assert str(tmp_path) not in command
    given = MakeResultsSettings(also_images=images, also_labels=labels)
    words = ["--also-images", str(images), "--also-labels", str(labels)]
    shown = make_results._command("train_localizer", words, given, 1)
    assert shown == "python -m tools.train_localizer --also-images MORE --also-labels MORE.csv"
