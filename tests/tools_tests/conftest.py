"""Small trained runs, and a process that is afterwards as it was before a command ran in it."""

import contextlib
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from data.synthetic import SYNTHETIC_CLASSES
from tools import evaluate, train_localizer
from tools.engine.device import random_state, restore_random_state
from tools.engine.interrupts import install_signal_handlers

Words = Callable[..., list[str]]


@contextlib.contextmanager
def process_as_before() -> Iterator[None]:
    """Undo what commands do to their process: signal handlers, seeds, determinism."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    state = random_state()
    try:
        yield
    finally:
        install_signal_handlers()  # forgets a signal that has come
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if torch.are_deterministic_algorithms_enabled():
            torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]
        restore_random_state(state)


@pytest.fixture(autouse=True)
def undo() -> Iterator[None]:
    with process_as_before():
        yield


@pytest.fixture(scope="session")
def words(tiny_voc: Path) -> Words:
    """Words for ``train_localizer``: two epochs of three steps on small pictures, then others."""
    small = f"--voc-root {tiny_voc} --classes [{','.join(SYNTHETIC_CLASSES)}]"
    small += " --split train --val-split val"
    small += " --model.trunk squeezenet1_1 --image-sizes [96] --amp off --device cpu"
    small += " --loop.epochs 2 --loop.batch-size 4 --loop.log-every 1"

    def words_for(run_dir: Path, *others: str) -> list[str]:
        return ["--run-dir", str(run_dir), *small.split(), *others]

    return words_for


@pytest.fixture(scope="session")
def small_run(words: Words, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training; not to be written to."""
    run_dir = tmp_path_factory.mktemp("runs") / "small"
    with process_as_before():
        assert train_localizer.main(words(run_dir)) == 0
    return run_dir


@pytest.fixture(scope="session")
def robust_run(words: Words, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with channels dropped at random; not to be written to."""
    run_dir = tmp_path_factory.mktemp("runs") / "robust"
    with process_as_before():
        assert train_localizer.main(words(run_dir, "--model.robust=true")) == 0
    return run_dir


@pytest.fixture(scope="session")
def evaluated_run(
    tiny_voc: Path, small_run: Path, robust_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A copy of the first run, evaluated with the robust one beside it; not to be written to."""
    folder = tmp_path_factory.mktemp("evaluated")
    for run_dir in (small_run, robust_run):
        shutil.copytree(run_dir, folder / run_dir.name)
    argv = f"--run-dir {folder / 'small'} --beside {folder / 'robust'} --voc-root {tiny_voc}"
    argv += " --corloc-split train --amp off --device cpu"
    with process_as_before():
        assert evaluate.main(argv.split()) == 0
    return folder / "small"
