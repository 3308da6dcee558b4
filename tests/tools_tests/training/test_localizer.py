"""Training from the command line: run folders, seeds, kills, signals, resuming, cached features."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
import yaml
from torchvision import models

from data.datasets.voc import VOCSource
from data.datasets.voc_layout import annotation_path, image_ids, image_path
from data.synthetic.dataset import SYNTHETIC_CLASSES
from tests.tools_tests.conftest import Train, Words
from tests.tools_tests.training.conftest import Start, wait_for
from tests.worlds import assert_same_run, digest_of, files_of, read_events
from tools import evaluate, train_localizer
from tools.loggers.metrics_file import read_metrics
from tools.runs.checkpoint import load_checkpoint, read_checkpoint
from tools.runs.folder import locked_run
from tools.train_localizer import main

Kill = type("Kill", (BaseException,), {})  # what nobody catches, like SIGKILL


def without_log(run_dir: Path) -> dict[str, bytes]:
    """Content of every file but the log and its lock."""
    return {name: data for name, data in files_of(run_dir).items() if "log.txt" not in name}


# The run folder


def test_a_run_leaves_every_file_of_its_folder(small_run: Path) -> None:
    assert {path.name for path in small_run.iterdir() if not path.name.startswith(".")} == {
        *("checkpoints", "events", "environment.json", "log.txt", "metrics.jsonl"),
        *("settings.yaml", "training.json"),
    }
    names = {path.name for path in (small_run / "checkpoints").iterdir()}
    assert names >= {"best.json", "last.json", "step-00000006.pt"}
    assert not list(small_run.rglob("*tmp*"))
    settings = yaml.safe_load((small_run / "settings.yaml").read_text())
    assert settings["model"]["backbone"] == "squeezenet1_1"
    assert settings["loop"]["batch_size"] == 4
    assert json.loads((small_run / "environment.json").read_text())["torch"]


def test_the_log_has_a_line_an_epoch_and_each_line_a_time(small_run: Path) -> None:
    curves = read_metrics(small_run / "metrics.jsonl")
    log = (small_run / "log.txt").read_text().splitlines()
    lines = [line.split(" ", 2)[2] for line in log]
    losses = [loss for _, loss in curves["train/loss"]]

    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) for line in log)
    assert lines[:2] == ["train: 12 images", "val: 6 images"]
    for epoch, line in enumerate(lines[2:4]):
        (_, value) = curves["validation/image_map"][epoch]
        loss = fmean(losses[3 * epoch : 3 * epoch + 3])
        assert re.match(
            rf"epoch {epoch + 1}: loss {loss:.4g} in \d+ s; image mAP {value:.4f}, mAP .* on val$",
            line,
        )


def test_a_finished_run_tells_its_last_and_best_value_and_what_comes_next_each_time(
    copy: Path, words: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    logged = (copy / "log.txt").read_text()
    assert main(words(copy, "--resume", "auto")) == 0

    printed = capsys.readouterr().out.splitlines()
    trained, values, run, curves, following = printed[-5:]
    assert trained.endswith(f"weights_sha256 {digest_of(copy)}")
    assert f" {trained}\n" in logged
    assert f" {values}\n" in logged
    of_epochs = [value for _, value in read_metrics(copy / "metrics.jsonl")["validation/image_map"]]
    best = max(of_epochs)
    assert values == (
        f"image mAP on val: {of_epochs[-1]:.4f} in the last epoch, best {best:.4f} in epoch "
        f"{of_epochs.index(best) + 1}"
    )
    assert run == f"run: {copy}"
    assert curves == (
        f"curves: tensorboard --logdir_spec {copy.name}:{copy}/events --samples_per_plugin images=0"
    )
    assert following == f"next: python -m tools.evaluate --run-dir {copy} --split val"


def test_losses_metrics_and_rates_are_logged_each_step_and_validation_each_epoch(
    small_run: Path, tiny_voc: Path
) -> None:
    curves = read_metrics(small_run / "metrics.jsonl")

    for name in ("loss", "image_label", "metric1", "metric2", "learning_rate"):
        assert [step for step, _ in curves[f"train/{name}"]] == [1, 2, 3, 4, 5, 6]
    for name in ("image_map", "f2", "corloc", "box_map_11point", "point_accuracy"):
        assert [step for step, _ in curves[f"validation/{name}"]] == [3, 6]
    for name, metric in (("loss", "image_loss"), ("metric1", "image_map"), ("metric2", "f2")):
        assert curves[f"validation/{name}"] == curves[f"validation/{metric}"]
    assert [step for step, _ in curves["baseline/metric1"]] == [0, 3, 6]
    (loss,) = {value for _, value in curves["baseline/loss"]}
    dataset = VOCSource(tiny_voc, classes=SYNTHETIC_CLASSES).open("train")
    assert (dataset.weights == 1).all()
    entropy = torch.special.entr(torch.stack([dataset.targets, 1 - dataset.targets]).mean(dim=1))
    assert loss == pytest.approx(float(entropy.sum(dim=0).mean()), abs=1e-4)


def test_the_heatmap_of_every_image_is_kept_for_every_epoch(small_run: Path) -> None:
    events = read_events(small_run / "events")

    *tags, final = events.Tags()["images"]
    assert final == "final_boxes"
    places = [re.fullmatch(r"images/batch(\d)_image(\d)_.+", tag) for tag in tags]
    assert [match and match.groups() for match in places] == [
        (str(number // 4), str(number % 4)) for number in range(6)
    ]
    assert all([image.step for image in events.Images(tag)] == [3, 6] for tag in tags)


def test_the_checkpoint_that_is_best_on_the_validation_split_is_named(small_run: Path) -> None:
    best = load_checkpoint(small_run / "checkpoints", "best")
    quality = read_metrics(small_run / "metrics.jsonl")["validation/image_map"]

    assert best is not None
    assert (best["step"], best["best"]) == max(quality, key=lambda point: point[1])


# Seeds and failures


def test_a_seeded_run_repeats_bit_by_bit_and_a_visdom_that_is_down_costs_one_warning(
    small_run: Path, words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    down = ("--visdom.server", "127.0.0.1", "--visdom.port", "1")
    assert main(words(tmp_path / "run", *down)) == 0

    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: visdom is switched off")
    assert_same_run(tmp_path / "run", small_run)


def test_another_seed_gives_other_weights(small_run: Path, words: Words, tmp_path: Path) -> None:
    assert main(words(tmp_path / "other", "--seed", "1", "--loop.epochs", "1")) == 0

    first, other = (
        read_metrics(run / "metrics.jsonl")["train/loss"][0]
        for run in (small_run, tmp_path / "other")
    )
    assert first != other
    assert digest_of(tmp_path / "other") != digest_of(small_run)


def test_weights_that_explode_stop_the_run_by_name(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    explode = ("--optim.lr", "1e38", "--loop.checkpoint-every", "1")
    assert main(words(tmp_path / "run", *explode)) == 1

    last = capsys.readouterr().err.splitlines()[-1]
    assert "not finite" in last
    assert "learning rate 1e+38" in last
    for path in (tmp_path / "run" / "checkpoints").glob("*.pt"):
        assert all(t.isfinite().all() for t in read_checkpoint(path)["model"].values())


# Existing runs


def test_an_existing_run_is_refused_and_left_as_it_is(
    copy: Path, words: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_of(copy)

    assert main(words(copy)) == 2
    assert capsys.readouterr().err.startswith(f"error: {copy}: holds a run already")
    assert files_of(copy) == before


def test_resuming_a_finished_run_changes_nothing(copy: Path, words: Words) -> None:
    assert main(words(copy, "--resume", "auto")) == 0  # settings name the copy from here on
    before = without_log(copy)

    assert main(words(copy, "--resume", "auto")) == 0
    assert without_log(copy) == before


@pytest.mark.parametrize(
    ("option", "value", "before"),
    [("--optim.lr", "0.02", "0.01"), ("--seed", "1", "0"), ("--image-sizes", "[64]", "[96]")],
)
def test_resuming_with_other_settings_is_refused_by_their_name(
    option: str,
    value: str,
    before: str,
    copy: Path,
    words: Words,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = without_log(copy)

    assert main(words(copy, "--resume", "auto", option, value)) == 2
    refusal = f"error: {option}: the run was started with {before}, now {value}"
    assert refusal in capsys.readouterr().err
    assert without_log(copy) == files


def test_resuming_from_another_place_with_workers_is_the_same_run(
    copy: Path, small_run: Path, words: Words, tmp_path: Path, tiny_voc: Path
) -> None:
    moved = Path(shutil.copytree(tiny_voc, tmp_path / "another place"))
    options = ("--voc-root", str(moved), "--loop.workers", "1", "--loop.checkpoint-every", "2")
    first = copy / "checkpoints" / "step-00000003.pt"

    assert main(words(tmp_path / "new", "--resume", str(first), *options)) == 0
    assert digest_of(tmp_path / "new") == digest_of(small_run)


def test_a_second_process_in_the_folder_is_refused(
    copy: Path, words: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked_run(copy):
        assert main(words(copy, "--resume", "auto")) == 2

    assert capsys.readouterr().err.startswith(f"error: {copy}/log.txt: another process")


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_damaged_newest_checkpoint_costs_an_epoch_and_no_bit(
    copy: Path, small_run: Path, words: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    flip_a_bit(copy / "checkpoints" / "step-00000006.pt")

    assert main(words(copy, "--resume", "auto")) == 0
    printed, error = capsys.readouterr()
    assert "step-00000006.pt: the checkpoint is damaged" in error
    assert "step-00000003.pt" in error
    assert "from step 3 (epoch 2, batch 0)" in printed
    assert_same_run(copy, small_run)


def test_a_run_without_an_intact_checkpoint_is_refused_and_not_started_again(
    copy: Path, words: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (copy / "checkpoints").glob("*.pt"):
        flip_a_bit(path)
    before = without_log(copy)

    assert main(words(copy, "--resume", "auto")) == 2
    assert "no intact checkpoint is left" in capsys.readouterr().err
    assert without_log(copy) == before


def test_a_checkpoint_path_that_is_wrong_is_refused(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "some.pt").write_text("hello")

    for name, refusal in (("none.pt", "no such checkpoint"), ("some.pt", "not a readable")):
        assert main(words(tmp_path / "run", "--resume", str(tmp_path / name))) == 2
        assert f"error: {tmp_path / name}: {refusal}" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_refused_by_its_path_too(
    copy: Path, words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / "checkpoints" / "step-00000006.pt"
    flip_a_bit(path)

    assert main(words(tmp_path / "other", "--resume", str(path))) == 2
    assert f"error: {path}: " in capsys.readouterr().err


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_run_is_not_resumed_on_other_labels_or_images(
    split: str,
    tiny_voc: Path,
    copy: Path,
    words: Words,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = Path(shutil.copytree(tiny_voc, tmp_path / "voc"))
    again = words(copy, "--resume", "auto", "--voc-root", str(root))
    assert main(again) == 0  # a folder may move

    first = image_ids(root, split)[0]
    xml = annotation_path(root, first)
    text = xml.read_text()
    name = re.search(r"<object>\s*<name>(\w+)", text)
    assert name
    other = next(each for each in SYNTHETIC_CLASSES if each not in text)
    xml.write_text(text.replace(f"<name>{name[1]}<", f"<name>{other}<"))
    assert main(again) == 2
    assert f"split {split}: " in capsys.readouterr().err
    xml.write_text(text)
    image = image_path(root, first)
    image.write_bytes(image.read_bytes() + b"\x00")
    assert main(again) == 2
    assert f"split {split}: " in capsys.readouterr().err


@pytest.mark.parametrize("text", [None, "{}"])
def test_a_run_whose_list_of_checkpoints_is_lost_or_damaged_continues_from_the_newest(
    text: str | None, copy: Path, words: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = {path: path.read_bytes() for path in (copy / "checkpoints").glob("*.pt")}
    (copy / "checkpoints" / "last.json").unlink()
    if text is not None:
        (copy / "checkpoints" / "last.json").write_text(text)

    assert main(words(copy, "--resume", "auto")) == 0

    printed = capsys.readouterr()
    assert "continuing from step 6" in printed.out
    assert "last.json: no" in printed.err
    assert {path: path.read_bytes() for path in (copy / "checkpoints").glob("*.pt")} == checkpoints
    (copy / "settings.yaml").unlink()
    assert main(words(copy)) == 2
    assert f"{copy}: holds a run already" in capsys.readouterr().err


def test_a_damaged_checkpoint_or_list_is_refused_before_the_training(
    copy: Path, words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = copy / "checkpoints" / "step-00000006.pt"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 16
    newest.write_bytes(content)
    assert main(words(tmp_path / "other", "--resume", str(newest))) == 2
    assert f"error: {newest}: the checkpoint is damaged" in capsys.readouterr().err

    (copy / "checkpoints" / "best.json").write_text("[")
    assert main(words(copy, "--resume", "auto")) == 2
    assert f"error: {copy / 'checkpoints' / 'best.json'}: not a list" in capsys.readouterr().err


# Kills and signals


def longer_than(size: int, text: str) -> bool:
    return len(text) > size


@pytest.mark.parametrize("number", [2, 4])  # the second one of an epoch holds its evaluation
def test_a_kill_between_evaluation_and_checkpoint_repeats_no_line(
    number: int, small_run: Path, words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = iter(range(1, number))
    save = torch.save

    def save_or_die(*args: Any) -> None:
        if next(saves, None) is None:
            raise Kill
        save(*args)

    with monkeypatch.context() as patch, contextlib.suppress(Kill):
        patch.setattr(torch, "save", save_or_die)
        main(words(tmp_path / "run"))
    assert not (tmp_path / "run" / "training.json").exists()

    assert main(words(tmp_path / "run", "--resume", "auto")) == 0
    assert_same_run(tmp_path / "run", small_run)


def test_a_run_killed_at_any_moment_continues_bit_by_bit(
    start: Start, robust_run: Path, words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "run"
    argv = words(run_dir, "--model.robust=true", "--resume", "auto", "--loop.checkpoint-every", "1")
    log = run_dir / "log.txt"
    moments = random.Random(7)
    kills = 0
    for _ in range(4):
        size = len(log.read_text()) if log.exists() else 0
        process = start("train_localizer", argv)
        wait_for(log, partial(longer_than, size), process)
        process.join(moments.uniform(0, 1))
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        load_checkpoint(run_dir / "checkpoints")  # raises if none is intact

    assert main(argv) == 0
    assert kills >= 1
    assert "damaged" not in capsys.readouterr().err
    assert_same_run(run_dir, robust_run)


@pytest.mark.parametrize(
    ("number", "code", "workers"), [(signal.SIGTERM, 143, "2"), (signal.SIGINT, 130, "2")]
)
def test_a_signal_saves_the_step_leaves_no_process_and_the_run_continues_bit_by_bit(
    number: signal.Signals,
    code: int,
    workers: str,
    start: Start,
    robust_run: Path,
    words: Words,
    tmp_path: Path,
) -> None:
    run_dir = tmp_path / "run"
    argv = words(run_dir, "--model.robust=true", "--loop.workers", workers)
    process = start("train_localizer", argv)
    first_step = '{"step": 1, "tag": "train/loss"'
    wait_for(run_dir / "metrics.jsonl", lambda text: first_step in text, process)
    assert process.pid
    os.killpg(process.pid, number)  # as systemd, SLURM and a terminal do: to the workers too
    process.join(30)

    assert process.exitcode == code
    assert f"stopped by {number.name}" in (tmp_path / "output.txt").read_text()
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    loaded = load_checkpoint(run_dir / "checkpoints")
    assert loaded is not None
    assert loaded["step"] == read_metrics(run_dir / "metrics.jsonl")["train/loss"][-1][0] < 6
    assert main(words(run_dir, "--model.robust=true", "--resume", "auto")) == 0
    assert_same_run(run_dir, robust_run)


# A frozen backbone


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backbone's weights in torchvision's layout, in a file."""
    path = tmp_path_factory.mktemp("weights") / "squeezenet.pth"
    torch.manual_seed(0)
    torch.save(models.squeezenet1_1(weights=None).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def frozen(weights: Path) -> list[str]:
    """Options for a frozen backbone with them, whose features are kept beside them."""
    frozen = f"--frozen-backbone true --weights {weights} --val-split="
    return [*frozen.split(), "--feature-cache", str(weights.parent / "features")]


@pytest.fixture(scope="module")
def frozen_run(train: Train, words: Words, frozen: list[str]) -> Path:
    return train(train_localizer.main, words, "frozen", *frozen)


def test_features_are_computed_once_and_give_the_same_weights_again(
    frozen_run: Path, words: Words, frozen: list[str], tmp_path: Path
) -> None:
    assert main(words(tmp_path / "second", *frozen)) == 0

    counts = [
        (run / "log.txt").read_text().count("features of 12 images found in")
        for run in (frozen_run, tmp_path / "second")
    ]
    assert counts == [1, 2]  # the first run finds them for the images it shows after each epoch
    assert_same_run(tmp_path / "second", frozen_run)


def test_a_frozen_backbone_keeps_the_weights_of_the_file(frozen_run: Path, weights: Path) -> None:
    given = torch.load(weights, weights_only=True)
    loaded = load_checkpoint(frozen_run / "checkpoints")
    assert loaded is not None
    backbone = {key: t for key, t in loaded["model"].items() if key.startswith("features.")}
    assert all(tensor.equal(given[key]) for key, tensor in backbone.items())
    bias = loaded["model"]["classifier.0.bias"]
    assert not bias.eq(bias[0]).all()


def test_training_on_features_is_nearly_training_on_images(
    frozen_run: Path, words: Words, weights: Path, tmp_path: Path
) -> None:
    # a backbone that is not frozen is fed images; it learns nothing at this rate
    still = ("--weights", str(weights), "--optim.backbone-factor", "1e-30", "--val-split=")
    assert main(words(tmp_path / "images", *still)) == 0

    losses = [
        [value for _, value in read_metrics(run / "metrics.jsonl")["train/loss"]]
        for run in (frozen_run, tmp_path / "images")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)  # features are kept as float16
    assert losses[0] != losses[1]


def test_a_run_on_features_is_evaluated_on_features(
    frozen_run: Path, tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = shutil.copytree(frozen_run, tmp_path / "run")
    argv = f"--run-dir {run_dir} --voc-root {tiny_voc} --split train --corloc-split="

    assert evaluate.main([*argv.split(), "--amp", "off", "--device", "cpu"]) == 0
    assert "features of 12 images found in" in capsys.readouterr().out


@pytest.mark.parametrize("is_frozen", [False, True])
def test_the_mean_of_the_weights_is_validated_and_saved(
    is_frozen: bool, words: Words, frozen: list[str], tiny_voc: Path, tmp_path: Path
) -> None:
    options = ["--optim.average=0.9", "--optim.lr=1", "--loop.epochs=1", "--val-split=val"]
    assert main(words(tmp_path, *(frozen if is_frozen else ()), *options)) == 0
    argv = f"--run-dir {tmp_path} --voc-root {tiny_voc} --split val --amp off --device cpu"
    assert evaluate.main(argv.split()) == 0

    logged = read_metrics(tmp_path / "metrics.jsonl")
    report = json.loads((tmp_path / "evaluations" / "val" / "report.json").read_text())
    for name in ("image_map", "box_map_area", "heatmap_coverage"):
        assert report["localizer"][name] == logged[f"validation/{name}"][0][1]


def test_weights_of_another_network_are_refused_by_the_file_and_their_names(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"features.0.weight": torch.zeros(1), "other": torch.zeros(1)}, tmp_path / "a.pth")

    assert main(words(tmp_path / "run", "--weights", str(tmp_path / "a.pth"))) == 2
    error = capsys.readouterr().err
    begin = f"error: {tmp_path / 'a.pth'}: the state dictionary: lacks features.0.bias, "
    assert error.startswith(begin)
    assert not (tmp_path / "run" / "settings.yaml").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("--model.backbone=lenet", "backbone is one of alexnet, "),
        ("--model.backbone=lenet --pretrained=true", "backbone is one of alexnet, "),
        ("--model.pooling=median", "pooling is one of max, "),
    ],
)
def test_a_name_that_is_none_is_refused_before_anything_is_written(
    options: str, problem: str, words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tmp_path / "run", *options.split())) == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "run" / "settings.yaml").exists()
