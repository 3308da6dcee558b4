"""Output and progress: a bar on a terminal, otherwise a plain line from time to time."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tools.cli.signals import check_interrupted


def printable(text: str) -> str:
    r"""The text on one line, with escapes such as ``\x1b`` for what cannot be shown.

    Those are line ends, the characters that color text or turn its direction, and bytes of a file
    name that are no text.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


T = TypeVar("T")

LINE_EVERY_S = 10.0


CLOSED_OUTPUT = 141  # exit code, as a shell gives it after SIGPIPE

_copies: list[TextIO] = []


@contextmanager
def also_to(path: Path) -> Iterator[None]:
    """Append everything that is printed to a file as well."""
    with path.open("a", encoding="utf-8") as file:
        _copies.append(file)
        try:
            yield
        finally:
            _copies.remove(file)


def echo(*lines: str) -> None:
    """Print lines without delay."""
    for line in map(printable, lines):
        put(f"{line}\n", sys.stdout)
        _copy(line)


def warn(text: str) -> None:
    """Print one warning on stderr."""
    line = printable(f"warning: {text}")
    put(f"{line}\n", sys.stderr)
    _copy(line)


def put(text: str, file: TextIO) -> None:
    """Print a text as it is, without delay; see ``until_closed``."""
    with until_closed(file):
        file.write(text)
        file.flush()


@contextmanager
def until_closed(file: TextIO) -> Iterator[None]:
    """End the process without a word when nobody reads what it prints, as after ``| head``.

    Raises:
        SystemExit: that is so.
    """
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())  # takes what is still buffered
        raise SystemExit(CLOSED_OUTPUT) from None


def _copy(text: str) -> None:
    for file in _copies:
        print(text, file=file, flush=True)


def track(items: Iterable[T], description: str, *, total: int, done: int = 0) -> Iterator[T]:
    """Pass items through as ``show_progress`` does, until a signal comes.

    Raises:
        Interrupted: a signal came before an item.
    """
    for item in show_progress(items, description, total=total, done=done):
        check_interrupted()
        yield item


def show_progress(
    items: Iterable[T],
    description: str,
    *,
    total: int,
    done: int = 0,
    size: int = 1,
    interval: float = LINE_EVERY_S,
) -> Iterator[T]:
    """Pass items through and show how many are done, the rate, and the time left.

    Args:
        items: to pass on.
        description: printed before the numbers, for example ``epoch 3``.
        total: number of items, with those that are done already.
        done: items that an earlier process has finished.
        size: images in one item.
        interval: seconds between two lines where there is no terminal.
    """
    if Console(stderr=True).is_terminal:
        yield from _bar(items, description, total, done, size)
        return
    start = last = time.monotonic()
    for count, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= interval:
            last = now
            rate = count / (now - start)
            left = (total - done - count) / rate
            speed = f"{rate * size:.1f} images/s"
            echo(f"{description}: {done + count}/{total}, {speed}, {left:.0f} s left")


def _bar(items: Iterable[T], description: str, total: int, done: int, size: int) -> Iterator[T]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(description, total=total, completed=done, rate="")
        start = time.monotonic()
        for count, item in enumerate(items, start=1):
            yield item
            rate = count * size / (time.monotonic() - start)
            progress.update(task, advance=1, rate=f"{rate:.1f} images/s")
