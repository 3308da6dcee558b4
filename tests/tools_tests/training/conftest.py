"""Trainings in processes of their own, to be killed."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

Start = Callable[..., BaseProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start trainings as processes, each the leader of its own group, without importing torch anew.

    A fork server that has imported torch, but computed nothing, makes them. What they print is in
    ``output.txt``.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["tools.training.localizer", "tools.training.wsddn", "tools.loggers.tensorboard"]
    )
    started = []

    def begin(command: str, argv: list[str], **environment: str) -> BaseProcess:
        usual = multiprocessing.get_start_method()  # for the workers, as in a command's process
        program = (
            "import multiprocessing, os, sys, torch\n"
            "os.setsid()\n"
            f"os.environ.update({environment!r})\n"
            f"multiprocessing.set_start_method({usual!r}, force=True)\n"
            f"sys.stdout = sys.stderr = open({str(tmp_path / 'output.txt')!r}, 'a', buffering=1)\n"
            f"from tools.{command} import main\n"
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


def wait_for(path: Path, is_reached: Callable[[str], bool], process: BaseProcess) -> None:
    """Wait until a file's text is as wanted, or the process has ended."""
    deadline = time.monotonic() + 60
    while process.is_alive() and not (path.exists() and is_reached(path.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.01)
