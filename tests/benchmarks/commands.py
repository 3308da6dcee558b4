"""Rows of whole commands."""

import subprocess
import sys
from functools import partial
from importlib import import_module

from tests.benchmarks.detector import trained
from tests.benchmarks.measure import OURS, Goal, Measured, Row, World, in_turns
from tools.cli.commands import list_commands

IMPORT = "import torchvision"


def _help(world: World) -> Measured:
    """The command that takes longest is ours."""
    names = list_commands()[: world.pick(100, 1)]
    works = {name: partial(_python, "-m", f"tools.{name}", "--help") for name in names}
    works[IMPORT] = partial(_python, "-c", "pass" if world.tiny else IMPORT)
    measured = in_turns(works, world.pick(3, 1))
    return {IMPORT: measured.pop(IMPORT), OURS: max(measured.values(), key=min)}


def _detect(world: World) -> Measured:
    image, out = world.dataset("test").paths[0], world.folder / "found"
    words = ["--run-dir", trained(world).run_dir, "--images", image, "--out", out, "--processes", 1]
    typed = [*map(str, words), "--replace"]
    if world.tiny:  # in this process, which has imported everything
        return in_turns({OURS: lambda: import_module("tools.detect").main(typed)}, 1)
    return in_turns({OURS: partial(_python, "-m", "tools.detect", *typed)}, 2)


def _python(*words: str) -> None:
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)


ROWS = {
    "H": Row("--help of the slowest command", _help, (Goal(IMPORT, "≤", 1 / 25),)),
    "H'": Row("detect on one image", _detect, (Goal("", "≤", 3.5),)),
}
