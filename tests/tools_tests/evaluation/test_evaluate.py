"""Evaluation from the command line: every file, read again, and what it leaves alone."""

import json
import shlex
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.datasets.voc import VOCDataset
from data.evaluation.image_metrics import eval_classification
from data.evaluation.voc_eval import eval_detection_voc
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import Detections
from tools.cli.command import parse_settings
from tools.evaluate import main
from tools.evaluation.settings import EvaluateSettings
from tools.prediction.localizer import heatmaps_of
from tools.runs.checkpoint import load_checkpoint
from tools.runs.folder import locked

NUMBERS = {
    *("image_map", "f2", "recall", "box_map_11point", "box_map_area", "corloc"),
    *("point_accuracy", "heatmap_coverage"),
}


@pytest.fixture(scope="module")
def report(evaluated_run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((evaluated_run / "report.json").read_text())
    return content


@pytest.fixture
def dataset(tiny_voc: Path) -> VOCDataset:
    return VOCDataset(tiny_voc, "test", classes=SYNTHETIC_CLASSES)


@pytest.fixture
def copy(small_run: Path, tmp_path: Path) -> Path:
    """A finished run that a test may spoil."""
    return Path(shutil.copytree(small_run, tmp_path / "copy"))


def words(run_dir: Path, tiny_voc: Path, *others: str) -> list[str]:
    small = f"--run-dir {run_dir} --voc-root {tiny_voc} --amp off --device cpu --corloc-split="
    return [*small.split(), *others]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# What is written


def test_every_file_is_written_for_both_runs(evaluated_run: Path) -> None:
    names = {path.name for path in evaluated_run.iterdir()}
    beside = {path.name for path in (evaluated_run.parent / "robust").iterdir()}

    assert names >= {"report.html", "report.json", "detections.json", "scores.npz"}
    assert beside >= {"detections.json", "scores.npz"}
    assert not [name for name in names | beside if "tmp" in name]


@pytest.mark.parametrize("name", ["localizer", "localizer_robust"])
def test_the_report_holds_every_number_of_both_models(name: str, report: dict[str, Any]) -> None:
    model = report[name]

    assert model.keys() >= NUMBERS | {"per_class", "weights_sha256", "seconds"}
    assert all(0 <= model[key] <= 1 for key in NUMBERS)
    assert list(model["per_class"]) == list(SYNTHETIC_CLASSES)
    assert all(row.keys() >= NUMBERS for row in model["per_class"].values())


def test_the_report_names_the_weights_and_the_time_of_their_training(
    evaluated_run: Path, report: dict[str, Any]
) -> None:
    for name, folder in (("localizer", "small"), ("localizer_robust", "robust")):
        path = evaluated_run.parent / folder / "training.json"
        training = json.loads(path.read_text())
        assert report[name]["weights_sha256"] == training["weights_sha256"]
        assert report[name]["seconds"] == training["seconds"]


def test_the_report_says_how_to_repeat_it(report: dict[str, Any], evaluated_run: Path) -> None:
    words = shlex.split(report["command"])
    assert words[:3] == ["python", "-m", "tools.evaluate"]
    repeated = parse_settings(EvaluateSettings, "evaluate", words[3:])
    assert (repeated.run_dir, repeated.beside) == (evaluated_run, evaluated_run.parent / "robust")
    assert (repeated.split, repeated.corloc_split) == ("test", "train")
    assert report["localizer"]["split"] == "test"
    assert report["localizer"]["corloc_split"] == "train"
    assert report["settings"]["image_sizes"] == [96]


def test_the_page_shows_both_models_their_curves_and_loads_nothing(evaluated_run: Path) -> None:
    page = (evaluated_run / "report.html").read_text()

    assert "<td>localizer</td>" in page
    assert "<td>localizer_robust</td>" in page
    assert "train/loss" in page
    assert "CorLoc by heatmap threshold" in page
    assert 'src="data:image/jpeg;base64,' in page
    assert "http://" not in page
    assert "https://" not in page


@pytest.mark.parametrize("name", ["localizer", "localizer_robust"])
def test_written_detections_give_the_same_ap(
    name: str, report: dict[str, Any], evaluated_run: Path, dataset: VOCDataset
) -> None:
    folder = evaluated_run.parent / ("robust" if name == "localizer_robust" else "small")
    content = json.loads((folder / "detections.json").read_text())
    detections = {
        image_id: Detections(
            torch.tensor(found["boxes"]).reshape(-1, 4),
            torch.tensor(found["labels"], dtype=torch.int64),
            torch.tensor(found["scores"]),
        )
        for image_id, found in content["images"].items()
    }
    for key, use_07_metric in (("box_map_11point", True), ("box_map_area", False)):
        ap = eval_detection_voc(
            detections, dataset.annotations, num_classes=6, use_07_metric=use_07_metric
        )
        assert ap.mean == pytest.approx(report[name][key], abs=1e-12)
        for label, of_class in enumerate(SYNTHETIC_CLASSES):
            written = report[name]["per_class"][of_class][key]
            assert (written is None) == np.isnan(ap.per_class[label])
            assert written is None or ap.per_class[label] == pytest.approx(written, abs=1e-12)

    assert content["classes"] == list(SYNTHETIC_CLASSES)
    assert {key: tuple(found["size"]) for key, found in content["images"].items()} == {
        annotation.image_id: annotation.image_size for annotation in dataset.annotations
    }


def test_detections_are_at_most_a_hundred_an_image_and_above_the_least_score(
    evaluated_run: Path,
) -> None:
    content = json.loads((evaluated_run / "detections.json").read_text())

    for found in content["images"].values():
        assert len(found["scores"]) <= 100
        assert all(score >= 1e-4 for score in found["scores"])


def test_written_scores_need_no_pickle_and_give_the_same_numbers(
    report: dict[str, Any], evaluated_run: Path, dataset: VOCDataset
) -> None:
    with np.load(evaluated_run / "scores.npz", allow_pickle=False) as read:
        arrays = {name: read[name] for name in read.files}
    metrics = eval_classification(
        arrays["scores"],
        arrays["targets"].astype(np.float64),
        arrays["weights"].astype(np.float64),
    )

    assert sorted(arrays) == ["classes", "ids", "scores", "targets", "weights"]
    assert arrays["ids"].tolist() == dataset.ids
    assert arrays["classes"].tolist() == list(SYNTHETIC_CLASSES)
    assert metrics.mean_average_precision == pytest.approx(
        report["localizer"]["image_map"], abs=1e-12
    )
    assert metrics.mean_f_beta == pytest.approx(report["localizer"]["f2"], abs=1e-12)
    assert metrics.mean_recall == pytest.approx(report["localizer"]["recall"], abs=1e-12)


def test_an_evaluation_changes_nothing_that_the_training_wrote(
    evaluated_run: Path, small_run: Path
) -> None:
    for folder in ("checkpoints", "events"):
        assert files(evaluated_run / folder) == files(small_run / folder)
    for name in ("settings.yaml", "environment.json", "metrics.jsonl", "training.json"):
        assert (evaluated_run / name).read_bytes() == (small_run / name).read_bytes()


# Choices


def test_the_best_checkpoint_and_other_boxes_can_be_evaluated(copy: Path, tiny_voc: Path) -> None:
    others = ("--checkpoint", "best", "--split", "val", "--boxes.thresholds", "[0.3,0.8]")
    assert main(words(copy, tiny_voc, *others)) == 0

    model = json.loads((copy / "report.json").read_text())["localizer"]
    assert model["boxes"]["thresholds"] == [0.3, 0.8]
    assert model["corloc_split"] == "val"
    best = load_checkpoint(copy / "checkpoints", "best")
    assert best is not None
    assert model["image_map"] == best["best"]  # as the training has measured it there


# Refusals


def test_a_folder_without_a_run_is_refused_and_not_made(
    tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tmp_path / "typo", tiny_voc)) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/typo/settings.yaml: no run in")
    assert not (tmp_path / "typo").exists()


def test_a_run_that_is_still_writing_is_refused(
    copy: Path, tiny_voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked(copy):
        assert main(words(copy, tiny_voc)) == 2

    assert capsys.readouterr().err == f"error: {copy}: another run is writing in this folder\n"


def test_a_run_that_has_saved_nothing_is_refused(
    copy: Path, tiny_voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(copy / "checkpoints")

    assert main(words(copy, tiny_voc)) == 2
    assert f"error: {copy}: no last checkpoint (" in capsys.readouterr().err


def test_a_run_of_other_settings_than_its_weights_is_refused_by_their_names(
    copy: Path, tiny_voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / "settings.yaml"
    path.write_text(path.read_text().replace("- teapot\n", "- teapot\n- yeti\n"))

    assert main(words(copy, tiny_voc)) == 2
    assert f"error: {copy}: has other shapes: classifier.0.weight" in capsys.readouterr().err


def test_two_runs_of_one_kind_are_refused(
    copy: Path, small_run: Path, tiny_voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(small_run)

    assert main(words(copy, tiny_voc, "--beside", str(small_run))) == 2
    assert "two runs of one kind (one plain localizer, one robust, " in capsys.readouterr().err
    assert files(small_run) == before


def test_a_split_that_is_not_there_is_refused_and_leaves_the_report_before(
    copy: Path, tiny_voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / "report.json").write_text("the report before")

    assert main(words(copy, tiny_voc, "--split", "nope")) == 2
    assert "nope.txt: no list of split 'nope'" in capsys.readouterr().err
    assert (copy / "report.json").read_text() == "the report before"


def test_a_signal_stops_an_evaluation_between_two_images(
    copy: Path, tiny_voc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def interrupted(*args: Any) -> Any:
        seen.append(args)
        signal.raise_signal(signal.SIGTERM)
        return heatmaps_of(*args)

    monkeypatch.setattr("tools.evaluation.localizer.heatmaps_of", interrupted)

    assert main(words(copy, tiny_voc)) == 143
    assert len(seen) == 1
    assert not (copy / "report.json").exists()
    assert not (copy / "detections.json").exists()
