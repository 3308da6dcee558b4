"""Ranks under torchrun that are killed and stopped."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tools_tests.conftest import Words
from tests.worlds import assert_same_run
from tools.runs.checkpoint import load_checkpoint

pytestmark = pytest.mark.slow
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "-m"]
STEPS = 10
Run = Callable[..., tuple[int, str]]


def rank_of(process: subprocess.Popen[str], number: int) -> int:
    """The process of a rank."""
    every = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    wanted = f"RANK={number}".encode()
    (found,) = (
        int(each)
        for each in every
        if wanted in Path(f"/proc/{each}/environ").read_bytes().split(b"\0")
    )
    return found


@pytest.fixture
def run(detector_words: Words, tmp_path: Path) -> Run:
    """Train in two ranks; when some steps are saved something may be done to them.

    Gives the exit code and what was printed.
    """

    def train(
        name: str, *others: str, hurt: Callable[[subprocess.Popen[str]], None] | None = None
    ) -> tuple[int, str]:
        dropping = ("--model.dropout=0.5", "--drop-proposals=0.5", "--loop.checkpoint-every=2")
        argv = detector_words(tmp_path / name, *dropping, "--loop.epochs=8", *others)
        process = subprocess.Popen(
            [*TORCHRUN, "tools.train_wsddn", *argv],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        checkpoints = tmp_path / name / "checkpoints"
        if hurt:
            while not list(checkpoints.glob(f"step-{STEPS:08d}.pt")):
                assert process.poll() is None
                time.sleep(0.01)
            hurt(process)
        try:
            output, _ = process.communicate(timeout=60 if hurt else 600)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        return process.returncode, output

    return train


def test_two_runs_of_two_ranks_that_drop_at_random_are_the_same_bit_by_bit(
    run: Run, tmp_path: Path
) -> None:
    assert run("first")[0] == run("second")[0] == 0
    assert_same_run(tmp_path / "first", tmp_path / "second")


@pytest.mark.parametrize("number", [0, 1])
def test_a_killed_rank_is_named_ends_the_others_and_the_run_continues_bit_by_bit(
    number: int, run: Run, tmp_path: Path
) -> None:
    assert run("whole")[0] == 0
    code, output = run("killed", hurt=lambda p: os.kill(rank_of(p, number), signal.SIGKILL))

    assert code == 1
    assert f"error: rank {number} of 2 is gone" in output
    assert run("killed", "--resume=auto")[0] == 0
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.parametrize(
    "stop",
    [
        lambda process: process.terminate(),  # torchrun passes it on
        lambda process: os.killpg(process.pid, signal.SIGTERM),
        lambda process: os.kill(rank_of(process, 1), signal.SIGTERM),
    ],
    ids=["torchrun", "group", "one rank"],
)
def test_a_signal_saves_the_step_of_all_ranks_and_the_run_continues_bit_by_bit(
    stop: Callable[[subprocess.Popen[str]], None], run: Run, tmp_path: Path
) -> None:
    assert run("whole")[0] == 0
    code, output = run("stopped", hurt=stop)

    assert code == 1  # torchrun's own; its ranks end with 143
    assert output.count("stopped by SIGTERM\n") == 2
    saved = load_checkpoint(tmp_path / "stopped" / "checkpoints")
    assert saved is not None
    assert run("stopped", "--resume=auto")[0] == 0
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")
