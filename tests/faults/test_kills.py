"""SIGKILL at any moment and inside of every writer: nothing unloadable, the same run at the end."""

import itertools
import json
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torchvision import models

from data.synthetic.dataset import SYNTHETIC_CLASSES
from tests.faults.commands import patience, started
from tests.tools_tests.conftest import Train, Words
from tests.worlds import assert_same_run
from tools import train_classifier, train_localizer, train_wsddn
from tools.cli.command import Command
from tools.runs.checkpoint import load_checkpoint, read_checkpoint

pytestmark = pytest.mark.slow
KINDS = ("localizer", "workers", "cached", "classifier", "detector", "detector, cached")
EVERY_STEP = ("--loop.checkpoint-every", "1")


@dataclass(frozen=True)
class Training:
    """How one kind of run is trained, and the run that nobody killed."""

    command: str
    words: Callable[..., list[str]]
    whole: Path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a backbone, in torchvision's layout."""
    path = tmp_path_factory.mktemp("weights") / "squeezenet.pth"
    torch.manual_seed(0)
    torch.save(models.squeezenet1_1(weights=None).state_dict(), path)
    return path


@pytest.fixture(scope="module", params=KINDS)
def training(
    request: pytest.FixtureRequest,
    train: Train,
    words: Words,
    detector_words: Words,
    tiny_voc: Path,
    small_run: Path,
    weights: Path,
) -> Training:
    """Every kind in turn; the caches of a run lie beside it."""
    kind: str = request.param
    main: Command = train_localizer.main
    base, options = words, list[str]()
    if kind == "workers":
        options = ["--loop.workers=2"]
    elif kind == "cached":
        options = ["--frozen-backbone=true", f"--weights={weights}"]
    elif kind == "classifier":
        main = train_classifier.main
        base = _plain_words(tiny_voc)
    elif kind.startswith("detector"):
        main, base = train_wsddn.main, detector_words
        options = [f"--from-localizer={small_run}", "--model.backbone=squeezenet1_1"]
        options += ["--optim.lr=0.001"]  # at 0.01 the loss becomes infinite
        options += ["--frozen-backbone=true"] if "cached" in kind else ["--loop.workers=1"]

    def all_words(run_dir: Path, *others: str) -> list[str]:
        cache = f"--feature-cache={run_dir.parent / 'cache'}"
        return base(run_dir, *options, *others, cache)

    whole = train(main, all_words, kind)
    return Training(main.name, all_words, whole)


def _plain_words(tiny_voc: Path) -> Words:
    words = [f"--voc-root={tiny_voc}", f"--classes={json.dumps(SYNTHETIC_CLASSES)}"]
    words += ["--split=train", "--val-split=val", "--image-sizes=[96]", "--device=cpu", "--amp=off"]
    words += ["--model.backbone=squeezenet1_1", "--pretrained=false", "--frozen-backbone=false"]
    words += ["--loop.epochs=2", "--loop.log-every=1", "--loop.batch-size=4"]
    return lambda run_dir, *others: [f"--run-dir={run_dir}", *words, *others]


def check_checkpoints(run_dir: Path) -> None:
    """Every file without ``tmp`` in its name can be loaded, and so can the newest."""
    for path in (run_dir / "checkpoints").glob("step-*.pt"):
        read_checkpoint(path)
    load_checkpoint(run_dir / "checkpoints")


def written(run_dir: Path) -> int:
    """Bytes of what a run has logged."""
    files = (run_dir / name for name in ("log.txt", "metrics.jsonl"))
    return sum(file.stat().st_size for file in files if file.exists())


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_killed_at_random_moments_ends_as_any_other(
    seed: int, training: Training, tmp_path: Path
) -> None:
    run_dir, output = tmp_path / "run", tmp_path / "output.txt"
    argv = training.words(run_dir, *EVERY_STEP, "--resume=auto")
    moments = random.Random(seed)
    kills = 0
    for _ in range(5):
        before, deadline = written(run_dir), time.monotonic() + patience(60)
        with started(training.command, argv, output) as process:
            while process.is_alive() and written(run_dir) <= before:  # each time a bit further
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.join(moments.uniform(0, 1.5))
            process.kill()
            process.join()
            kills += process.exitcode == -signal.SIGKILL
        check_checkpoints(run_dir)

    with started(training.command, argv, output) as process:
        process.join(patience(120))
        assert process.exitcode == 0, output.read_text()[-2000:]
    assert kills >= 3
    assert_same_run(run_dir, training.whole)


def test_a_run_killed_inside_of_each_writer_ends_as_any_other(
    training: Training, tmp_path: Path
) -> None:
    run_dir, output = tmp_path / "run", tmp_path / "output.txt"
    argv = training.words(run_dir, *EVERY_STEP, "--resume=auto")
    for number in itertools.count():
        with started(training.command, argv, output, kill_at=number) as process:
            process.join(patience(120))
            code = process.exitcode
        check_checkpoints(run_dir)
        if code == 0:
            break
        assert code == -signal.SIGKILL, output.read_text()[-2000:]

    assert number >= 5
    assert_same_run(run_dir, training.whole)
