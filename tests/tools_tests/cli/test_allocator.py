"""The allocator's settings, tried in processes of their own: they cannot be taken back."""

import gc
import os
import platform
import subprocess
import sys
from collections.abc import Callable

import pytest

from tools.cli.allocator import without_collection

PROGRAM = """
import ctypes, sys
from tools.cli.allocator import keep_freed_memory
from tools.cli.commands import main
{first}
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
address = libc.malloc(ctypes.c_size_t(2**26))
maps = [line.split() for line in open("/proc/self/maps", encoding="utf-8")]
heap = [words[0].split("-") for words in maps if words[-1] == "[heap]"]
print(any(int(start, 16) <= address < int(end, 16) for start, end in heap))
"""
on_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")


def large_blocks_lie_on_the_heap(first: str, **variables: str) -> bool:
    """Where 64 MB go; without settings the system gives them and takes them back."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    words = [sys.executable, "-c", PROGRAM.format(first=first)]
    done = subprocess.run(
        words, env=environment | variables, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1] == "True"


@on_glibc
@pytest.mark.parametrize("first", ["keep_freed_memory()", "main(['feature_cache'])"])
def test_a_command_keeps_what_is_freed(first: str) -> None:
    assert large_blocks_lie_on_the_heap(first)


@on_glibc
def test_settings_of_the_environment_stay() -> None:
    assert not large_blocks_lie_on_the_heap("keep_freed_memory()", MALLOC_ARENA_MAX="2")


@on_glibc
def test_another_system_is_left_as_it_is() -> None:
    assert not large_blocks_lie_on_the_heap("sys.platform = 'darwin'; keep_freed_memory()")


@pytest.mark.parametrize("before", [gc.enable, gc.disable])
def test_after_the_imports_cycles_are_collected_as_before(before: Callable[[], None]) -> None:
    before()
    was_enabled = gc.isenabled()

    with without_collection():
        assert not gc.isenabled()

    assert gc.isenabled() == was_enabled
    gc.enable()


def test_what_was_imported_first_is_never_looked_through_again() -> None:
    program = (
        "import gc; from tools.cli.allocator import without_collection\n"
        "with without_collection(): import tools.cli.command\n"
        "first = gc.get_freeze_count(), len(gc.get_objects())\n"
        "with without_collection(): later = [[] for _ in range(9)]\n"
        "print(*first, gc.get_freeze_count())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    frozen, others, frozen_later = map(int, done.stdout.split())
    assert frozen > 10 * others
    assert frozen_later <= frozen
