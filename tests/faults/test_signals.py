"""SIGTERM to a whole process group, as systemd, SLURM and ``timeout`` send it, and lost workers."""

import contextlib
import os
import random
import re
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from tests.faults.commands import patience, started
from tests.tools_tests.conftest import Words
from tests.worlds import forked
from tools import make_proposals
from tools.loggers.metrics_file import read_metrics
from tools.runs.checkpoint import load_checkpoint


def stop_group(process: BaseProcess) -> None:
    """Exit 143 within 30 s, and no process of the group is left."""
    assert process.pid
    assert process.is_alive()
    os.killpg(process.pid, signal.SIGTERM)
    process.join(patience(30))
    assert process.exitcode == 143
    for _ in range(int(patience(100))):  # the system takes a moment to clear the workers away
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("a process of the group is left")


def wait_until(is_reached: Callable[[], bool], process: BaseProcess) -> None:
    deadline = time.monotonic() + patience(60)
    while not is_reached():
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def children(process: BaseProcess) -> list[str]:
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        return path.read_text().split()
    except OSError:
        return []


@pytest.fixture(scope="module")
def mat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published file of many boxes, which takes its reader a while."""
    names, boxes = np.empty(200, dtype=object), np.empty(200, dtype=object)
    for k in range(200):
        names[k], boxes[k] = f"{k:06d}", np.ones((2000, 4))
    path = tmp_path_factory.mktemp("mat") / "m.mat"
    savemat(path, {"images": names, "boxes": boxes})
    return path


def mat_words(mat: Path, tiny_voc: Path, folder: Path) -> list[str]:
    out = f"--out={folder / 'p.npz'}"
    return [f"--voc-root={tiny_voc}", "--split=val", out, f"--from-mat={mat}"]


def lead_group(argv: list[str]) -> None:
    os.setsid()
    sys.exit(make_proposals.main(argv))


def stop_reader(mat: Path, tiny_voc: Path, folder: Path, delay: float) -> None:
    output = folder / "output.txt"
    with started("make_proposals", mat_words(mat, tiny_voc, folder), output) as process:
        wait_until(lambda: len(children(process)) > 0, process)
        process.join(delay)
        stop_group(process)
    assert output.read_text().splitlines()[-1] == "stopped by SIGTERM"
    assert not (folder / "p.npz").exists()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are found in /proc")
def test_the_reader_of_a_mat_file_ends_with_its_command(
    mat: Path, tiny_voc: Path, tmp_path: Path
) -> None:
    with forked(lead_group, mat_words(mat, tiny_voc, tmp_path)) as process:
        wait_until(lambda: len(children(process)) > 0, process)
        stop_group(process)
    assert not (tmp_path / "p.npz").exists()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_reader_of_a_mat_file_ends_at_any_moment(
    seed: int, mat: Path, tiny_voc: Path, tmp_path: Path
) -> None:
    stop_reader(mat, tiny_voc, tmp_path, random.Random(seed).uniform(0, 0.6))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["train_localizer", "train_wsddn"])
def test_a_training_with_workers_saves_its_step(
    kind: str, seed: int, workers: int, words: Words, detector_words: Words, tmp_path: Path
) -> None:
    run_dir, output = tmp_path / "run", tmp_path / "output.txt"
    of_kind = words if kind == "train_localizer" else detector_words
    argv = of_kind(run_dir, "--loop.epochs=40", f"--loop.workers={workers}")
    with started(kind, argv, output) as process:
        metrics = run_dir / "metrics.jsonl"
        wait_until(lambda: metrics.exists() and metrics.stat().st_size > 0, process)
        process.join(random.Random(seed).uniform(0, 3))
        stop_group(process)

    loaded = load_checkpoint(run_dir / "checkpoints")
    assert loaded is not None
    assert loaded["step"] == read_metrics(metrics)["train/loss"][-1][0]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_proposals_that_are_made_by_processes_stop(
    seed: int, tiny_voc: Path, tmp_path: Path
) -> None:
    out, output = tmp_path / "p.npz", tmp_path / "output.txt"
    argv = [f"--voc-root={tiny_voc}", f"--out={out}", "--processes=2"]
    with started("make_proposals", argv, output) as process:
        wait_until(out.with_suffix(".parts").exists, process)
        process.join(random.Random(seed).uniform(0, 1))
        stop_group(process)
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are found in /proc")
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", ["train_localizer", "train_wsddn"])
def test_a_killed_worker_ends_the_training_and_is_told_with_its_images(
    kind: str, seed: int, words: Words, detector_words: Words, tmp_path: Path
) -> None:
    run_dir, output = tmp_path / "run", tmp_path / "output.txt"
    of_kind = words if kind == "train_localizer" else detector_words
    argv = of_kind(run_dir, "--loop.epochs=90", "--loop.workers=2", "--loop.checkpoint-every=1")
    with started(kind, argv, output) as process:
        wait_until((run_dir / "checkpoints/last.json").exists, process)
        deadline = time.monotonic() + patience(60)
        process.join(random.Random(seed).uniform(0, 1))
        while process.is_alive() and time.monotonic() < deadline:
            for child in children(process):  # one that has ended its epoch is not missed
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGKILL)
            process.join(0.5)
        assert process.exitcode == 1

    last = output.read_text().splitlines()[-1]
    assert re.match(r"error: .+: begun last when a process was lost or stuck \(DataLoader ", last)
    loaded = load_checkpoint(run_dir / "checkpoints")
    assert loaded is not None
    assert loaded["step"] >= read_metrics(run_dir / "metrics.jsonl")["train/loss"][-1][0] - 1
