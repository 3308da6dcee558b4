"""The allocator's settings, tried in processes of their own: they cannot be taken back."""

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from tools.cli.allocator import keep_freed_memory
{first}
print(keep_freed_memory())
"""


def said(first: str = "", **variables: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    words = [sys.executable, "-c", PROGRAM.format(first=first)]
    done = subprocess.run(
        words, env=environment | variables, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")
def test_glibc_is_asked_to_keep_what_is_freed() -> None:
    assert said() == "True"


def test_settings_of_the_environment_stay() -> None:
    assert said(MALLOC_ARENA_MAX="2") == "False"


def test_another_system_is_left_as_it_is() -> None:
    assert said(first="sys.platform = 'darwin'") == "False"
