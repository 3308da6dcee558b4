"""Evaluation from the command line: its files, read again, its choices, and what it refuses."""

import json
import shlex
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from data.datasets.image_set import ImageSet
from data.datasets.voc import VOCSource
from data.datasets.voc_layout import image_ids, image_path
from data.evaluation.error_kinds import KINDS
from data.evaluation.image_metrics import (
    cross_entropy,
    eval_classification,
    mean_over_present,
)
from data.evaluation.tail_accuracy import eval_tail_accuracy
from data.evaluation.voc_eval import eval_detection_voc
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import Detections, Proposals
from localizer.model import Localizer
from tests.tools_tests.conftest import process_as_before
from tests.worlds import files_of, read_devkit, with_other_boxes, write_proposals
from tools import check_reproduction, compare_runs, detect, gallery, view_heatmaps
from tools.cli.command import parse_settings
from tools.evaluate import main
from tools.evaluation.settings import EvaluateSettings
from tools.runs.checkpoint import load_checkpoint
from tools.runs.folder import evaluation_folder, locked_run, read_settings, write_settings
from tools.runs.kinds import TrainLocalizerSettings

MODELS = {"localizer": "small", "localizer_robust": "robust", "detector": "detector"}
NUMBERS = {
    *("image_map", "f2", "recall", "accuracy", "box_map_11point", "box_map_area", "corloc"),
    *(f"{name}_{count}" for name in ("box_map_area", "corloc") for count in ("one", "several")),
    "box_recall",
    *(f"errors_{kind}" for kind in KINDS),
}
HEATMAP_NUMBERS = {"point_accuracy", "heatmap_coverage"}
HEATMAP_SHEET = "<h2>Heatmap and best box of one present class</h2>"
COCO_FILES = {"coco.json", "coco_results.json"}
SAVED = {"detections.json", *COCO_FILES, "scores.npz", "ranked.npz", "devkit"}


def words(run_dir: Path, tiny_voc: Path, *others: str) -> list[str]:
    small = f"--run-dir {run_dir} --voc-root {tiny_voc} --amp off --device cpu --corloc-split="
    return [*small.split(), "--split=test", *others]


@pytest.fixture(scope="module")
def runs(
    tiny_voc: Path,
    small_run: Path,
    robust_run: Path,
    detector_run: Path,
    proposals_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The folder of copies of three runs, evaluated on test in one report; only read."""
    folder = tmp_path_factory.mktemp("evaluated")
    copies = [
        shutil.copytree(run, folder / run.name) for run in (small_run, robust_run, detector_run)
    ]
    beside = ("--beside", f"[{copies[1]},{copies[2]}]", "--proposals", str(proposals_file))
    with process_as_before():
        assert main(words(copies[0], tiny_voc, "--corloc-split", "train", *beside)) == 0
    return folder


@pytest.fixture
def copies(small_run: Path, detector_run: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copies a finished run that a test may spoil."""
    originals = {"localizer": small_run, "detector": detector_run}
    return lambda kind: Path(shutil.copytree(originals[kind], tmp_path / "copy"))


@pytest.fixture
def dataset(tiny_voc: Path) -> ImageSet:
    return VOCSource(tiny_voc, classes=SYNTHETIC_CLASSES).open("test")


def report_of(run_dir: Path, name: str = "test") -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        (run_dir / "evaluations" / name / "report.json").read_text()
    )
    return content


def arrays_of(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


# The files of an evaluation


def test_each_run_has_its_own_files_and_the_first_one_the_report(runs: Path) -> None:
    for name in MODELS.values():
        files = SAVED | ({"report.html", "report.json", "figures"} if name == "small" else set())
        folder = runs / name / "evaluations"
        assert [path.name for path in folder.iterdir()] == ["test"]
        assert {path.name for path in (folder / "test").iterdir()} == files


@pytest.mark.parametrize("name", MODELS)
def test_the_report_holds_every_number_of_each_model(name: str, runs: Path) -> None:
    model = report_of(runs / "small")[name]
    is_detector = name == "detector"
    numbers = NUMBERS if is_detector else NUMBERS | HEATMAP_NUMBERS

    assert model.keys() >= numbers
    assert model.keys().isdisjoint(HEATMAP_NUMBERS) == is_detector
    assert all(0 <= model[key] <= 1 for key in numbers)
    assert list(model["per_class"]) == list(SYNTHETIC_CLASSES)
    for row in (model, *model["per_class"].values()):
        assert row.keys() >= numbers
        fractions = [row[f"errors_{kind}"] for kind in KINDS]
        assert fractions == [None] * 6 or sum(fractions) == pytest.approx(1, abs=1e-12)
    assert (model["boxes"] is None) == (model["threshold_curve"] == {}) == is_detector
    assert (model["split"], model["corloc_split"]) == ("test", "train")
    training = json.loads((runs / MODELS[name] / "training.json").read_text())
    assert model.items() >= {key: training[key] for key in ("weights_sha256", "seconds")}.items()


def test_the_report_says_how_to_repeat_it(runs: Path, proposals_file: Path) -> None:
    report = report_of(runs / "small")

    command = shlex.split(report["command"])
    assert command[:3] == ["python", "-m", "tools.evaluate"]
    repeated = parse_settings(EvaluateSettings, "evaluate", command[3:])
    assert (repeated.run_dir, repeated.proposals) == (runs / "small", (proposals_file,))
    assert repeated.beside == (runs / "robust", runs / "detector")
    assert (repeated.split, repeated.corloc_split) == ("test", "train")
    assert report["settings"]["image_sizes"] == [96]


def test_the_page_shows_all_models_their_curves_and_images_and_loads_nothing(runs: Path) -> None:
    page = (runs / "small" / "evaluations" / "test" / "report.html").read_text()

    assert all(f"<th>{name}</th>" in page for name in MODELS)
    assert "train/spatial" in page
    assert "CorLoc by threshold of the heatmap" in page
    assert "ap, validation, by class" in page
    assert HEATMAP_SHEET in page
    assert "<h2>Detections: " in page
    assert 'src="data:image/jpeg;base64,' in page
    assert page.count('src="') == page.count('src="data:image/jpeg;base64,')
    assert "More of it: <code>python -m tools.gallery --run-dir" in page


def legend_of(run_dir: Path, figure: str) -> list[str]:
    root = ET.parse(evaluation_folder(run_dir, "test") / "figures" / f"{figure}.svg").getroot()
    (legend,) = root.iterfind(".//*[@id='legend_1']")
    return ["".join(text.itertext()).strip() for text in legend.iterfind(".//{*}text")]


def test_what_training_and_validation_both_measure_is_one_chart(runs: Path) -> None:
    pairs = [[f"{name}, {part}" for part in ("train", "validation")] for name in MODELS]
    every = [line for pair in pairs for line in pair]

    for heading in ("image mAP", "F2"):
        assert legend_of(runs / "small", heading) == every
    # the detector's own loss is a sum over the classes
    both = [[*pair, f"{name}, every image alike"] for name, pair in zip(MODELS, pairs, strict=True)]
    lines = [*both[0], *both[1], "detector, validation"]
    assert legend_of(runs / "small", "image loss") == lines
    assert legend_of(runs / "small", "train_loss") == ["detector"]
    assert legend_of(runs / "small", "train_spatial") == ["detector"]
    figures = runs / "small" / "evaluations" / "test" / "figures"
    assert not (figures / "train_image_label.svg").exists()  # it is the loss once more
    assert legend_of(runs / "small", "validation_corloc") == list(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_written_detections_give_the_same_ap(name: str, runs: Path, dataset: ImageSet) -> None:
    model, folder = report_of(runs / "small")[name], runs / MODELS[name] / "evaluations" / "test"
    content = json.loads((folder / "detections.json").read_text())
    detections = {
        image_id: Detections(
            torch.tensor(of_image["boxes"]).reshape(-1, 4),
            torch.tensor(of_image["labels"], dtype=torch.int64),
            torch.tensor(of_image["scores"]),
        )
        for image_id, of_image in content["images"].items()
    }
    for key, use_07_metric in (("box_map_11point", True), ("box_map_area", False)):
        ap = eval_detection_voc(
            detections, dataset.annotations, num_classes=6, use_07_metric=use_07_metric
        )
        assert 0 < ap.mean == pytest.approx(model[key], abs=1e-12)
        written = [row[key] for row in model["per_class"].values()]
        expected = [None if np.isnan(value) else value for value in ap.per_class]
        assert written == pytest.approx(expected, abs=1e-12)

    assert content["classes"] == list(SYNTHETIC_CLASSES)
    sizes = {image_id: tuple(of_image["size"]) for image_id, of_image in content["images"].items()}
    assert sizes == {one.image_id: one.image_size for one in dataset.annotations}
    for of_image in detections.values():
        assert len(of_image.scores) <= 100
        assert (of_image.scores >= 1e-4).all()


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools and numpy 2
@pytest.mark.parametrize("name", MODELS)
def test_pycocotools_evaluates_the_results_against_the_known_boxes(
    name: str, runs: Path, dataset: ImageSet
) -> None:
    coco_module = pytest.importorskip("pycocotools.coco", reason="a package of the group dev")
    cocoeval = pytest.importorskip("pycocotools.cocoeval", reason="a package of the group dev")
    folder = runs / MODELS[name] / "evaluations" / "test"
    coco = coco_module.COCO(str(folder / "coco.json"))
    evaluation = cocoeval.COCOeval(coco, coco.loadRes(str(folder / "coco_results.json")), "bbox")
    evaluation.params.iouThrs = np.array([0.5])
    evaluation.evaluate()
    evaluation.accumulate()

    assert [row["file_name"] for row in coco.imgs.values()] == [path.name for path in dataset.paths]
    precision = evaluation.eval["precision"][0, :, :, 0, -1]  # [101, C], of boxes of every size
    per_class = [None if of_class[0] < 0 else of_class.mean() for of_class in precision.T]
    rows = report_of(runs / "small")[name]["per_class"].values()
    # 101 points instead of the area below the curve, and a detection of an object that is already
    # found may hit another one
    assert per_class == pytest.approx([row["box_map_area"] for row in rows], abs=0.03)
    assert sum(filter(None, per_class)) > 0


def test_a_detectors_boxes_are_its_proposals_and_the_devkits_files_hold_all(
    runs: Path, some_proposals: dict[str, Proposals], dataset: ImageSet
) -> None:
    folder = runs / "detector" / "evaluations" / "test"
    assert {path.name for path in (folder / "devkit").iterdir()} == {
        f"comp3_det_test_{name}.txt" for name in SYNTHETIC_CLASSES
    }
    detections = read_devkit(folder / "devkit", SYNTHETIC_CLASSES)
    ap = eval_detection_voc(detections, dataset.annotations, num_classes=6)
    detector = report_of(runs / "small")["detector"]
    assert 0 < ap.mean == pytest.approx(detector["box_map_11point"], abs=1e-12)
    for image_id, of_image in detections.items():
        proposed = {tuple(box) for box in some_proposals[image_id].boxes.tolist()}
        assert {tuple(box) for box in of_image.boxes.tolist()} <= proposed


@pytest.mark.parametrize("name", MODELS)
def test_written_scores_give_the_same_numbers(name: str, runs: Path, dataset: ImageSet) -> None:
    arrays = arrays_of(runs / MODELS[name] / "evaluations" / "test" / "scores.npz")
    targets, weights = (arrays[key].astype(np.float64) for key in ("targets", "weights"))
    metrics = eval_classification(arrays["scores"], targets, weights)

    assert sorted(arrays) == ["classes", "ids", "scores", "targets", "weights"]
    assert arrays["ids"].tolist() == dataset.ids
    assert arrays["classes"].tolist() == list(SYNTHETIC_CLASSES)
    assert arrays["targets"].tolist() == dataset.targets.tolist()
    model = report_of(runs / "small")[name]
    assert mean_over_present(metrics.average_precision) == pytest.approx(
        model["image_map"], abs=1e-12
    )
    assert mean_over_present(metrics.f_beta) == pytest.approx(model["f2"], abs=1e-12)
    assert mean_over_present(metrics.recall) == pytest.approx(model["recall"], abs=1e-12)
    loss = mean_over_present(cross_entropy(arrays["scores"], targets, weights))
    assert 0 < loss == pytest.approx(model["image_loss"], abs=1e-12)
    tail = eval_tail_accuracy(arrays["scores"], targets, weights)
    assert model["tail_accuracy_curve"].keys() == {SYNTHETIC_CLASSES[n] for n in tail.curves()}
    per_class = [row["tail_accuracy"] for row in model["per_class"].values()]
    assert per_class == [None if np.isnan(value) else value for value in tail.per_class()]


@pytest.mark.parametrize("name", MODELS)
def test_the_images_of_each_class_are_ranked_by_the_written_scores(name: str, runs: Path) -> None:
    folder = runs / MODELS[name] / "evaluations" / "test"
    saved, ranked = arrays_of(folder / "scores.npz"), arrays_of(folder / "ranked.npz")

    assert ranked["classes"].tolist() == saved["classes"].tolist()
    for label, (names, scores) in enumerate(zip(ranked["names"], ranked["scores"], strict=True)):
        score_of = dict(zip(saved["ids"], saved["scores"][:, label], strict=True))
        assert scores.tolist() == sorted(score_of.values(), reverse=True)
        assert [score_of.pop(image_id) for image_id in names] == scores.tolist()
        assert not score_of


def test_an_evaluation_changes_nothing_that_the_training_wrote(
    runs: Path, small_run: Path, robust_run: Path, detector_run: Path
) -> None:
    for run_dir in (small_run, robust_run, detector_run):
        after = files_of(runs / run_dir.name)
        for name, data in files_of(run_dir).items():
            assert name == "log.txt" or after[name] == data, name


# What it measures


@pytest.mark.parametrize(
    ("kind", "quality"), [("localizer", "image_map"), ("detector", "box_map_11point")]
)
def test_the_validation_of_the_training_is_repeated_in_the_folder_of_its_split(
    kind: str, quality: str, copies: Callable[[str], Path], tiny_voc: Path
) -> None:
    copy = copies(kind)
    assert main(words(copy, tiny_voc, "--split", "val", "--checkpoint", "best")) == 0

    report = report_of(copy, "val")
    assert MODELS.keys() & report.keys() == {kind}
    assert report[kind]["corloc_split"] == "val"
    best = load_checkpoint(copy / "checkpoints", "best")
    assert best is not None
    assert report[kind][quality] == best["best"]
    page = (copy / "evaluations" / "val" / "report.html").read_text()
    assert (HEATMAP_SHEET in page) == (kind == "localizer")


def test_without_a_split_every_command_takes_the_runs_validation(
    copies: Callable[[str], Path], tiny_voc: Path, tmp_path: Path
) -> None:
    run_dir, place = copies("localizer"), ["--voc-root", str(tiny_voc)]
    computed = [*place, "--device=cpu", "--amp=off"]
    of_run = ["--run-dir", str(run_dir)]
    folder = evaluation_folder(run_dir, "val")

    assert main([*of_run, *computed]) == 0
    numbers = json.loads((folder / "report.json").read_text())["localizer"]
    assert (numbers["split"], numbers["corloc_split"]) == ("val", "train")
    assert view_heatmaps.main([*of_run, *computed, "--count=1"]) == 0
    assert gallery.main([*of_run, *place, "--processes=1"]) == 0
    assert {path.name for path in folder.iterdir()} >= {"heatmaps", "gallery"}
    assert check_reproduction.main([*of_run, *computed]) == 0
    assert compare_runs.main([f"--runs=[{run_dir}]", f"--out={tmp_path / 'compared'}"]) == 0
    assert detect.main([*of_run, *computed, f"--out={tmp_path / 'boxes'}", "--draw=false"]) == 0
    content = json.loads((tmp_path / "boxes" / "detections.json").read_text())
    assert list(content["images"]) == image_ids(tiny_voc, "val")


def test_a_run_without_validation_is_told_that_it_has_learned_from_val(
    copies: Callable[[str], Path], tiny_voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = copies("localizer")
    trained = read_settings(run_dir)
    write_settings(run_dir, replace(trained, split="trainval", val_split=""))

    for split, learned in (("", True), ("val", False)):
        argv = ["--run-dir", str(run_dir), "--voc-root", str(tiny_voc), "--corloc-split="]
        assert main([*argv, f"--split={split}", "--device=cpu", "--amp=off"]) == 0
        warning = "warning: val: the run has learned from 6 of its 6 images (--split names others)"
        assert (warning in capsys.readouterr().err) == learned


def test_corloc_is_measured_on_its_own_split_with_the_runs_own_proposals(
    runs: Path, copies: Callable[[str], Path], tiny_voc: Path
) -> None:
    copy = copies("detector")
    assert main(words(copy, tiny_voc, "--split", "train")) == 0

    on_train, on_test = (
        report["detector"] for report in (report_of(copy, "train"), report_of(runs / "small"))
    )
    assert on_train["corloc"] == on_test["corloc"]
    assert on_train["box_map_area"] != on_test["box_map_area"]


def test_a_localizers_boxes_can_be_chosen(copies: Callable[[str], Path], tiny_voc: Path) -> None:
    copy = copies("localizer")
    assert main(words(copy, tiny_voc, "--name", "two", "--boxes.thresholds", "[0.3,0.8]")) == 0

    assert report_of(copy, "two")["localizer"]["boxes"]["thresholds"] == [0.3, 0.8]
    assert [path.name for path in (copy / "evaluations").iterdir()] == ["two"]


@pytest.mark.parametrize("option", ["--support-iou=0.5", "--rescore-from={small}"])
def test_support_and_a_localizers_heatmap_move_boxes_and_leave_the_images_scores(
    option: str, runs: Path, copies: Callable[[str], Path], small_run: Path, tiny_voc: Path
) -> None:
    copy, before = copies("detector"), files_of(small_run)
    assert main(words(copy, tiny_voc, option.format(small=small_run))) == 0

    detector, plain = report_of(copy)["detector"], report_of(runs / "small")["detector"]
    assert detector["image_map"] == plain["image_map"]
    assert detector["box_map_area"] != plain["box_map_area"]
    assert files_of(small_run) == before


def test_the_scores_of_further_detectors_are_averaged_and_are_theirs_under_every_setting(
    copies: Callable[[str], Path], detector_run: Path, tiny_voc: Path
) -> None:
    copy = copies("detector")
    again = f"--also-runs={detector_run}"
    reports = {}
    for name, options in {"one": (), "two": (again,), "large": (again, "--image-sizes=96")}.items():
        assert main(words(copy, tiny_voc, "--name", name, *options)) == 0
        reports[name] = report_of(copy, name)["detector"]

    assert reports["one"]["box_map_area"] == pytest.approx(reports["two"]["box_map_area"])
    assert reports["one"]["image_map"] == pytest.approx(reports["two"]["image_map"])
    assert main(words(copy, tiny_voc, "--name", "alone", "--image-sizes=96")) == 0
    alone = report_of(copy, "alone")["detector"]
    assert reports["large"]["image_map"] == pytest.approx(alone["image_map"])


def test_a_localizer_that_rescores_takes_cached_features_whatever_the_detector_takes(
    copies: Callable[[str], Path], small_run: Path, tiny_voc: Path, tmp_path: Path
) -> None:
    localizer = Path(shutil.copytree(small_run, tmp_path / "localizer"))
    trained, cache = read_settings(localizer), tmp_path / "features"
    frozen = replace(trained, pretrained=True, frozen_backbone=True, feature_cache=cache)
    write_settings(localizer, frozen)
    copy = copies("detector")
    assert not read_settings(copy).frozen_backbone

    assert main(words(copy, tiny_voc, f"--rescore-from={localizer}")) == 0
    assert len(list(cache.glob("*/*.npz"))) == 6


def test_a_detectors_scores_and_detections_do_not_depend_on_the_annotated_boxes(
    runs: Path, copies: Callable[[str], Path], tiny_voc: Path, tmp_path: Path
) -> None:
    copy, other = copies("detector"), with_other_boxes(tiny_voc, tmp_path / "voc")
    assert main(words(copy, other)) == 0  # and without --proposals: the run's own are these

    for name in ("scores.npz", "detections.json"):
        changed, before = (
            evaluation_folder(run, "test") / name for run in (copy, runs / "detector")
        )
        assert changed.read_bytes() == before.read_bytes()
    detector, plain = report_of(copy)["detector"], report_of(runs / "small")["detector"]
    assert detector["image_map"] == plain["image_map"]
    assert detector["box_recall"] != plain["box_recall"]


def test_images_alone_have_the_same_scores_and_no_box_numbers(
    runs: Path,
    copies: Callable[[str], Path],
    tiny_voc: Path,
    some_proposals: dict[str, Proposals],
    tmp_path: Path,
) -> None:
    copy, folder = copies("detector"), tmp_path / "images"
    folder.mkdir()
    for image_id in image_ids(tiny_voc, "test"):
        shutil.copy(image_path(tiny_voc, image_id), folder)
    renamed = {f"{image_id}.jpg": some_proposals[image_id] for image_id in some_proposals}
    path = write_proposals(tmp_path / "p.npz", renamed)
    others = ("--images", str(folder), "--split", "all", "--proposals", str(path))

    assert main(words(copy, tiny_voc, *others)) == 0
    alone, annotated = (
        arrays_of(evaluation_folder(run, name) / "scores.npz")["scores"]
        for run, name in ((copy, "all"), (runs / "detector", "test"))
    )
    assert alone.tolist() == annotated.tolist()
    detector = report_of(copy, "all")["detector"]
    assert all(detector[name] is None for name in ("box_map_area", "corloc", "errors_part"))


def test_a_detector_from_a_pretrained_localizer_enters_the_fourth_competition_alone(
    copies: Callable[[str], Path], tiny_voc: Path, tmp_path: Path
) -> None:
    copy, localizer = copies("detector"), tmp_path / "localizer"
    localizer.mkdir()
    write_settings(localizer, TrainLocalizerSettings(run_dir=localizer, pretrained=True))
    assert main(words(copy, tiny_voc, "--split", "val")) == 0
    path = copy / "settings.yaml"
    path.write_text(
        path.read_text().replace("from_localizer: null", f"from_localizer: {localizer}")
    )

    assert main(words(copy, tiny_voc, "--split", "val")) == 0
    names = {path.name for path in (copy / "evaluations" / "val" / "devkit").iterdir()}
    assert names == {f"comp4_det_val_{name}.txt" for name in SYNTHETIC_CLASSES}


# Refusals


def test_other_images_under_the_name_of_an_evaluation_are_refused(
    runs: Path, tiny_voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_of(runs / "detector" / "evaluations")

    assert main(words(runs / "detector", tiny_voc, "--split", "val", "--name", "test")) == 2
    assert capsys.readouterr().err.startswith(f"error: {runs}/detector/evaluations/test: ")
    assert files_of(runs / "detector" / "evaluations") == before


def test_a_folder_without_a_run_is_refused_and_not_made(
    tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tmp_path / "typo", tiny_voc)) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/typo/settings.yaml: ")
    assert not (tmp_path / "typo").exists()


def test_a_run_that_is_still_writing_is_refused(
    copies: Callable[[str], Path], tiny_voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = copies("localizer")
    with locked_run(copy):
        assert main(words(copy, tiny_voc)) == 2

    assert capsys.readouterr().err.startswith(f"error: {copy}/log.txt: another process")


def add_a_class(run_dir: Path) -> None:
    path = run_dir / "settings.yaml"
    path.write_text(path.read_text().replace("- teapot\n", "- teapot\n- yeti\n"))


@pytest.mark.parametrize(
    ("spoil", "refusal"),
    [
        (lambda run_dir: shutil.rmtree(run_dir / "checkpoints"), "no last checkpoint"),
        (add_a_class, "has other shapes: classifier.0.weight"),
    ],
)
def test_a_run_without_weights_that_fit_is_refused(
    spoil: Callable[[Path], object],
    refusal: str,
    copies: Callable[[str], Path],
    tiny_voc: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = copies("localizer")
    spoil(copy)

    assert main(words(copy, tiny_voc)) == 2
    assert f"error: {copy}: {refusal}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "option", "refusal"),
    [
        ("localizer", "--split=nope", "nope.txt: no list of split"),
        ("localizer", "--beside={small}", "--beside {small}: two runs of one kind"),
        ("localizer", "--rescore-from={small}", "--rescore-from {small}: none of the runs"),
        ("localizer", "--support-iou=0.5", "--support-iou 0.5: none of the runs"),
        ("localizer", "--also-runs={detector}", "--also-runs {detector}: none of the runs"),
        ("detector", "--also-runs={small}", "{small}: holds a localizer"),
        ("detector", "--crop=64", "--crop 64: a detector sees images whole"),
        ("localizer", "--proposals={val}", "{val}: no proposals of {first} and 1 more"),
        ("detector", "--beside={detector}", "--beside {detector}: two runs of one kind"),
        ("detector", "--rescore-from={detector}", "{detector}: holds a detector"),
        ("detector", "--rescore-from={other}", "{other}: knows other classes than {run}: bug, "),
        ("detector", "--also-runs={bugs}", "{bugs}: knows other classes than {run}: bug, "),
        ("detector", "--also-runs={run}/gone", "{run}/gone/settings.yaml: no run in this folder"),
        ("detector", "--rescore-from={run}/gone", "{run}/gone/settings.yaml: no run in this"),
        ("detector", "--proposals={val}", "{val}: no proposals of {first} and 1 more"),
        ("detector", "--proposals={run}/missing.npz", "{run}/missing.npz: no such file"),
        ("detector", "--support-iou=-0.5", "--support-iou is in [0, 1], got -0.5"),
        ("detector", "--support-iou=1.5", "--support-iou is in [0, 1], got 1.5"),
    ],
)
def test_what_does_not_fit_the_runs_is_refused_and_nothing_is_written(
    kind: str,
    option: str,
    refusal: str,
    runs: Path,
    small_run: Path,
    detector_run: Path,
    tiny_voc: Path,
    some_proposals: dict[str, Proposals],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other, bugs = tmp_path / "other", tmp_path / "bugs"
    for folder, of_beetles in ((other, small_run), (bugs, detector_run)):
        folder.mkdir()
        (folder / "checkpoints").symlink_to(of_beetles / "checkpoints")
        settings = (of_beetles / "settings.yaml").read_text()
        (folder / "settings.yaml").write_text(settings.replace("beetle", "bug"))
    val = {image_id: some_proposals[image_id] for image_id in image_ids(tiny_voc, "val")}
    run_dir = runs / MODELS[kind]
    names = {"run": run_dir, "small": small_run, "detector": detector_run, "other": other}
    names["bugs"] = bugs
    names["val"] = write_proposals(tmp_path / "val.npz", val)
    first = ", ".join(image_ids(tiny_voc, "test")[:5])

    assert main(words(run_dir, tiny_voc, "--name", "new", option.format(**names))) == 2
    assert refusal.format(**names, first=first) in capsys.readouterr().err
    assert not (run_dir / "evaluations" / "new").exists()
    assert not (detector_run / "evaluations").exists()


def test_a_localizers_boxes_of_both_splits_come_from_proposals_in_one_file_or_several(
    copies: Callable[[str], Path],
    tiny_voc: Path,
    some_proposals: dict[str, Proposals],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    every = str(write_proposals(tmp_path / "every.npz", some_proposals))
    others = ("--name", "new", "--corloc-split", "train", "--proposals")
    run_dir, names = copies("localizer"), image_ids(tiny_voc, "test")
    some = {name: some_proposals[name] for name in names}
    test = str(write_proposals(tmp_path / "test.npz", some))

    assert main(words(run_dir, tiny_voc, *others, test)) == 2
    assert f"error: {test}: no proposals of {image_ids(tiny_voc, 'train')[0]}" in (
        capsys.readouterr().err
    )
    assert main(words(run_dir, tiny_voc, *others, every)) == 0
    whole = report_of(run_dir, "new")["localizer"]
    assert main(words(run_dir, tiny_voc, *others, test, every)) == 0
    assert report_of(run_dir, "new")["localizer"]["corloc"] == whole["corloc"]


def test_a_signal_stops_an_evaluation_between_two_images(
    copies: Callable[[str], Path], tiny_voc: Path
) -> None:
    copy, evaluated = copies("localizer"), []

    def interrupt(module: torch.nn.Module, _: Any) -> None:
        if isinstance(module, Localizer):
            evaluated.append(module)
            signal.raise_signal(signal.SIGTERM)

    with register_module_forward_pre_hook(interrupt):
        assert main(words(copy, tiny_voc)) == 143
    assert len(evaluated) == 1
    assert not (copy / "evaluations").exists()
