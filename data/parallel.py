"""One function over many items in several processes, results in the items' order."""

import atexit
import multiprocessing
import os
import pickle
import re
import signal
import threading
import traceback
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

Item = TypeVar("Item")
Result = TypeVar("Result")


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux; elsewhere a process may use all cores
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _ignore_signals(_: int) -> None:
    """Leave SIGTERM and SIGINT to the main process.

    systemd, SLURM and timeout signal every process of a group. A worker that ended then would be
    an error in the main process, before that one has saved its work. Workers end when the main
    process asks them to or is gone; one that is stuck is killed when it exits.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _signals_held() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@atexit.register  # runs before multiprocessing waits for its processes
def _kill_stuck_workers() -> None:
    _kill(multiprocessing.active_children())


def _kill(children: Collection[BaseProcess]) -> None:
    """End these processes at once; torch's handler of signals is not told of it."""
    if not children:
        return
    can_tell = hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if can_tell else None
    for child in children:
        child.kill()
        child.join()
    if can_tell:
        signal.signal(signal.SIGCHLD, handler)


class Begun:
    """The worker processes of a loader, and which item each of them has begun last.

    A process that is killed, or that crashes in a decoder, cannot tell it itself.

    Attributes:
        numbers: ``[W]`` of the items, -1 where a process has begun none; shared with the processes.
    """

    def __init__(self, workers: int) -> None:
        self.numbers = torch.full((workers,), -1).share_memory_()  # type: ignore[no-untyped-call]
        self._processes: set[BaseProcess] = set()

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Inside, the processes are started, and SIGTERM and SIGINT wait.

        They inherit that, for good: a signal to their group would otherwise end one that has not
        come to ``_ignore_signals`` yet.
        """
        before = set(multiprocessing.active_children())
        try:
            with _signals_held():
                yield
        finally:  # where a second one cannot be started, the first is there
            self._processes |= set(multiprocessing.active_children()) - before

    def note(self, number: int) -> None:
        """The worker process that calls this begins that item; another process notes nothing."""
        if worker := get_worker_info():
            self.numbers[worker.id] = number

    def end(self) -> None:
        """End the processes that are still there; a copy of this in one of them ends none."""
        _kill(self._processes & set(multiprocessing.active_children()))

    @contextmanager
    def named(self, items: Sequence[object]) -> Iterator[None]:
        """Inside, the error of a lost or stuck process names the items that were begun last.

        The other processes end at once then; what they share may be locked for good.

        Raises:
            RuntimeError: a process was lost, or did not answer in time.
        """
        try:
            yield
        except Exception as error:
            reason = _of_worker(error)
            if reason is None or not len(self.numbers):
                raise
            self.end()
            begun = [(number, items[number]) for number in self.numbers.tolist() if number >= 0]
            names = [
                str(item) if isinstance(item, (str, Path)) else f"item {number + 1} of {len(items)}"
                for number, item in begun
            ]
            raise RuntimeError(
                f"{', '.join(names) or 'no item'}: begun last when a process was lost or stuck "
                f"({str(reason).strip().rstrip('.') or type(reason).__name__})"
            ) from error


class Loader(DataLoader[Any]):
    """Its processes leave signals to this one, and can be named and ended.

    It draws nothing from the generator that models start from.
    """

    def __init__(self, dataset: Dataset[Any], begun: Begun, **options: Any) -> None:
        """Of a data set that notes its items in ``begun``; options are those of ``DataLoader``."""
        super().__init__(
            dataset, worker_init_fn=_ignore_signals, generator=torch.Generator(), **options
        )
        self._begun = begun

    def __iter__(self) -> Any:
        """Of all batches; processes that are not there yet are started."""
        with self._begun.starting():
            return super().__iter__()


def _of_worker(error: BaseException) -> BaseException | None:
    """What torch has raised because a worker process was lost or stuck; None for anything else.

    Its handler of signals raises wherever this process is. A library that is stopped so while it
    writes a file, for example, raises another error on top.
    """
    if isinstance(error, (EOFError, ConnectionError)):  # half a message
        return error
    chain: list[BaseException] = []
    while error not in chain:
        chain.append(error)
        error = error.__context__ or error
    return next((each for each in chain if str(each).startswith("DataLoader ")), None)


def map_parallel(
    function: Callable[[Item], Result], items: Sequence[Item], *, processes: int
) -> Iterator[Result]:
    """The function's results, lazily; the processes end with this one, however it ends.

    Args:
        function: of the top level of a module, or a ``partial`` of one. Its result pickles.
        items: what it is applied to.
        processes: that work side by side, at most one an item; with 0 or 1, or for one item, this
            one does the work.

    Raises:
        Exception: what the function raises, at that item; from another process with its traceback
            as a note. One that cannot be pickled arrives as a ``RuntimeError`` with its message.
        RuntimeError: a process was killed; names the items that were begun last.
    """
    processes = min(processes, len(items))
    if processes < 2:  # to start one would cost more than an item
        return map(function, items)
    begun = Begun(processes)
    loader = Loader(_Mapped(function, items, begun), begun, batch_size=None, num_workers=processes)
    return _Results(iter(loader), items, begun)


def own_error(error: Exception) -> Exception:
    """An error of a loader's worker as it was raised there, without the traceback in its text.

    Any other error is given back.
    """
    kind = type(error)
    if "in DataLoader worker process" not in str(error):
        return error
    said = re.split(rf"^(?:[\w.]+\.)?{kind.__name__}: ", str(error), flags=re.MULTILINE)
    return kind(said[-1].strip()) if len(said) > 1 else error


class _Mapped(Dataset[bytes]):
    def __init__(
        self, function: Callable[[Item], Result], items: Sequence[Item], begun: Begun
    ) -> None:
        self.function = function
        self.items = items
        self.begun = begun

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> bytes:
        self.begun.note(index)
        try:  # to bytes here: torch would share each tensor as an open file
            return pickle.dumps(self.function(self.items[index]))
        except Exception as error:  # of any kind: the caller's process raises it
            sent = error if _pickles(error) else RuntimeError(f"{type(error).__name__}: {error}")
            sent.add_note(traceback.format_exc())
            return pickle.dumps(sent)


class _Results(Iterator[Any]):
    """Goes on after an item that failed, as a generator would not."""

    def __init__(self, contents: Iterator[bytes], items: Sequence[object], begun: Begun) -> None:
        self.contents = contents
        self.items = items
        self.begun = begun
        # Where these results are a part of a cycle, torch asks its processes to end through queues
        # that are closed already, and waits ten seconds for each of them.
        weakref.finalize(self, begun.end)

    def __next__(self) -> Any:
        with self.begun.named(self.items):
            content = next(self.contents)
        return _result(content)


def _result(content: bytes) -> Any:
    outcome = pickle.loads(content)
    if not isinstance(outcome, Exception):
        return outcome
    try:
        raise outcome
    finally:
        del outcome  # else it and this frame refer to each other, and the processes do not end


def _pickles(error: Exception) -> bool:
    """Whether it is the same after a pickle."""
    try:
        return str(pickle.loads(pickle.dumps(error))) == str(error)
    except (pickle.PickleError, TypeError, AttributeError, ValueError):
        return False
