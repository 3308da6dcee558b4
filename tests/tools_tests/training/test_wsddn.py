"""Training a detector from the command line: what it logs, resumes, leaves out and never sees."""

import json
import math
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)

from data.datasets.voc import image_ids
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import Proposals
from tests.tools_tests.conftest import (
    Words,
    files_of,
    random_boxes,
    with_other_boxes,
    write_proposals,
)
from tools.cli.command import parse_settings
from tools.loggers.metrics_file import read_metrics
from tools.runs.checkpoint import load_checkpoint
from tools.runs.saved import load_run
from tools.train_wsddn import main
from tools.training import wsddn as job
from tools.training.settings import TrainWsddnSettings
from wsddn.criterion import wsddn_losses

ONE_EPOCH = ("--loop.epochs", "1", "--val-split", "")


def digest(run_dir: Path) -> str:
    text: str = json.loads((run_dir / "training.json").read_text())["weights_sha256"]
    return text


def lines(run_dir: Path) -> list[str]:
    """Everything that was logged, each line as it stands."""
    return sorted((run_dir / "metrics.jsonl").read_text().splitlines())


def assert_same_run(run_dir: Path, other: Path) -> None:
    assert digest(run_dir) == digest(other)
    assert lines(run_dir) == lines(other)


@pytest.fixture
def copy(detector_run: Path, tmp_path: Path) -> Path:
    """A finished run that a test may spoil."""
    return Path(shutil.copytree(detector_run, tmp_path / "copy"))


# The run folder


def test_a_run_leaves_every_file_of_its_folder(detector_run: Path) -> None:
    names = {path.name for path in detector_run.iterdir() if path.name != ".lock"}

    assert names == {
        *("checkpoints", "events"),
        *("environment.json", "log.txt", "metrics.jsonl", "settings.yaml", "training.json"),
    }
    for which in ("last", "best"):
        loaded = load_checkpoint(detector_run / "checkpoints", which)
        assert loaded is not None
        assert loaded["builder"]["width"] == 16


def test_a_summary_names_the_weights_steps_and_epochs(detector_run: Path) -> None:
    summary = json.loads((detector_run / "training.json").read_text())

    assert (summary["step"], summary["epochs"]) == (24, 2)
    assert len(summary["weights_sha256"]) == 64
    assert summary["seconds"] > 0


def test_settings_name_the_file_of_proposals_wherever_one_stands(
    detector_run: Path, proposals_file: Path
) -> None:
    settings = yaml.safe_load((detector_run / "settings.yaml").read_text())

    assert settings["proposals"] == str(proposals_file)
    assert Path(settings["proposals"]).is_absolute()
    assert (settings["min_size"], settings["max_proposals"]) == (20, 2000)
    assert settings["classes"] == list(SYNTHETIC_CLASSES)


def test_both_losses_are_logged_at_every_step(detector_run: Path) -> None:
    curves = read_metrics(detector_run / "metrics.jsonl")

    names = ("image_label", "spatial", "loss", "metric1", "metric2", "learning_rate")
    for name in names:
        assert [step for step, _ in curves[f"train/{name}"]] == list(range(1, 25)), name
    total = [value for _, value in curves["train/loss"]]
    parts = [[value for _, value in curves[f"train/{name}"]] for name in names[:2]]
    assert total == pytest.approx([sum(both) for both in zip(*parts, strict=True)], rel=1e-6)
    assert max(parts[1]) > 0


def test_the_validation_is_logged_after_every_epoch(detector_run: Path) -> None:
    curves = read_metrics(detector_run / "metrics.jsonl")

    for name in ("box_map_11point", "box_map_area", "corloc", "image_map", "errors_part"):
        assert [step for step, _ in curves[f"validation/{name}"]] == [12, 24], name


def test_ap_of_each_class_is_logged_and_their_mean_is_the_map(detector_run: Path) -> None:
    curves = read_metrics(detector_run / "metrics.jsonl")

    start = "validation/box_ap/"
    of_classes = {tag.removeprefix(start): curves[tag] for tag in curves if tag.startswith(start)}
    assert set(of_classes) <= set(SYNTHETIC_CLASSES)
    assert len(of_classes) > 3
    for epoch in range(2):
        values = [points[epoch][1] for points in of_classes.values()]
        mean = sum(values) / len(values)
        assert curves["validation/box_map_11point"][epoch][1] == pytest.approx(mean, abs=1e-12)


def test_the_checkpoint_that_is_best_on_the_validation_split_is_named(detector_run: Path) -> None:
    best = load_checkpoint(detector_run / "checkpoints", "best")
    quality = read_metrics(detector_run / "metrics.jsonl")["validation/box_map_11point"]

    assert best is not None
    assert (best["step"], best["best"]) == max(quality, key=lambda point: point[1])


@pytest.fixture(scope="module")
def tags(detector_run: Path) -> dict[str, list[str]]:
    events = EventAccumulator(str(detector_run / "events"))
    events.Reload()
    found: dict[str, list[str]] = events.Tags()
    return found


def test_histograms_are_of_the_first_two_convolutions_and_of_fc7(
    tags: dict[str, list[str]],
) -> None:
    layers = ("features.0", "features.3", "head.fc7")

    assert set(tags["histograms"]) == {
        f"{kind}/{layer}" for kind in ("weights", "gradients") for layer in layers
    }


def test_boxes_on_every_image_of_the_validation_are_kept_for_every_epoch(
    tags: dict[str, list[str]],
) -> None:
    images = [f"batch{number // 4}_image{number % 4}_boxes" for number in range(6)]

    for epoch, step in ((0, 12), (1, 24)):
        shown = [tag for tag in tags["images"] if tag.startswith(f"ep{epoch}_")]
        assert shown == [f"ep{epoch}_iter{step}_{image}" for image in images]


# Resuming


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a signal come in the middle of that step, counted from 1."""
    steps = iter(range(1, step))

    def with_signal(*args: Any, **kwargs: Any) -> Any:
        if next(steps, None) is None:
            signal.raise_signal(signal.SIGTERM)
        return wsddn_losses(*args, **kwargs)

    monkeypatch.setattr(job, "wsddn_losses", with_signal)


def test_a_run_stopped_in_the_middle_of_an_epoch_goes_on_bit_by_bit(
    detector_run: Path,
    detector_words: Words,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_dir = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_at(17, patch)
        assert main(detector_words(run_dir)) == 143
    assert not (run_dir / "training.json").exists()

    assert main(detector_words(run_dir, "--resume", "auto")) == 0
    assert "going on from step 17 (epoch 2, batch 5)" in capsys.readouterr().out
    assert_same_run(run_dir, detector_run)


def test_a_killed_run_goes_on_bit_by_bit(
    detector_run: Path, detector_words: Words, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    argv = detector_words(run_dir, "--loop.checkpoint-every", "3", "--resume", "auto")
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.train_wsddn", *argv], stdout=subprocess.DEVNULL
    )
    log, deadline = run_dir / "metrics.jsonl", time.monotonic() + 60
    while process.poll() is None and not (log.exists() and '"step": 4,' in log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL

    assert main(argv) == 0
    assert_same_run(run_dir, detector_run)


def test_a_run_that_drops_proposals_goes_on_bit_by_bit(
    detector_words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--drop-proposals", "0.5", *ONE_EPOCH)
    whole, run_dir = tmp_path / "whole", tmp_path / "run"
    assert main(detector_words(whole, *words)) == 0
    with monkeypatch.context() as patch:
        stop_at(5, patch)
        assert main(detector_words(run_dir, *words)) == 143

    assert main(detector_words(run_dir, *words, "--resume", "auto")) == 0
    assert_same_run(run_dir, whole)


def test_resuming_a_finished_run_changes_no_file_but_the_log(
    copy: Path, detector_words: Words
) -> None:
    assert main(detector_words(copy, "--resume", "auto")) == 0  # settings name the copy from here
    before = files_of(copy)

    assert main(detector_words(copy, "--resume", "auto")) == 0
    after = files_of(copy)
    assert {name: data for name, data in after.items() if name != "log.txt"} == {
        name: data for name, data in before.items() if name != "log.txt"
    }


def test_an_existing_run_is_refused(
    detector_run: Path, detector_words: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(detector_words(detector_run)) == 2
    assert f"error: {detector_run}: holds a run already" in capsys.readouterr().err


def test_other_proposals_in_the_file_are_refused_on_resuming(
    copy: Path,
    detector_words: Words,
    some_proposals: dict[str, Proposals],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fewer = {name: Proposals(found.boxes[1:], None) for name, found in some_proposals.items()}
    others = str(write_proposals(tmp_path / "others.npz", fewer))

    assert main(detector_words(copy, "--resume", "auto", "--proposals", others)) == 2
    assert "--proposals-sha256: the run was started with " in capsys.readouterr().err


def test_the_same_proposals_in_another_place_are_taken_on_resuming(
    copy: Path, detector_words: Words, proposals_file: Path, tmp_path: Path
) -> None:
    moved = str(shutil.copy(proposals_file, tmp_path / "moved.npz"))

    assert main(detector_words(copy, "--resume", "auto", "--proposals", moved)) == 0


@pytest.mark.parametrize(
    ("option", "value", "refusal"),
    [
        ("--max-proposals", "30", "--max-proposals: the run was started with 2000, now 30"),
        ("--drop-proposals", "0.5", "--drop-proposals: the run was started with 0.0, now 0.5"),
        ("--spatial-weight", "0", "--spatial-weight: the run was started with 0.0001, now 0"),
        ("--model.width", "8", "--model.width: the run was started with 16, now 8"),
    ],
)
def test_resuming_with_other_settings_is_refused_by_their_name(
    option: str,
    value: str,
    refusal: str,
    copy: Path,
    detector_words: Words,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(detector_words(copy, "--resume", "auto", option, value)) == 2
    assert refusal in capsys.readouterr().err


def test_a_finished_run_takes_other_settings_of_its_evaluation(
    copy: Path, detector_words: Words, detector_run: Path
) -> None:
    others = ("--eval-image-sizes", "[64,96]", "--support-iou", "0.5")

    assert main(detector_words(copy, "--resume", "auto", *others)) == 0
    settings = yaml.safe_load((copy / "settings.yaml").read_text())
    assert (settings["eval_image_sizes"], settings["support_iou"]) == ([64, 96], 0.5)
    assert digest(copy) == digest(detector_run)


# What it learns from


def test_the_boxes_of_the_annotations_are_never_seen(
    detector_run: Path, detector_words: Words, tiny_voc: Path, tmp_path: Path
) -> None:
    other = with_other_boxes(tiny_voc, tmp_path / "voc")

    words = detector_words(tmp_path / "run", "--voc-root", str(other), "--val-split", "")
    assert main(words) == 0
    assert digest(tmp_path / "run") == digest(detector_run)


def test_other_labels_give_other_weights(
    detector_words: Words, tiny_voc: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_voc, tmp_path / "voc")
    for path in (tmp_path / "voc" / "VOC2007" / "Annotations").iterdir():
        path.write_text(path.read_text().replace("<name>rocket<", "<name>snail<"))

    val = ("--split", "val", *ONE_EPOCH)  # six images are enough
    assert main(detector_words(tmp_path / "one", *val)) == 0
    assert main(detector_words(tmp_path / "two", *val, "--voc-root", str(tmp_path / "voc"))) == 0
    assert digest(tmp_path / "one") != digest(tmp_path / "two")


def test_images_without_proposals_are_left_out_with_their_number(
    detector_words: Words,
    some_proposals: dict[str, Proposals],
    tiny_voc: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ids = image_ids(tiny_voc, "val")
    nothing = Proposals(torch.zeros(0, 4), None)
    small = Proposals(torch.tensor([[0.0, 0.0, 19.0, 60.0]]), None)  # below --min-size
    found = {**some_proposals, ids[1]: nothing, ids[4]: small}
    path = write_proposals(tmp_path / "p.npz", found)

    words = ("--split", "val", *ONE_EPOCH, "--proposals", str(path))
    assert main(detector_words(tmp_path / "run", *words)) == 0
    warning = f"images without proposals are left out, 2: {ids[1]}, {ids[4]}\n"
    assert f"warning: {warning}" in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "training.json").read_text())["step"] == 4


def test_a_run_without_any_proposal_is_refused(
    detector_words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(detector_words(tmp_path / "run", "--min-size", "1000")) == 2

    assert capsys.readouterr().err.endswith("error: train: no image is left\n")
    assert not (tmp_path / "run" / "settings.yaml").exists()


def test_a_validation_image_without_proposals_is_evaluated_too(
    detector_words: Words,
    some_proposals: dict[str, Proposals],
    tiny_voc: Path,
    tmp_path: Path,
) -> None:
    nothing = Proposals(torch.zeros(0, 4), None)
    found = {**some_proposals, image_ids(tiny_voc, "val")[0]: nothing}
    path = write_proposals(tmp_path / "p.npz", found)

    words = ("--split", "val", "--loop.epochs", "1", "--proposals", str(path))
    assert main(detector_words(tmp_path / "run", *words)) == 0
    curves = read_metrics(tmp_path / "run" / "metrics.jsonl")
    ((step, value),) = curves["validation/box_map_11point"]
    assert step == 5
    assert 0 <= value <= 1


@pytest.mark.parametrize("count", [1, 4000])
def test_one_proposal_and_thousands_of_them_have_finite_losses(
    count: int,
    detector_words: Words,
    some_proposals: dict[str, Proposals],
    tiny_voc: Path,
    tmp_path: Path,
    rng: torch.Generator,
) -> None:
    ids = image_ids(tiny_voc, "val")
    found = dict(some_proposals)
    for image_id in ids if count == 1 else ids[:1]:
        boxes = random_boxes(count, (200, 200), rng)
        found[image_id] = Proposals(boxes, torch.rand(count, generator=rng))
    path = write_proposals(tmp_path / "p.npz", found)

    words = ("--split", "val", *ONE_EPOCH, "--proposals", str(path), "--max-proposals", "5000")
    assert main(detector_words(tmp_path / "run", *words)) == 0
    curves = read_metrics(tmp_path / "run" / "metrics.jsonl")
    for name in ("image_label", "spatial"):
        assert len(curves[f"train/{name}"]) == 6
        assert all(math.isfinite(value) for _, value in curves[f"train/{name}"])


def test_a_regularizer_of_weight_zero_is_no_loss(detector_words: Words, tmp_path: Path) -> None:
    words = ("--split", "val", *ONE_EPOCH, "--spatial-weight", "0")

    assert main(detector_words(tmp_path / "run", *words)) == 0
    curves = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert "train/spatial" not in curves
    assert curves["train/loss"] == curves["train/image_label"]


# The backbone


def test_a_backbone_starts_from_that_of_a_localizer(
    small_run: Path, detector_words: Words, tmp_path: Path
) -> None:
    words = ("--model.backbone", "squeezenet1_1", "--from-localizer", str(small_run), *ONE_EPOCH)
    slow = ("--split", "val", "--optim.lr", "1e-12")  # nothing moves by a digit

    assert main(detector_words(tmp_path / "run", *words, *slow)) == 0
    backbone = load_run(tmp_path / "run").detector().features.state_dict()
    given = load_run(small_run).localizer().features.state_dict()
    for name, tensor in backbone.items():
        torch.testing.assert_close(tensor, given[name], rtol=0, atol=1e-6)
    assert backbone.keys() == given.keys()


def test_a_localizer_on_another_backbone_is_refused(
    small_run: Path,
    detector_words: Words,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(detector_words(tmp_path / "run", "--from-localizer", str(small_run))) == 2

    refusal = f"error: {small_run}: the localizer stands on another backbone\n"
    assert capsys.readouterr().err == refusal
    assert not (tmp_path / "run" / "settings.yaml").exists()


def test_a_detector_is_no_localizer_to_start_from(
    detector_run: Path, detector_words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(detector_words(tmp_path / "run", "--from-localizer", str(detector_run))) == 2
    assert "holds a detector, which has no heatmaps" in capsys.readouterr().err


def test_a_frozen_backbone_of_a_localizer_keeps_its_weights(
    small_run: Path, detector_words: Words, tmp_path: Path
) -> None:
    words = ("--model.backbone", "squeezenet1_1", "--from-localizer", str(small_run))
    frozen = ("--frozen-backbone", "true", "--feature-cache", str(tmp_path / "features"))
    short = ("--split", "val", *ONE_EPOCH, "--optim.lr", "1e-4")

    assert main(detector_words(tmp_path / "run", *words, *frozen, *short)) == 0
    model = load_run(tmp_path / "run").detector()
    given = load_run(small_run).localizer().features.state_dict()
    assert all(tensor.equal(given[name]) for name, tensor in model.features.state_dict().items())
    assert len(list((tmp_path / "features").rglob("*.npz"))) == 6


# Refusals


def test_a_missing_file_of_proposals_is_refused(
    detector_words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "missing.npz")

    assert main(detector_words(tmp_path / "run", "--proposals", missing)) == 2
    assert capsys.readouterr().err.startswith(f"error: {missing}: ")
    left = {path.name for path in (tmp_path / "run").rglob("*")}
    assert not left & {"settings.yaml", "training.json", "checkpoints", "metrics.jsonl"}


def test_proposals_of_other_images_are_refused_by_their_names(
    detector_words: Words,
    some_proposals: dict[str, Proposals],
    tiny_voc: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    val = {image_id: some_proposals[image_id] for image_id in image_ids(tiny_voc, "val")}
    path = write_proposals(tmp_path / "val.npz", val)

    assert main(detector_words(tmp_path / "run", "--proposals", str(path))) == 2
    first = ", ".join(image_ids(tiny_voc, "train")[:5])
    assert f"error: {path}: no proposals of {first} and 7 more (" in capsys.readouterr().err


def test_proposals_of_the_validation_are_asked_for_before_the_first_step(
    detector_words: Words,
    some_proposals: dict[str, Proposals],
    tiny_voc: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train = {image_id: some_proposals[image_id] for image_id in image_ids(tiny_voc, "train")}
    path = write_proposals(tmp_path / "train.npz", train)

    assert main(detector_words(tmp_path / "run", "--proposals", str(path))) == 2
    assert f"no proposals of {image_ids(tiny_voc, 'val')[0]}, " in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        ("--max-proposals 0", "--max-proposals is above 0, got 0"),
        ("--max-proposals -1", "--max-proposals is above 0, got -1"),
        ("--spatial-weight -0.1", r"--spatial-weight are 0 or more, got 20(\.0)?, -0\.1"),
        ("--min-size -1", r"--min-size and .* are 0 or more, got -1(\.0)?, 0\.0001"),
        ("--model.width 0", r"--model\.width is above 0, got 0"),
        ("--model.dropout 1", r"dropout in \[0, 1\); got 1\.0, 1"),
        ("--model.frozen-layers -1", r"--model\.frozen-layers is 0 or more, got -1"),
        ("--drop-proposals 1", r"--drop-proposals is in \[0, 1\), got 1\.0"),
        ("--support-iou -0.1", r"--support-iou is in \[0, 1\], got -0\.1"),
        ("--support-iou 1.1", r"--support-iou is in \[0, 1\], got 1\.1"),
        ("--frozen-backbone true", "--frozen-backbone needs ImageNet weights"),
        (
            "--pretrained true --from-localizer runs/a",
            "--from-localizer: the backbone starts from it",
        ),
        (
            "--weights a.pth --from-localizer runs/a",
            "--from-localizer: the backbone starts from it",
        ),
    ],
)
def test_settings_without_sense_are_refused(words: str, refusal: str) -> None:
    argv = ["--run-dir", "x", "--proposals", "p.npz", *words.split()]

    with pytest.raises(ValueError, match=refusal):
        parse_settings(TrainWsddnSettings, "train_wsddn", argv)


def test_proposals_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--run-dir", "x"])
    assert "proposals" in capsys.readouterr().err


def test_tensorboard_has_a_precision_recall_curve_of_each_class_and_a_layout(
    tags: dict[str, list[str]],
) -> None:
    curves = [tag for tag in tags["tensors"] if tag.startswith("validation/")]

    assert len(curves) > 3
    assert "custom_scalars__config__" in tags["tensors"]
