"""Measure what the project says of its own speed, as ratios within one run.

python -m tests.benchmarks.run
python -m tests.benchmarks.run --only B G

Each row measures ours through the product's own code, the way of others, and where there is one
the bound, in turns; seconds differ from machine to machine, ratios travel. One thread; the cores
should be idle. Images are those of $VOC_ROOT, or else synthetic.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import torch

from data.datasets.settings import default_voc_root
from tests.benchmarks import commands, detector, evaluation, images, training
from tests.benchmarks.measure import OURS, Row, World, make_world
from tools.cli.command import Command
from tools.cli.console import echo
from tools.files.atomic import write_atomically, write_json
from tools.runs.environment import environment

AREAS = (training.ROWS, images.ROWS, evaluation.ROWS, commands.ROWS, detector.ROWS)
ROWS: dict[str, Row] = dict(sorted(row for area in AREAS for row in area.items()))
HEADING = ("row", "what", "ours", "peer", "ratio", "goal")


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings:
    """Settings of one benchmark."""

    only: tuple[str, ...] = ()
    """Rows, by their names; all when empty."""

    voc_root: Path | None = field(default_factory=default_voc_root)
    """Folder that holds VOC2007; $VOC_ROOT when not given, and synthetic images without it."""

    tiny: bool = False
    """Small inputs, which only show that a row runs."""

    out: Path = Path("runs/benchmark.json")
    """File for the numbers; the table is written beside it."""

    def __post_init__(self) -> None:
        """Refuse an unknown row."""
        for name in self.only:
            if name not in ROWS:
                raise ValueError(f"--only: no row {name!r} (there are {', '.join(ROWS)})")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and return its exit code."""
    return Command("benchmark", BenchmarkSettings, "tests.benchmarks.run", __doc__)(argv)


def run(settings: BenchmarkSettings) -> None:
    """Measure, say and write."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        world = make_world(Path(folder), settings.voc_root, tiny=settings.tiny)
        how = "bfloat16" if world.device.amp == "bf16" else "float32 (no bfloat16 here)"
        lines = [
            f"One thread, {how}, {'VOC' if settings.voc_root else 'synthetic'} images. Least value "
            "(largest / least of the turns); the ratio is peer / ours for ≥, ours / peer for ≤.",
            "",
            _line(HEADING),
            _line(["---"] * len(HEADING)),
        ]
        echo(*lines)
        for name in settings.only or ROWS:
            torch.manual_seed(0)
            results[name], of_row = measure(name, ROWS[name], world)
            lines += of_row
            echo(*of_row)
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(settings.out, {"rows": results, "about": lines[0], "environment": environment()})
    table = settings.out.with_suffix(".md")
    write_atomically(table, ("\n".join(lines) + "\n").encode())
    echo(f"numbers: {settings.out}, {table}")


def measure(name: str, row: Row, world: World) -> tuple[dict[str, Any], list[str]]:
    """The numbers of a row and its lines of the table."""
    started = time.monotonic()
    measured = row.measure(world)
    seconds = time.monotonic() - started
    ratios = {goal.peer: goal.ratio(measured) for goal in row.goals}
    lines = []
    for goal in row.goals:
        peer = f"{goal.peer}: {_shown(measured[goal.peer])}" if goal.peer else ""
        ours = f"{_shown(measured[OURS])} {row.unit}"
        ends = f"{ratios[goal.peer]:.3g}", f"{goal.sign} {goal.bound:.3g}"
        lines.append(_line([name, row.what, ours, peer, *ends]))
    numbers = {"unit": row.unit, "measured": measured, "ratios": ratios, "seconds": seconds}
    return {"what": row.what, **numbers}, lines


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _shown(values: list[float]) -> str:
    return f"{min(values):.3g} ({max(values) / min(values):.2f})"


if __name__ == "__main__":
    sys.exit(main())
