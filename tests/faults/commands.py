"""Commands in processes of their own, each the leader of its group, which end when they are told.

A fork server that has imported torch, but computed nothing, makes them.
"""

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PRELOADED = ["tools.training.localizer", "tools.training.wsddn", "tools.loggers.tensorboard"]


def patience(seconds: float) -> float:
    """These seconds where nothing else runs; as many times more as processes share a core."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@contextlib.contextmanager
def started(
    command: str, argv: list[str], output: Path, *, kill_at: int | None = None
) -> Iterator[BaseProcess]:
    """A command that runs; it and all of its group are killed at the end.

    Args:
        command: after ``tools.``.
        argv: its words.
        output: gets what it prints.
        kill_at: the number of the change on the disk, from 0, inside of which it kills itself.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    usual = multiprocessing.get_start_method()  # for its workers, as in a command's process
    process = context.Process(target=_run, args=(command, argv, output, usual, kill_at))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()
        kill_group(process)


def kill_group(process: BaseProcess) -> None:
    """End the workers of a process that was killed; they would end by themselves in seconds."""
    assert process.pid
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _run(command: str, argv: list[str], output: Path, usual: str, kill_at: int | None) -> None:
    os.setsid()
    multiprocessing.set_start_method(usual, force=True)
    sys.stdout = sys.stderr = output.open("a", buffering=1)
    if kill_at is not None:
        _kill_inside_of_change(kill_at)
    sys.exit(importlib.import_module(f"tools.{command}").main(argv))


def _kill_inside_of_change(number: int) -> None:
    """Count what changes the disk; at that number half a file is left, or the old name."""
    count = iter(range(number))

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if next(count, None) is None:
                if isinstance(args[0], int):
                    os.ftruncate(args[0], os.fstat(args[0]).st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return wrapper

    for owner, name in ((Path, "replace"), (Path, "unlink"), (os, "fsync")):
        setattr(owner, name, counted(getattr(owner, name)))
