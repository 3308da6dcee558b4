"""Freed memory is kept by the process: tensors of a step take it again."""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# of glibc's malloc.h, with values that keep what a step of a training frees
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
KEPT = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 2**28}
ENVIRONMENT = "MALLOC_"  # begins the variables by which a person sets these


def keep_freed_memory() -> None:
    """Keep glibc from giving freed tensors back to the system and taking them anew.

    Nothing is done with another C library, and where the environment has settings of its own.
    """
    if sys.platform != "linux" or any(name.startswith(ENVIRONMENT) for name in os.environ):
        return
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for name, value in KEPT.items():
            mallopt(name, value)


@contextmanager
def without_collection() -> Iterator[None]:
    """Inside, no cycles are looked for: imports make a million objects, of which none is freed.

    The first time, those that are there at the end are left alone forever, also when the process
    ends: looking through them takes a third as long as importing torch.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()
        if was_enabled:
            gc.enable()
