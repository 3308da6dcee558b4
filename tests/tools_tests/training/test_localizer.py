"""Training from the command line: run folders, seeds, kills, signals, resuming, cached features."""

import contextlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)
from torchvision import models

from tools import evaluate
from tools.inputs.feeding import open_samples
from tools.loggers.metrics_file import read_metrics
from tools.runs.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from tools.runs.folder import locked
from tools.train_localizer import main
from tools.training import localizer as job

Words = Callable[..., list[str]]
Start = Callable[[list[str]], BaseProcess]
Kill = type("Kill", (BaseException,), {})  # what nobody catches, like SIGKILL


def digest(run_dir: Path) -> str:
    text: str = json.loads((run_dir / "training.json").read_text())["weights_sha256"]
    return text


def lines(run_dir: Path) -> list[str]:
    """Everything that was logged, each line as it stands."""
    return sorted((run_dir / "metrics.jsonl").read_text().splitlines())


def snapshot(run_dir: Path) -> dict[str, tuple[int, bytes]]:
    """Every file but the log and the lock."""
    return {
        str(path.relative_to(run_dir)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(run_dir.rglob("*"))
        if path.is_file() and path.name not in ("log.txt", ".lock")
    }


def assert_same_run(run_dir: Path, other: Path) -> None:
    assert digest(run_dir) == digest(other)
    assert lines(run_dir) == lines(other)
    best, other_best = (
        load_checkpoint(folder / "checkpoints", "best") for folder in (run_dir, other)
    )
    assert best is not None
    assert other_best is not None
    assert (best["step"], best["best"]) == (other_best["step"], other_best["best"])
    assert str(best["optimizer"]) == str(other_best["optimizer"])


@pytest.fixture
def copy(small_run: Path, tmp_path: Path) -> Path:
    """A finished run that a test may spoil."""
    return Path(shutil.copytree(small_run, tmp_path / "copy"))


# The run folder


def test_a_run_leaves_every_file_of_its_folder(small_run: Path) -> None:
    assert sorted(path.name for path in small_run.iterdir() if path.name != ".lock") == [
        "checkpoints",
        "environment.json",
        "events",
        "log.txt",
        "metrics.jsonl",
        "settings.yaml",
        "training.json",
    ]
    assert {"best.json", "last.json", "step-00000006.pt"} <= {
        path.name for path in (small_run / "checkpoints").iterdir()
    }
    assert not list(small_run.rglob("*tmp*"))


def test_the_log_holds_what_was_printed(small_run: Path) -> None:
    text = (small_run / "log.txt").read_text()

    assert text.startswith("train: 12 images\nval: 6 images\nepoch 1: ")
    assert text.endswith(f"weights_sha256 {digest(small_run)}\n")


def test_settings_and_environment_are_written(small_run: Path) -> None:
    settings = yaml.safe_load((small_run / "settings.yaml").read_text())
    environment = json.loads((small_run / "environment.json").read_text())

    assert settings["model"]["backbone"] == "squeezenet1_1"
    assert settings["loop"]["batch_size"] == 4
    assert environment["torch"]


def test_losses_metrics_and_rates_are_logged_each_step_and_validation_each_epoch(
    small_run: Path,
) -> None:
    curves = read_metrics(small_run / "metrics.jsonl")

    for name in ("loss", "image_label", "metric1", "metric2", "learning_rate"):
        assert [step for step, _ in curves[f"train/{name}"]] == [1, 2, 3, 4, 5, 6]
    for name in ("image_map", "f2", "corloc", "box_map_11point", "point_accuracy"):
        assert [step for step, _ in curves[f"validation/{name}"]] == [3, 6]
    assert [step for step, _ in curves["baseline/metric1"]] == [0]


def test_the_baseline_is_a_coin_for_every_class(small_run: Path) -> None:
    ((_, loss),) = read_metrics(small_run / "metrics.jsonl")["baseline/loss"]

    assert loss == pytest.approx(0.6931, abs=1e-4)  # ln 2


def test_the_heatmap_of_every_image_is_kept_for_every_epoch(small_run: Path) -> None:
    events = EventAccumulator(str(small_run / "events"))
    events.Reload()

    tags = events.Tags()["images"]
    assert {tag.split("_")[0] for tag in tags} == {"ep0", "ep1", "final"}
    assert any(tag.startswith("ep1_iter6_batch1_image1_") for tag in tags)
    assert len(tags) == 2 * 6 + 1


def test_the_checkpoint_that_is_best_on_the_validation_split_is_named(small_run: Path) -> None:
    best = load_checkpoint(small_run / "checkpoints", "best")
    quality = read_metrics(small_run / "metrics.jsonl")["validation/image_map"]

    assert best is not None
    assert (best["step"], best["best"]) == max(quality, key=lambda point: point[1])


# Seeds


def test_a_seeded_run_repeats_bit_by_bit(small_run: Path, words: Words, tmp_path: Path) -> None:
    assert main(words(tmp_path / "again")) == 0

    assert_same_run(tmp_path / "again", small_run)


def test_another_seed_gives_other_weights(small_run: Path, words: Words, tmp_path: Path) -> None:
    assert main(words(tmp_path / "other", "--seed", "1", "--loop.epochs", "1")) == 0

    first = [json.loads(line) for line in lines(small_run)]
    other = [json.loads(line) for line in lines(tmp_path / "other")]
    assert digest(tmp_path / "other") != digest(small_run)
    loss = {"step": 1, "tag": "train/loss"}
    assert [e for e in first if loss.items() <= e.items()] != [
        e for e in other if loss.items() <= e.items()
    ]


def test_workers_do_not_change_the_weights(words: Words, tmp_path: Path) -> None:
    alexnet = ("--model.backbone", "alexnet", "--val-split", "", "--loop.epochs", "1")
    for workers in ("0", "2"):
        assert main(words(tmp_path / workers, *alexnet, "--loop.workers", workers)) == 0

    assert digest(tmp_path / "2") == digest(tmp_path / "0")
    assert lines(tmp_path / "2") == lines(tmp_path / "0")


def test_a_visdom_that_is_down_costs_one_warning_and_no_weights(
    small_run: Path, words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    down = ("--visdom.server", "127.0.0.1", "--visdom.port", "1")
    assert main(words(tmp_path / "run", *down)) == 0

    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: visdom is switched off")
    assert_same_run(tmp_path / "run", small_run)


def test_weights_that_explode_stop_the_run_by_name(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    explode = ("--optim.lr", "1e38", "--loop.checkpoint-every", "1")
    assert main(words(tmp_path / "run", *explode)) == 1

    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: the ")
    assert "not finite" in last
    assert "learning rate 1e+38" in last
    for path in (tmp_path / "run" / "checkpoints").glob("*.pt"):
        assert all(t.isfinite().all() for t in read_checkpoint(path)["model"].values())


# Existing runs


def test_an_existing_run_is_refused_and_stays_as_it_is(
    small_run: Path, words: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(small_run)

    assert main(words(small_run)) == 2
    assert capsys.readouterr().err == (
        f"error: {small_run}: holds a run already (--resume auto goes on with it)\n"
    )
    assert snapshot(small_run) == before


def test_resuming_a_finished_run_changes_nothing(copy: Path, words: Words) -> None:
    assert main(words(copy, "--resume", "auto")) == 0  # settings name the copy from here on
    before = snapshot(copy)

    assert main(words(copy, "--resume", "auto")) == 0
    assert snapshot(copy).keys() == before.keys()
    assert {name: data for name, (_, data) in snapshot(copy).items()} == {
        name: data for name, (_, data) in before.items()
    }


@pytest.mark.parametrize(
    ("option", "value", "refusal"),
    [
        ("--optim.lr", "0.02", "--optim.lr: the run was started with 0.01, now 0.02"),
        ("--loop.epochs", "3", "--loop.epochs: the run was started with 2, now 3"),
        ("--seed", "1", "--seed: the run was started with 0, now 1"),
        ("--image-sizes", "[64]", "--image-sizes: the run was started with [96], now [64]"),
    ],
)
def test_resuming_with_other_settings_is_refused_by_their_name(
    option: str,
    value: str,
    refusal: str,
    copy: Path,
    words: Words,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = snapshot(copy)

    assert main(words(copy, "--resume", "auto", option, value)) == 2
    assert refusal in capsys.readouterr().err
    assert snapshot(copy) == before


def test_resuming_from_another_place_with_workers_is_the_same_run(
    copy: Path, small_run: Path, words: Words, tmp_path: Path, tiny_voc: Path
) -> None:
    moved = Path(shutil.copytree(tiny_voc, tmp_path / "another place"))
    options = ("--voc-root", str(moved), "--loop.workers", "1", "--loop.checkpoint-every", "2")
    first = copy / "checkpoints" / "step-00000003.pt"

    assert main(words(tmp_path / "new", "--resume", str(first), *options)) == 0
    assert digest(tmp_path / "new") == digest(small_run)


def test_a_second_process_in_the_folder_is_refused(
    copy: Path, words: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked(copy):
        assert main(words(copy, "--resume", "auto")) == 2

    assert capsys.readouterr().err == (f"error: {copy}: another run is writing in this folder\n")


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
    assert "going back to step-00000003.pt" in error
    assert "going on from step 3 (epoch 2, batch 0)" in printed
    assert_same_run(copy, small_run)


def test_a_run_without_an_intact_checkpoint_is_refused_and_not_started_again(
    copy: Path, words: Words, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (copy / "checkpoints").glob("*.pt"):
        flip_a_bit(path)
    before = snapshot(copy)

    assert main(words(copy, "--resume", "auto")) == 2
    assert "no intact checkpoint is left" in capsys.readouterr().err
    assert snapshot(copy) == before


def test_a_checkpoint_path_that_is_wrong_is_refused(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "some.pt").write_text("hello")

    for name, refusal in (("none.pt", "no such checkpoint"), ("some.pt", "not a readable")):
        assert main(words(tmp_path / "run", "--resume", str(tmp_path / name))) == 2
        assert f"error: {tmp_path / name}: {refusal}" in capsys.readouterr().err


# Kills and signals


@pytest.mark.parametrize("number", [0, 2, 4])
def test_a_kill_between_evaluation_and_checkpoint_repeats_no_line(
    number: int, small_run: Path, words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = iter(range(number + 1))

    def save_or_die(*args: Any, **kwargs: Any) -> Path:
        if next(saves, None) is None:
            raise Kill
        return save_checkpoint(*args, **kwargs)

    monkeypatch.setattr("tools.training.state.save_checkpoint", save_or_die)
    with contextlib.suppress(Kill):
        main(words(tmp_path / "run"))
    monkeypatch.undo()

    assert main(words(tmp_path / "run", "--resume", "auto")) == 0
    assert_same_run(tmp_path / "run", small_run)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start trainings as processes, each the leader of its own group, without importing torch anew.

    A fork server that has imported torch, but computed nothing, makes them.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tools.training.localizer", "tools.loggers.tensorboard"])
    started = []

    def begin(argv: list[str]) -> BaseProcess:
        usual = multiprocessing.get_start_method()  # for the workers, as in a command's process
        program = (
            "import multiprocessing, os, sys, torch\n"
            "os.setsid()\n"
            f"multiprocessing.set_start_method({usual!r}, force=True)\n"
            f"sys.stdout = sys.stderr = open({str(tmp_path / 'output.txt')!r}, 'a', buffering=1)\n"
            "from tools.train_localizer import main\n"
            f"sys.exit(main({argv!r}))\n"
        )
        process = context.Process(target=exec, args=(program, {}))
        process.start()
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.join()


def wait_for(is_there: Callable[[], bool], process: BaseProcess) -> None:
    deadline = time.monotonic() + 60
    while not is_there() and process.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def has_logged(run_dir: Path, text: str) -> Callable[[], bool]:
    path = run_dir / "metrics.jsonl"
    return lambda: path.exists() and text in path.read_text()


def is_longer(path: Path, size: int) -> Callable[[], bool]:
    return lambda: path.exists() and path.stat().st_size > size


def test_a_run_killed_at_any_moment_goes_on_bit_by_bit(
    start: Start, robust_run: Path, words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "run"
    argv = words(run_dir, "--model.robust=true", "--resume", "auto", "--loop.checkpoint-every", "1")
    log = run_dir / "log.txt"
    moments = random.Random(7)
    kills = 0
    for _ in range(4):
        before = log.stat().st_size if log.exists() else 0
        process = start(argv)
        wait_for(is_longer(log, before), process)
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
    ("number", "code", "workers"), [(signal.SIGTERM, 143, "0"), (signal.SIGINT, 130, "2")]
)
def test_a_signal_saves_the_step_leaves_no_process_and_the_run_goes_on_bit_by_bit(
    number: signal.Signals,
    code: int,
    workers: str,
    start: Start,
    robust_run: Path,
    words: Words,
    tmp_path: Path,
) -> None:
    run_dir = tmp_path / "run"
    process = start(words(run_dir, "--model.robust=true", "--loop.workers", workers))
    wait_for(has_logged(run_dir, '{"step": 1, "tag": "train/loss"'), process)
    assert process.pid
    os.killpg(process.pid, number)  # as a terminal does: to the workers too
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
def frozen(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options for a frozen backbone with weights from a file in torchvision's layout."""
    folder = tmp_path_factory.mktemp("frozen")
    torch.manual_seed(0)
    torch.save(models.squeezenet1_1(weights=None).state_dict(), folder / "squeezenet.pth")
    words = f"--frozen-backbone true --weights {folder}/squeezenet.pth --val-split="
    return [*words.split(), "--feature-cache", str(folder / "features")]


def test_features_are_computed_once_and_give_the_same_weights_again(
    words: Words, frozen: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for name in ("first", "second"):
        assert main(words(tmp_path / name, *frozen)) == 0
        found.append(capsys.readouterr().out.count("features of 12 images found in"))

    assert found == [1, 2]  # the first run finds them for the images it shows after each epoch
    assert digest(tmp_path / "first") == digest(tmp_path / "second")
    assert lines(tmp_path / "first") == lines(tmp_path / "second")


def test_a_frozen_backbone_keeps_the_weights_of_the_file(
    words: Words, frozen: list[str], tmp_path: Path
) -> None:
    assert main(words(tmp_path / "run", *frozen, "--loop.epochs", "1")) == 0

    given = torch.load(frozen[frozen.index("--weights") + 1], weights_only=True)
    loaded = load_checkpoint(tmp_path / "run" / "checkpoints")
    assert loaded is not None
    backbone = {key: t for key, t in loaded["model"].items() if key.startswith("features.")}
    assert all(tensor.equal(given[key]) for key, tensor in backbone.items())
    assert (
        not loaded["model"]["classifier.0.bias"].eq(loaded["model"]["classifier.0.bias"][0]).all()
    )


def test_training_on_features_is_nearly_training_on_images(
    words: Words, frozen: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(words(tmp_path / "features", *frozen)) == 0

    def without_cache(*args: Any, **kwargs: Any) -> Any:
        return open_samples(*args, **(kwargs | {"feature_cache": None}))

    monkeypatch.setattr(job, "open_samples", without_cache)
    assert main(words(tmp_path / "images", *frozen)) == 0

    curves = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("features", "images")]
    losses = [[value for _, value in curve["train/loss"]] for curve in curves]
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)  # features are kept as float16
    assert losses[0] != losses[1]


def test_a_run_on_features_is_evaluated_on_features(
    words: Words,
    frozen: list[str],
    tiny_voc: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(words(tmp_path / "run", *frozen, "--loop.epochs", "1")) == 0
    capsys.readouterr()
    argv = f"--run-dir {tmp_path / 'run'} --voc-root {tiny_voc} --split train --corloc-split="

    assert evaluate.main([*argv.split(), "--amp", "off", "--device", "cpu"]) == 0
    assert "features of 12 images found in" in capsys.readouterr().out


def test_weights_of_another_network_are_refused_by_the_file_and_their_names(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"features.0.weight": torch.zeros(1), "other": torch.zeros(1)}, tmp_path / "a.pth")

    assert main(words(tmp_path / "run", "--weights", str(tmp_path / "a.pth"))) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'a.pth'}: the weights lack features.0.bias, ")
    assert not (tmp_path / "run" / "settings.yaml").exists()
