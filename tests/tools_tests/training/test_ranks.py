"""Several ranks: processes that share the images of each step, of an evaluation, of a detection."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from tests.tools_tests.conftest import Words
from tests.tools_tests.training.conftest import Start
from tests.worlds import files_of, free_port
from tools import detect, evaluate, train_localizer
from tools.files.scores import read_scores
from tools.loggers.metrics_file import read_metrics
from tools.models import ranks
from tools.pages.numbers import models_of, read_report
from tools.runs.checkpoint import load_checkpoint

Together = Callable[..., list[int]]


@pytest.fixture
def together(start: Start) -> Together:
    """Run a command in two ranks to their end, and give their exit codes."""

    def run(command: str, words: list[str], count: int = 2) -> list[int]:
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{free_port()}"}
        ranks = [
            start(command, words, **place, WORLD_SIZE=f"{count}", RANK=f"{rank}")
            for rank in range(count)
        ]
        for process in ranks:
            process.join(100)
        return [process.exitcode for process in ranks]  # type: ignore[misc]

    return run


def last(run_dir: Path) -> dict[str, Any]:
    content = load_checkpoint(run_dir / "checkpoints")
    assert content is not None
    return content


def twenty_steps(run_dir: Path, words: Words, *others: str) -> list[str]:
    """Of a network without dropout and batch norm; the last step of an epoch has few images."""
    plain = "--model.backbone=alexnet --model.robust=false --optim.lr=0.003 --loop.epochs=10"
    return words(run_dir, *plain.split(), "--val-split=", *others)


def test_two_ranks_end_as_one_with_the_doubled_batch(
    words: Words, together: Together, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone, both = tmp_path / "alone", tmp_path / "both"
    assert train_localizer.main(twenty_steps(alone, words, "--loop.batch-size=8")) == 0
    argv = twenty_steps(both, words, "--loop.batch-size=4")
    assert together("train_localizer", argv) == [0, 0]

    one, two = last(alone), last(both)
    assert one["step"] == two["step"] == 20
    difference = max(float((one["model"][k] - two["model"][k]).abs().max()) for k in one["model"])
    assert difference <= 1e-5
    curves = [read_metrics(run_dir / "metrics.jsonl") for run_dir in (alone, both)]
    assert curves[0].keys() == curves[1].keys()
    for tag, curve in curves[0].items():
        steps, values = zip(*curve, strict=True)
        other_steps, other_values = zip(*curves[1][tag], strict=True)
        assert steps == other_steps
        if tag in ("train/loss", "train/learning_rate"):
            assert values == pytest.approx(other_values, abs=1e-5)

    capsys.readouterr()
    assert train_localizer.main([*argv, "--resume=auto"]) == 2
    assert "the run was started with 2 ranks, now with 1 rank (" in capsys.readouterr().err


def test_ranks_without_an_image_in_the_last_step_take_part(
    detector_words: Words, together: Together, tmp_path: Path
) -> None:
    argv = detector_words(tmp_path / "run", "--loop.epochs=1", "--drop-proposals=0.5")
    assert together("train_wsddn", argv, 5) == [0] * 5  # 12 images: 5, 5 and 2

    assert last(tmp_path / "run")["step"] == 3
    losses = read_metrics(tmp_path / "run" / "metrics.jsonl")["train/loss"]
    assert [step for step, _ in losses] == [1, 2, 3]


def test_an_evaluation_and_a_detection_of_two_ranks_are_those_of_one(
    small_run: Path, tiny_voc: Path, together: Together, tmp_path: Path
) -> None:
    one, two = (
        Path(shutil.copytree(small_run, tmp_path / name / "run")) for name in ("one", "two")
    )
    place = f"--voc-root={tiny_voc} --split=test --device=cpu --amp=off".split()
    assert evaluate.main([f"--run-dir={one}", *place]) == 0
    assert together("evaluate", [f"--run-dir={two}", *place]) == [0, 0]

    folders = [run / "evaluations" / "test" for run in (one, two)]
    scores = [read_scores(folder / "scores.npz").scores for folder in folders]
    assert (scores[0] == scores[1]).all()
    files = [files_of(folder) for folder in folders]
    for name in ("detections.json", "coco_results.json"):
        assert files[0][name] == files[1][name]
    reports = [models_of(read_report(folder))["localizer"] for folder in folders]
    for report in reports:
        del report["evaluation_seconds"]
    assert reports[0] == reports[1]

    boxes = [f"--run-dir={two}", *place, "--draw=false", "--out"]
    assert detect.main([*boxes, str(tmp_path / "boxes1")]) == 0
    assert together("detect", [*boxes, str(tmp_path / "boxes2")]) == [0, 0]
    assert files_of(tmp_path / "boxes1") == files_of(tmp_path / "boxes2")


def test_a_rank_that_fails_ends_the_others_with_its_number(
    words: Words, together: Together, tmp_path: Path
) -> None:
    argv = words(tmp_path / "run", "--loop.epochs=1")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").write_text("no folder")  # only rank 0 writes there

    codes = together("train_localizer", argv)

    said = (tmp_path / "output.txt").read_text()
    assert codes[1] == 1, said
    assert "error: rank 0 of 2 is gone" in said


@pytest.mark.parametrize(
    ("devices", "own", "backend"), [(4, 3, "cpu:gloo,cuda:nccl"), (2, 1, "gloo"), (1, 0, "gloo")]
)
def test_ranks_share_gpus_where_there_are_fewer(
    devices: int, own: int, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WORLD_SIZE": 4, "LOCAL_WORLD_SIZE": 4, "LOCAL_RANK": 3}.items():
        monkeypatch.setenv(name, f"{value}")
    chosen = list[object]()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(dist, "init_process_group", lambda name, timeout: chosen.append(name))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)

    with ranks.joined("cuda"):
        assert chosen == [own, backend]


def test_a_command_that_nobody_started_in_ranks_is_alone() -> None:
    model = nn.Linear(1, 1)
    assert ranks.with_shared_gradients(model) is model
    assert ranks.gather("a") == ["a"]
    assert ranks.exchange(3) == [3]
