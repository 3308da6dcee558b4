"""Output, tables and progress: a bar on a terminal, otherwise a plain line from time to time."""

import os
import re
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeVar

from tools.cli.signals import check_interrupted

if TYPE_CHECKING:  # rich is imported where it draws: no help needs it
    from rich.table import Table


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
SILENCE_S = 2.0  # on a terminal, until a line says what is being done
WIDTH = 80  # of tables where there is no terminal
LONG_WORD = 16  # columns of a table; longer ones may be folded
NUMBER = re.compile(r"[-+\d.,:/x%() ]*|n/a")
CLOSED_OUTPUT = 141  # exit code, as a shell gives it after SIGPIPE

_copies: dict[Path, RawIOBase] = {}
_is_silent = False
_suggested: list[str] = []


@contextmanager
def also_to(path: Path) -> Iterator[None]:
    """Append everything that is printed to a file as well, with date and time of day.

    A file that cannot be written costs one warning.
    """
    try:
        file = path.open("ab", buffering=0)
    except OSError as error:
        _give_up(path, error)
        yield
        return
    with file:
        _copies[path] = file
        try:
            yield
        finally:
            _copies.pop(path, None)


def say_errors_alone() -> None:
    """From now on, leave lines, warnings and progress to another process of the same command."""
    global _is_silent
    _is_silent = True


def echo(*lines: str) -> None:
    """Print lines without delay."""
    if _is_silent:
        return
    for line in map(printable, lines):
        put(f"{line}\n", sys.stdout)
        _copy(line)


def warn(text: str) -> None:
    """Print one warning on stderr."""
    if _is_silent:
        return
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


def _copy(line: str) -> None:
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    for path, file in list(_copies.items()):
        try:
            file.write(f"{now} {line}\n".encode(errors="backslashreplace"))
        except OSError as error:
            del _copies[path]
            _give_up(path, error)


def _give_up(path: Path, error: OSError) -> None:
    warn(f"{path}: {error.strerror}; what is printed is not written there any more")


def suggest(*words: object) -> None:
    """Note the command that a person may want next, in the place of an earlier one; or none."""
    _suggested[:] = map(str, words)


def show_suggestion() -> None:
    """Print the command that was noted last, as it can be typed."""
    if _suggested:
        echo(f"next: {shlex.join(_suggested)}")


@contextmanager
def saying(what: str, *, after: float | None = None) -> Iterator[None]:
    """Say on stderr what is being done inside, if that takes a while.

    Args:
        what: is done.
        after: seconds; when not given 2 on a terminal, and elsewhere as in ``show_progress``.
    """
    if after is None:
        after = SILENCE_S if sys.stderr.isatty() else LINE_EVERY_S
    line = threading.Timer(after, put, (f"{printable(what)} ...\n", sys.stderr))
    line.daemon = True
    if not _is_silent:
        line.start()
    try:
        yield
    finally:
        line.cancel()


def table(heads: Sequence[str], *rows: Sequence[str]) -> list[str]:
    """The lines of a table, as wide as the terminal at most, or 80 columns where there is none.

    Numbers are on the right and never folded, long words and headings are. Columns for which there
    is no room follow in another table below, again with the first column.

    Args:
        heads: of two columns or more.
        rows: as many cells each.
    """
    from rich.console import Console

    console = Console(color_system=None)
    if not console.is_terminal:
        console.width = WIDTH
    names, *columns = [list(map(printable, cells)) for cells in zip(heads, *rows, strict=True)]
    lines = []
    while columns:
        room = console.width - _least_width(names) - 2 - _least_width(columns[0])
        shown = [columns.pop(0)]
        while columns and (room := room - 2 - _least_width(columns[0])) >= 0:
            shown.append(columns.pop(0))
        with console.capture() as captured:
            console.print(_drawn([names, *shown], console.width))
        lines += [line.rstrip() for line in captured.get().splitlines()]
    return lines


def _drawn(columns: Sequence[Sequence[str]], most: int) -> "Table":
    """A table whose columns are two apart; numbers take no more than they need where it is full."""
    from rich.box import SIMPLE_HEAD
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    is_full = sum(2 + max(map(cell_len, column)) for column in columns) - 2 > most
    for number, column in enumerate(columns):
        right = number > 0 and _is_of_numbers(column)
        drawn.add_column(
            Text(column[0]),
            overflow="fold",
            justify="right" if right else "left",
            width=_least_width(column) if right and is_full else None,
        )
    for row in list(zip(*columns, strict=True))[1:]:
        drawn.add_row(*map(Text, row))
    return drawn


def _least_width(column: Sequence[str]) -> int:
    """Of a heading and its cells: of the longest number, or of the longest word as far as 16."""
    from rich.cells import cell_len

    whole = column[1:] if _is_of_numbers(column) else []
    words = [min(LONG_WORD, cell_len(word)) for cell in column for word in cell.split()]
    return max(1, *words, *map(cell_len, whole))


def _is_of_numbers(column: Sequence[str]) -> bool:
    return all(map(NUMBER.fullmatch, column[1:]))


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
    news: Callable[[], str] = str,
) -> Iterator[T]:
    """Pass items through and show how many are done, what is new, the rate, and the time left.

    Args:
        items: to pass on.
        description: printed before the numbers, for example ``epoch 3``.
        total: number of items, with those that are done already.
        done: items that an earlier process has finished.
        size: images in one item.
        interval: seconds between two lines where there is no terminal.
        news: what is new after an item; may be empty.
    """
    from rich.console import Console

    if Console(stderr=True).is_terminal and not _is_silent:
        yield from _bar(items, description, total, done, size, news)
        return
    start = time.monotonic()
    due = start + interval
    for count, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now >= due:
            due = now + interval
            rate = count / (now - start)
            left = f"{(total - done - count) / rate:.0f} s left"
            words = [f"{done + count}/{total}", news(), f"{rate * size:.1f} images/s", left]
            echo(f"{description}: {', '.join(filter(None, words))}")


def _bar(
    items: Iterable[T],
    description: str,
    total: int,
    done: int,
    size: int,
    news: Callable[[], str],
) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[news]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(description, total=total, completed=done, news="")
        start = time.monotonic()
        for count, item in enumerate(items, start=1):
            yield item
            rate = f"{count * size / (time.monotonic() - start):.1f} images/s"
            progress.update(task, advance=1, news=", ".join(filter(None, (news(), rate))))
