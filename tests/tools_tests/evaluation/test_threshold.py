"""The threshold of a localizer's boxes: chosen by evaluate, kept in the run, used from then on."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from data.datasets.voc_layout import image_ids, image_path
from localizer.settings import BoxSettings
from tests.tools_tests.conftest import process_as_before
from tests.worlds import digest_of
from tools import check_reproduction, evaluate
from tools.cli.command import parse_settings
from tools.evaluation.settings import EvaluateSettings
from tools.evaluation.threshold import VOC_THRESHOLD, VOC_THRESHOLD_OF_MAX
from tools.prediction.predictor import Predictor
from tools.runs.checkpoint import load_checkpoint, save_checkpoint
from tools.runs.folder import evaluation_folder, read_settings, write_settings
from tools.runs.saved import load_run
from tools.runs.threshold import ChosenThreshold, read_threshold, write_threshold

CHOOSE = "--choose-threshold=true"


def words(run_dir: Path, tiny_voc: Path, *others: str) -> list[str]:
    """Of an evaluation on test, unless others name another split."""
    small = f"--run-dir={run_dir} --voc-root={tiny_voc} --amp=off --device=cpu --corloc-split="
    return [*small.split(), "--split=test", *others]


def localizer_of(run_dir: Path, name: str) -> dict[str, Any]:
    path = evaluation_folder(run_dir, name) / "report.json"
    numbers: dict[str, Any] = json.loads(path.read_text())["localizer"]
    return numbers


def thresholds_of(run_dir: Path, which: str = "last") -> tuple[float, ...]:
    return load_run(run_dir, which).localizer()[1].boxes.thresholds


def chosen_for(run_dir: Path, threshold: float) -> ChosenThreshold:
    return ChosenThreshold(threshold, digest_of(run_dir), "val", "corloc", {threshold: 0.5})


@pytest.fixture(scope="module")
def chosen(
    tiny_voc: Path, small_run: Path, detector_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A localizer evaluated on test before and after its threshold was chosen; only read."""
    folder = tmp_path_factory.mktemp("chosen")
    run, detector = (
        Path(shutil.copytree(one, folder / one.name)) for one in (small_run, detector_run)
    )
    with process_as_before():
        assert evaluate.main(words(run, tiny_voc, "--name=before")) == 0
        assert evaluate.main(words(run, tiny_voc, CHOOSE, f"--beside={detector}")) == 0
        assert evaluate.main(words(run, tiny_voc, "--split=val")) == 0
    return run


# What is chosen


def test_it_is_the_first_of_the_highest_corloc_on_the_validation_split(
    chosen: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = read_threshold(chosen)
    assert kept is not None
    curve = localizer_of(chosen, "val")["threshold_curve"]

    assert {f"{threshold:g}": value for threshold, value in kept.curve.items()} == curve
    highest = max(curve.values())
    assert kept.threshold == min(float(one) for one, value in curve.items() if value == highest)
    assert (kept.metric, kept.chosen_on) == ("corloc", "val (6 images)")
    assert kept.weights_sha256 == digest_of(chosen)


def test_a_run_without_validation_takes_the_split_that_is_evaluated_and_says_if_it_learned_from_it(
    copy: Path, tiny_voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_settings(copy, replace(read_settings(copy), val_split=""))

    for split, count in (("train", 12), ("trainval", 18)):
        assert evaluate.main(words(copy, tiny_voc, CHOOSE, f"--split={split}")) == 0
        line = next(line for line in capsys.readouterr().out.splitlines() if "threshold" in line)
        assert line.startswith("localizer: threshold of boxes 0.")
        assert line.endswith(f" on {split} ({count} images), 12 of which it learned from")
        kept = read_threshold(copy)
        assert kept is not None
        assert kept.chosen_on.startswith(split)


def choose_on_images_alone(run_dir: Path, tiny_voc: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for image_id in image_ids(tiny_voc, "test"):
        shutil.copy(image_path(tiny_voc, image_id), folder)
    others = (CHOOSE, f"--images={folder}", "--split=all")
    assert evaluate.main(words(run_dir, tiny_voc, *others)) == 0


@pytest.mark.parametrize(
    ("pooling", "threshold"), [("max", VOC_THRESHOLD_OF_MAX), ("mean", VOC_THRESHOLD)]
)
def test_images_without_boxes_get_the_threshold_of_voc(
    pooling: str,
    threshold: float,
    copy: Path,
    tiny_voc: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = read_settings(copy)
    model = replace(settings.model, pooling=pooling)  # type: ignore[arg-type]
    write_settings(copy, replace(settings, model=model))

    choose_on_images_alone(copy, tiny_voc, tmp_path / "images")
    assert (
        f"localizer: threshold of boxes {threshold:g}: that of VOC 2007 val; no boxes of all (6"
        " images) are known to choose by"
    ) in capsys.readouterr().out.splitlines()
    kept = read_threshold(copy)
    assert kept == ChosenThreshold(threshold, digest_of(copy), "VOC 2007 val", "", {})
    assert localizer_of(copy, "all")["boxes"]["thresholds"] == [threshold]


def test_images_without_boxes_leave_the_threshold_that_boxes_have_chosen(
    copy: Path, tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_threshold(copy, chosen_for(copy, 0.2))

    choose_on_images_alone(copy, tiny_voc, tmp_path / "images")
    assert "localizer: threshold of boxes 0.2: that of val; " in capsys.readouterr().out
    assert read_threshold(copy) == chosen_for(copy, 0.2)


# Who uses it


def test_the_evaluation_that_chooses_and_every_later_one_record_and_use_it(chosen: Path) -> None:
    kept = read_threshold(chosen)
    assert kept is not None
    assert kept.threshold not in read_settings(chosen).boxes.thresholds  # type: ignore[attr-defined]

    assert localizer_of(chosen, "before")["boxes"]["thresholds"] == [0.5]
    for name in ("test", "val"):
        numbers = localizer_of(chosen, name)
        assert numbers["boxes"] == {
            "thresholds": [kept.threshold],
            "mode": "components",
            "min_cells": 1,
        }
        curve = numbers["threshold_curve"]
        assert numbers["corloc"] == pytest.approx(curve[f"{kept.threshold:g}"], abs=1e-12)
    files = [evaluation_folder(chosen, name) / "detections.json" for name in ("before", "test")]
    assert len({file.read_bytes() for file in files}) == 2


def test_whatever_opens_the_run_uses_it(chosen: Path, tiny_voc: Path) -> None:
    kept = read_threshold(chosen)
    assert kept is not None
    image_id = image_ids(tiny_voc, "test")[0]
    path = evaluation_folder(chosen, "test") / "detections.json"
    stored = json.loads(path.read_text())["images"][image_id]["boxes"]

    assert thresholds_of(chosen) == (kept.threshold,)
    assert load_run(chosen).settings == replace(
        read_settings(chosen),
        boxes=BoxSettings((kept.threshold,)),  # type: ignore[call-arg]
    )
    prediction = Predictor.from_run(chosen, device="cpu", amp="off").predict(
        image_path(tiny_voc, image_id)
    )
    assert prediction.detections.boxes.tolist() == stored


def test_thresholds_by_hand_come_first(copy: Path, tiny_voc: Path) -> None:
    write_threshold(copy, chosen_for(copy, 0.2))

    for name, others in (("kept", ()), ("by hand", ("--boxes.thresholds=[0.7]",))):
        assert evaluate.main(words(copy, tiny_voc, f"--name={name}", *others)) == 0
    assert localizer_of(copy, "kept")["boxes"]["thresholds"] == [0.2]
    assert localizer_of(copy, "by hand")["boxes"]["thresholds"] == [0.7]


@pytest.mark.parametrize("name", ["before", "test"])
def test_a_stored_evaluation_is_reproduced_with_its_own_threshold_whatever_is_kept_now(
    name: str, chosen: Path, tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(chosen, tmp_path / "copy"))
    write_threshold(copy, chosen_for(copy, 0.8))
    before = read_threshold(copy)

    place = [f"--run-dir={copy}", f"--voc-root={tiny_voc}", "--device=cpu", f"--name={name}"]
    assert check_reproduction.main(place) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("reproduced: scores differ by 0.0 ")
    assert read_threshold(copy) == before


@pytest.mark.parametrize("name", ["before", "test", "val"])
def test_the_command_in_the_report_chooses_again_or_names_what_was_kept(
    name: str, chosen: Path
) -> None:
    report = json.loads((evaluation_folder(chosen, name) / "report.json").read_text())
    kept = read_threshold(chosen)
    assert kept is not None

    repeated = parse_settings(EvaluateSettings, "evaluate", shlex.split(report["command"])[3:])
    assert repeated.choose_threshold == (name == "test")
    assert repeated.boxes == (BoxSettings((kept.threshold,)) if name == "val" else None)


def test_a_threshold_of_other_weights_is_not_used_and_named(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_threshold(copy, chosen_for(copy, 0.2))
    assert thresholds_of(copy) == (0.2,)
    assert capsys.readouterr().err == ""

    content = load_checkpoint(copy / "checkpoints")
    assert content is not None
    weights = {name: torch.zeros_like(tensor) for name, tensor in content["model"].items()}
    step = content["step"] + 1  # trained on
    save_checkpoint(copy / "checkpoints", content | {"model": weights, "step": step})
    assert thresholds_of(copy) == (0.5,)
    assert capsys.readouterr().err == (
        f"warning: {copy}/box_threshold.json: chosen for other weights than those of the last "
        "checkpoint, not used (evaluate --choose-threshold true chooses again)\n"
    )


# Refusals


@pytest.mark.parametrize("val_split", ["", "test"])
def test_test_is_no_split_to_choose_by(
    val_split: str, copy: Path, tiny_voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_settings(copy, replace(read_settings(copy), val_split=val_split))

    assert evaluate.main(words(copy, tiny_voc, CHOOSE)) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: --choose-threshold: {copy} leaves test to choose by, ")
    assert read_threshold(copy) is None
    assert not (copy / "evaluations").exists()


@pytest.mark.parametrize(
    ("kind", "option", "message"),
    [
        ("detector", CHOOSE, "--choose-threshold: none of the runs has heatmaps"),
        (
            "localizer",
            "--boxes.mode=extent",
            "--choose-threshold: --boxes says how boxes are made (leave one out)",
        ),
    ],
)
def test_what_leaves_nothing_to_choose_is_refused(
    kind: str,
    option: str,
    message: str,
    small_run: Path,
    detector_run: Path,
    tiny_voc: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = {"localizer": small_run, "detector": detector_run}[kind]
    copy = Path(shutil.copytree(run, tmp_path / "copy"))

    assert evaluate.main(words(copy, tiny_voc, CHOOSE, option)) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


CONTENT = '{"threshold": 0.3, "weights_sha256": "", "chosen_on": "", "metric": "", "curve": {}}'


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", CONTENT.replace("0.3", "0"), CONTENT.replace("0.3", '"a"'), CONTENT[:-1]],
)
def test_a_file_that_is_no_threshold_is_refused_with_its_name(
    text: str, copy: Path, tiny_voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / "box_threshold.json").write_text(CONTENT)
    assert read_threshold(copy) == ChosenThreshold(0.3, "", "", "", {})

    (copy / "box_threshold.json").write_text(text)
    assert evaluate.main(words(copy, tiny_voc)) == 2
    assert capsys.readouterr().err.startswith(
        f"error: {copy}/box_threshold.json: not a chosen threshold ("
    )
