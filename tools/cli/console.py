"""Progress for a person: a bar on a terminal, a plain line now and then otherwise."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def printable(text: str) -> str:
    r"""The text on one line, with escapes such as ``\x1b`` for what cannot be shown.

    Those are line ends, the signs that color text or turn its direction, and bytes of a file
    name that are no text.
    """
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )


T = TypeVar("T")

LINE_EVERY_S = 10.0


_copies: list[TextIO] = []


@contextmanager
def also_to(path: Path) -> Iterator[None]:
    """Append everything that is said to a file as well."""
    with path.open("a", encoding="utf-8") as file:
        _copies.append(file)
        try:
            yield
        finally:
            _copies.remove(file)


def echo(*lines: str) -> None:
    """Print lines for a person, at once."""
    for line in map(printable, lines):
        print(line, flush=True)
        _copy(line)


def warn(text: str) -> None:
    """Print one warning on stderr."""
    line = printable(f"warning: {text}")
    print(line, file=sys.stderr, flush=True)
    _copy(line)


def _copy(text: str) -> None:
    for file in _copies:
        print(text, file=file, flush=True)


def track(
    items: Iterable[T], what: str, *, total: int, done: int = 0, size: int = 1
) -> Iterator[T]:
    """Pass items through and show how many have gone, the rate, and the time left.

    Args:
        items: to pass on.
        what: words before the numbers, for example ``epoch 3``.
        total: of items, those already done included.
        done: items of this work that an earlier process has finished.
        size: images an item stands for.
    """
    if Console(stderr=True).is_terminal:
        yield from _bar(items, what, total, done, size)
        return
    start = last = time.monotonic()
    for count, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= LINE_EVERY_S:
            last = now
            rate = count / (now - start)
            left = (total - done - count) / rate
            echo(f"{what}: {done + count}/{total}, {rate * size:.1f} images/s, {left:.0f} s left")


def _bar(items: Iterable[T], what: str, total: int, done: int, size: int) -> Iterator[T]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total, completed=done, rate="")
        start = time.monotonic()
        for count, item in enumerate(items, start=1):
            yield item
            rate = count * size / (time.monotonic() - start)
            progress.update(task, advance=1, rate=f"{rate:.1f} images/s")
