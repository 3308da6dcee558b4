"""Evaluation of a detector from the command line: its numbers, its files, and what it refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.datasets.voc import VOCDataset, image_ids, image_path
from data.evaluation.error_kinds import KINDS
from data.evaluation.voc_eval import eval_detection_voc
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import Proposals
from tests.tools_tests.conftest import (
    files_of,
    process_as_before,
    read_devkit,
    with_other_boxes,
    write_proposals,
)
from tools.evaluate import main
from tools.files.detections import read_detections
from tools.runs.checkpoint import load_checkpoint

NUMBERS = {
    *("image_map", "f2", "recall", "box_map_11point", "box_map_area", "corloc", "box_recall"),
    *(f"errors_{kind}" for kind in KINDS),
}
SHEETS = (
    "Detections: the top-scoring one of a class hits",
    "Detections: none of the top-scoring ones hits",
)
HEATMAP = "Heatmap and best box of one present class"


def words(run_dir: Path, tiny_voc: Path, *others: str) -> list[str]:
    small = f"--run-dir {run_dir} --voc-root {tiny_voc} --amp off --device cpu --corloc-split="
    return [*small.split(), *others]


@pytest.fixture(scope="module")
def evaluated(
    tiny_voc: Path,
    detector_run: Path,
    proposals_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A copy of the detector's run, evaluated on test with CorLoc on train; only read."""
    folder = tmp_path_factory.mktemp("evaluated") / "detector"
    shutil.copytree(detector_run, folder)
    others = ("--corloc-split", "train", "--proposals", str(proposals_file))
    with process_as_before():
        assert main(words(folder, tiny_voc, *others)) == 0
    return folder


@pytest.fixture(scope="module")
def report(evaluated: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((evaluated / "report.json").read_text())
    return content


@pytest.fixture
def dataset(tiny_voc: Path) -> VOCDataset:
    return VOCDataset(tiny_voc, "test", classes=SYNTHETIC_CLASSES)


@pytest.fixture
def copy(detector_run: Path, tmp_path: Path) -> Path:
    """A finished run that a test may spoil."""
    return Path(shutil.copytree(detector_run, tmp_path / "copy"))


def arrays_of(path: Path) -> dict[str, list[Any]]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name].tolist() for name in file.files}


# The report


def test_the_report_holds_every_number_of_the_detector(report: dict[str, Any]) -> None:
    detector = report["detector"]

    assert detector.keys() >= NUMBERS
    assert all(0 <= detector[name] <= 1 for name in NUMBERS)
    assert list(detector["per_class"]) == list(SYNTHETIC_CLASSES)
    assert all(row.keys() >= NUMBERS for row in detector["per_class"].values())
    assert not {"localizer", "localizer_robust"} & report.keys()


def test_kinds_of_errors_sum_to_one(report: dict[str, Any]) -> None:
    for row in report["detector"]["per_class"].values():
        fractions = [row[f"errors_{kind}"] for kind in KINDS]
        assert fractions == [None] * 6 or sum(fractions) == pytest.approx(1, abs=1e-12)
    assert sum(report["detector"][f"errors_{kind}"] for kind in KINDS) == pytest.approx(1)


def test_a_detector_has_neither_heatmap_nor_box_settings(report: dict[str, Any]) -> None:
    detector = report["detector"]

    assert "point_accuracy" not in detector
    assert detector["boxes"] is None
    assert detector["threshold_curve"] == {}


def test_the_report_names_splits_weights_and_time(
    report: dict[str, Any], detector_run: Path
) -> None:
    training = json.loads((detector_run / "training.json").read_text())

    detector = report["detector"]
    assert (detector["split"], detector["corloc_split"]) == ("test", "train")
    assert detector["weights_sha256"] == training["weights_sha256"]
    assert detector["seconds"] == training["seconds"]


def test_the_page_holds_the_numbers_and_the_sheets(evaluated: Path, report: dict[str, Any]) -> None:
    page = (evaluated / "report.html").read_text()

    assert "<td>detector</td>" in page
    assert "What the top-scoring boxes are" in page
    assert any(f"<h2>{heading}</h2>" in page for heading in SHEETS)
    assert HEATMAP not in page
    assert "train/spatial" in page
    assert "http" not in page.replace("http-equiv", "")


def test_corloc_is_measured_on_its_own_split_with_the_runs_own_proposals(
    evaluated: Path, report: dict[str, Any], tiny_voc: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(evaluated, tmp_path / "copy"))

    assert main(words(copy, tiny_voc, "--split", "train")) == 0
    on_train = json.loads((copy / "report.json").read_text())["detector"]
    assert on_train["corloc"] == report["detector"]["corloc"]
    assert on_train["box_map_area"] != report["detector"]["box_map_area"]


def test_the_validation_of_the_training_is_repeated_on_its_split(
    copy: Path, tiny_voc: Path
) -> None:
    assert main(words(copy, tiny_voc, "--split", "val", "--checkpoint", "best")) == 0

    best = load_checkpoint(copy / "checkpoints", "best")
    assert best is not None
    detector = json.loads((copy / "report.json").read_text())["detector"]
    assert detector["box_map_11point"] == best["best"]


# Its files


def test_written_detections_have_the_same_map(
    evaluated: Path, report: dict[str, Any], dataset: VOCDataset
) -> None:
    classes, found = read_detections(evaluated / "detections.json")

    assert classes == SYNTHETIC_CLASSES
    assert list(found) == dataset.ids
    for key, use_07_metric in (("box_map_11point", True), ("box_map_area", False)):
        ap = eval_detection_voc(
            found, dataset.annotations, num_classes=6, use_07_metric=use_07_metric
        )
        assert 0 < ap.mean == pytest.approx(report["detector"][key], abs=1e-12)


def test_detections_are_at_most_a_hundred_of_the_images_own_proposals(
    evaluated: Path, some_proposals: dict[str, Proposals]
) -> None:
    for image_id, found in read_detections(evaluated / "detections.json")[1].items():
        proposed = {tuple(box) for box in some_proposals[image_id].boxes.tolist()}
        assert {tuple(box) for box in found.boxes.tolist()} <= proposed
        assert 0 < len(found.boxes) <= 100
        assert (found.scores >= 1e-4).all()


def test_the_devkits_files_hold_every_detection(
    evaluated: Path, report: dict[str, Any], dataset: VOCDataset
) -> None:
    files = {f"comp3_det_test_{name}.txt" for name in SYNTHETIC_CLASSES}
    assert {path.name for path in (evaluated / "devkit").iterdir()} == files

    found = read_devkit(evaluated / "devkit", SYNTHETIC_CLASSES)
    ap = eval_detection_voc(found, dataset.annotations, num_classes=6)
    assert 0 < ap.mean == pytest.approx(report["detector"]["box_map_11point"], abs=1e-12)


def test_what_starts_from_imagenet_weights_enters_the_fourth_competition(
    copy: Path, tiny_voc: Path
) -> None:
    path = copy / "settings.yaml"
    path.write_text(path.read_text().replace("pretrained: false", "pretrained: true"))

    assert main(words(copy, tiny_voc, "--split", "val")) == 0
    names = {path.name for path in (copy / "devkit").iterdir()}
    assert names == {f"comp4_det_val_{name}.txt" for name in SYNTHETIC_CLASSES}


def test_scores_are_of_every_image_and_class(evaluated: Path, dataset: VOCDataset) -> None:
    arrays = arrays_of(evaluated / "scores.npz")

    assert arrays["ids"] == dataset.ids
    assert arrays["targets"] == dataset.targets.tolist()
    scores = np.array(arrays["scores"])
    assert scores.shape == (6, 6)
    assert ((scores > 0) & (scores <= 1)).all()


def test_an_evaluation_changes_nothing_that_the_training_wrote(
    evaluated: Path, detector_run: Path
) -> None:
    after = files_of(evaluated)

    for name, data in files_of(detector_run).items():
        assert name == "log.txt" or after[name] == data, name


# What it does not see


def without_boxes(voc_root: Path, copy: Path) -> Path:
    """Every image as of a folder of one's own: no annotation, no label."""
    copy.mkdir()
    for image_id in image_ids(voc_root, "test"):
        shutil.copy(image_path(voc_root, image_id), copy)
    return copy


def test_scores_and_detections_do_not_depend_on_the_annotated_boxes(
    evaluated: Path, copy: Path, tiny_voc: Path, proposals_file: Path, tmp_path: Path
) -> None:
    other = with_other_boxes(tiny_voc, tmp_path / "voc")

    assert main(words(copy, other, "--proposals", str(proposals_file))) == 0
    for name in ("scores.npz", "detections.json"):
        assert (copy / name).read_bytes() == (evaluated / name).read_bytes()
    changed, before = (
        json.loads((folder / "report.json").read_text())["detector"] for folder in (copy, evaluated)
    )
    assert changed["image_map"] == before["image_map"]
    assert changed["box_recall"] != before["box_recall"]


def test_images_alone_have_the_same_scores_and_no_box_numbers(
    evaluated: Path,
    copy: Path,
    tiny_voc: Path,
    some_proposals: dict[str, Proposals],
    tmp_path: Path,
) -> None:
    folder = without_boxes(tiny_voc, tmp_path / "images")
    renamed = {f"{image_id}.jpg": some_proposals[image_id] for image_id in some_proposals}
    path = write_proposals(tmp_path / "p.npz", renamed)
    others = ("--images", str(folder), "--split", "all", "--proposals", str(path))

    assert main(words(copy, tiny_voc, *others)) == 0
    scores, expected = (arrays_of(run / "scores.npz")["scores"] for run in (copy, evaluated))
    assert scores == expected
    detector = json.loads((copy / "report.json").read_text())["detector"]
    assert all(detector[name] is None for name in ("box_map_area", "corloc", "errors_part"))


# Choices


def test_proposals_that_agree_may_add_to_each_other(
    copy: Path, tiny_voc: Path, report: dict[str, Any]
) -> None:
    assert main(words(copy, tiny_voc, "--support-iou", "0.5")) == 0

    detector = json.loads((copy / "report.json").read_text())["detector"]
    assert detector["image_map"] == report["detector"]["image_map"]
    assert detector["box_map_area"] != report["detector"]["box_map_area"]


@pytest.mark.parametrize("value", ["-0.5", "1.5"])
def test_an_overlap_of_support_outside_of_its_range_is_refused(
    value: str, copy: Path, tiny_voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(copy, tiny_voc, "--support-iou", value)) == 2
    assert "--support-iou is in [0, 1], got " in capsys.readouterr().err


def test_a_localizers_heatmap_moves_scores_and_leaves_those_of_the_images(
    copy: Path, small_run: Path, tiny_voc: Path, report: dict[str, Any]
) -> None:
    before = files_of(small_run)

    assert main(words(copy, tiny_voc, "--rescore-from", str(small_run))) == 0

    detector = json.loads((copy / "report.json").read_text())["detector"]
    assert detector["image_map"] == report["detector"]["image_map"]
    assert detector["box_map_area"] != report["detector"]["box_map_area"]
    assert files_of(small_run) == before


@pytest.fixture
def of_other_classes(small_run: Path, tmp_path: Path) -> Path:
    """A localizer that learned the same number of other names."""
    copy = Path(shutil.copytree(small_run, tmp_path / "other"))
    path = copy / "settings.yaml"
    path.write_text(path.read_text().replace("beetle", "bug"))
    return copy


def test_heatmap_of_other_classes_or_of_a_detector_is_refused(
    copy: Path,
    of_other_classes: Path,
    detector_run: Path,
    tiny_voc: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for run, refusal in (
        (of_other_classes, f"knows other classes than {copy}: bug, "),
        (detector_run, "holds a detector, which has no heatmaps"),
    ):
        assert main(words(copy, tiny_voc, "--rescore-from", str(run))) == 2
        assert f"error: {run}: {refusal}" in capsys.readouterr().err


def test_heatmap_for_a_localizer_is_refused(
    small_run: Path, tiny_voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(small_run, tiny_voc, "--rescore-from", str(small_run))) == 2
    assert f"--rescore-from {small_run}: none of the runs is" in capsys.readouterr().err


# Proposals


def test_without_a_file_the_runs_own_proposals_are_taken(
    evaluated: Path, copy: Path, tiny_voc: Path
) -> None:
    assert main(words(copy, tiny_voc)) == 0

    assert (copy / "detections.json").read_bytes() == (evaluated / "detections.json").read_bytes()


def test_proposals_of_other_images_are_refused_by_their_names(
    copy: Path,
    tiny_voc: Path,
    some_proposals: dict[str, Proposals],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    val = {image_id: some_proposals[image_id] for image_id in image_ids(tiny_voc, "val")}
    path = write_proposals(tmp_path / "val.npz", val)

    assert main(words(copy, tiny_voc, "--proposals", str(path))) == 2
    first = ", ".join(image_ids(tiny_voc, "test")[:5])
    assert f"error: {path}: no proposals of {first} and 1 more (" in capsys.readouterr().err
    assert not (copy / "report.json").exists()


def test_a_missing_file_of_proposals_is_refused(
    copy: Path, tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing.npz"

    assert main(words(copy, tiny_voc, "--proposals", str(missing))) == 2
    assert f"error: {missing}: no such file of proposals" in capsys.readouterr().err


# Side by side


@pytest.fixture(scope="module")
def all_three(
    tiny_voc: Path,
    small_run: Path,
    robust_run: Path,
    detector_run: Path,
    proposals_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The folder of copies of three runs, evaluated in one report; only read."""
    folder = tmp_path_factory.mktemp("three")
    runs = [
        shutil.copytree(run, folder / run.name) for run in (small_run, robust_run, detector_run)
    ]
    beside = ("--beside", f"[{runs[1]},{runs[2]}]", "--proposals", str(proposals_file))
    with process_as_before():
        assert main(words(runs[0], tiny_voc, *beside)) == 0
    return folder


def test_a_localizer_a_robust_one_and_a_detector_stand_in_one_report(all_three: Path) -> None:
    report = json.loads((all_three / "small" / "report.json").read_text())
    page = (all_three / "small" / "report.html").read_text()

    for name in ("localizer", "localizer_robust", "detector"):
        assert 0 <= report[name]["box_map_11point"] <= 1
        assert f"<td>{name}</td>" in page
    assert f"<h2>{HEATMAP}</h2>" in page
    assert any(f"<h2>{heading}</h2>" in page for heading in SHEETS)


def test_each_run_gets_its_own_files_and_the_first_one_the_report(
    all_three: Path, evaluated: Path
) -> None:
    for name in ("small", "robust", "detector"):
        assert {"detections.json", "scores.npz", "devkit"} <= {
            path.name for path in (all_three / name).iterdir()
        }
        assert (all_three / name / "report.json").exists() == (name == "small")
    for name in ("scores.npz", "detections.json"):
        alone = (evaluated / name).read_bytes()
        assert (all_three / "detector" / name).read_bytes() == alone


def test_the_report_says_how_to_repeat_it(all_three: Path) -> None:
    command = json.loads((all_three / "small" / "report.json").read_text())["command"]

    assert f"--beside=[{all_three / 'robust'},{all_three / 'detector'}]" in command.replace("'", "")
    assert "--proposals=" in command


def test_two_detectors_are_refused(
    copy: Path, detector_run: Path, tiny_voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_of(detector_run)

    assert main(words(copy, tiny_voc, "--beside", str(detector_run))) == 2
    assert "two runs of one kind (one plain localizer, one robust, one detector)" in (
        capsys.readouterr().err
    )
    assert files_of(detector_run) == before
