"""``metrics.jsonl``: every scalar of a run as one JSON object a line; a kill loses none."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.loggers.backend import Backend

MOST_STEPS, LARGEST = 2**63, 10**300  # of whole numbers that a line may hold

Curves = dict[str, list[tuple[int, float]]]


class MetricsFile(Backend):
    """Append ``{"step": 7, "tag": "train/loss", "value": 0.5}`` for each scalar.

    A value that is not finite becomes null, because JSON cannot hold it. Each line is passed to the
    operating system without delay, so a kill loses none.

    Args:
        path: the file; its folder is made if it does not exist.
        last_step: lines of later steps are removed first, and so is an incomplete last line.
        again: tags with these prefixes are removed at ``last_step`` as well.
    """

    name = "metrics.jsonl"

    def __init__(self, path: Path, *, last_step: int = -1, again: tuple[str, ...] = ()) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        truncate_after(path, last_step, again=again)
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Write one line."""
        event = {"step": step, "tag": tag, "value": value if math.isfinite(value) else None}
        self._file.write(json.dumps(event, allow_nan=False) + "\n")

    def flush(self) -> None:
        """Flush; the line buffer has already written every line."""
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def truncate_after(path: Path, last_step: int, *, again: tuple[str, ...] = ()) -> None:
    """Rewrite the file without incomplete lines and without lines of steps after ``last_step``.

    Lines of ``last_step`` itself are removed too when their tag begins with one of ``again``.
    """
    if not path.exists():
        return
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            for line, event in _complete_lines(path):
                is_again = event["step"] == last_step and event["tag"].startswith(again)
                if event["step"] <= last_step and not is_again:
                    file.write(line)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read_metrics(path: Path) -> Curves:
    """The curves of a file, in the order they were written; none if there is no file."""
    curves: Curves = {}
    if path.exists():
        for _, event in _complete_lines(path):
            value = math.nan if event["value"] is None else event["value"]
            curves.setdefault(event["tag"], []).append((event["step"], value))
    return curves


def _complete_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            event = _event(line)
            if event is not None and line.endswith("\n"):
                yield line, event


def _event(line: str) -> dict[str, Any] | None:
    """What a line says; None for one that was cut by a kill or a full disk, or is no event."""
    try:
        event = json.loads(line)
        step, tag, value = (event[name] for name in ("step", "tag", "value"))
    except (ValueError, RecursionError, TypeError, KeyError):
        return None
    is_step = type(step) is int and abs(step) < MOST_STEPS
    is_value = (
        value is None or type(value) is float or (type(value) is int and abs(value) < LARGEST)
    )
    return event if is_step and isinstance(tag, str) and is_value else None
