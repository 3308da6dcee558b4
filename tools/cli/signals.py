"""SIGTERM and SIGINT set a flag, which long work checks where it can stop. No torch here."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

TORCHRUN = "TORCHELASTIC_RUN_ID"  # in the environment of its processes

_received: list[int] = []
_stops_at_once = False


class Interrupted(Exception):  # noqa: N818 - a request to stop is no error
    """Work stopped at a safe point because of a signal; finished work is saved."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.exit_code = 128 + signal_number


def install_signal_handlers() -> None:
    """Note the first SIGTERM or SIGINT; a second one ends the process at once."""
    _received.clear()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _note)


def received() -> int:
    """Number of the first signal; 0 for none."""
    return _received[0] if _received else 0


def note(signal_number: int) -> None:
    """Stop as if this signal had come; an earlier one stays."""
    _received.append(signal_number)


def is_interrupted() -> bool:
    """Whether a signal was received."""
    return bool(_received)


def check_interrupted() -> None:
    """Raise ``Interrupted`` if a signal was received; call it where stopping loses nothing."""
    if _received:
        raise Interrupted(_received[0])


@contextmanager
def stop_at_once() -> Iterator[None]:
    """Inside, a signal raises ``Interrupted`` wherever the work is, even waiting for a network."""
    global _stops_at_once
    check_interrupted()
    _stops_at_once = True
    try:
        yield
    finally:
        _stops_at_once = False


def _note(signal_number: int, _: FrameType | None) -> None:
    if _received and TORCHRUN in os.environ:
        return  # it passes each signal on, which may have come to the whole group
    if _received:
        signal.signal(signal_number, signal.SIG_DFL)
        signal.raise_signal(signal_number)
    _received.append(signal_number)
    if _stops_at_once:
        check_interrupted()
