"""Measure what the project says of its own speed, as ratios within one run.

python -m tests.benchmarks.run --what proposals
python -m tests.benchmarks.run --what detector_step

Seconds differ from machine to machine and with what else it does; what is compared here takes turns
image by image, so the ratios travel. proposals: CPU time of making proposals beside that of
"fast" selective search at full size, and how much faster two processes are than one; about two
minutes on two cores that should be idle. detector_step: CPU time of one training step on AlexNet at
688 pixels and 2000 proposals beside the plain way of PyTorch ports; about three minutes.
detector_memory: peak memory of steps on VGG-16 at 1200 pixels and up to 4000 proposals.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from data.datasets.settings import LabelSettings
from data.datasets.sources import open_source
from data.images import read_image
from data.parallel import map_parallel
from data.proposals.propose import propose
from data.proposals.settings import ProposeSettings
from tests.benchmarks.steps import measure_detector_memory, measure_detector_step
from tools.cli.command import Command
from tools.cli.console import echo, track
from tools.cli.signals import check_interrupted
from tools.files.atomic import write_json
from tools.runs.environment import environment

ROUNDS = 2


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings(LabelSettings):
    """Settings of one measurement."""

    what: Literal["proposals", "detector_step", "detector_memory"] = "proposals"
    """What is measured."""

    split: str = "test"
    """List that images are taken from."""

    count: int = 0
    """Images, from the beginning of the list; 0 for 40, 3 and 1."""

    out: Path = Path("runs/benchmark.json")
    """File for the numbers."""

    def __post_init__(self) -> None:
        """Refuse no images."""
        if self.count < 0:
            raise ValueError(f"--count is 0 or more, got {self.count}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and return its exit code."""
    return Command("benchmark", BenchmarkSettings, "tests.benchmarks.run", __doc__)(argv)


def run(settings: BenchmarkSettings) -> None:
    """Measure, say and write."""
    source = open_source(settings)
    measure, count = MEASUREMENTS[settings.what]
    ids = source.ids(settings.split)[: settings.count or count]
    paths = [source.path(image_id) for image_id in ids]
    numbers = measure(paths)
    for name, value in numbers.items():
        echo(f"{name}: {value:.3f}")
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(settings.out, {settings.what: numbers, "environment": environment()})
    echo(f"numbers: {settings.out}")


def _proposals(paths: Sequence[Path]) -> dict[str, float]:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    ours, reference = [], []
    for path in track(paths, "CPU time", total=len(paths)):
        check_interrupted()
        image = read_image(path)
        started = time.process_time()
        propose(image, ProposeSettings())
        between = time.process_time()
        _selective_search(image)
        reference.append(time.process_time() - between)
        ours.append(between - started)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(ROUNDS):
        for processes, measured in seconds.items():
            check_interrupted()
            started = time.perf_counter()
            count = sum(map_parallel(_count, paths, processes=processes))
            measured.append(time.perf_counter() - started)
            echo(f"{count} boxes with {processes} processes in {measured[-1]:.1f} s")
    return {
        "CPU seconds an image": sum(ours) / len(paths),
        "CPU seconds an image of full-size selective search": sum(reference) / len(paths),
        "ratio of CPU time": sum(ours) / sum(reference),
        "speed of two processes beside one": min(seconds[1]) / min(seconds[2]),
    }


def _selective_search(image: Tensor) -> None:
    """OpenCV's "fast" with its own settings."""
    maker = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    maker.setBaseImage(np.ascontiguousarray(image.permute(1, 2, 0).numpy()[:, :, ::-1]))
    maker.switchToSelectiveSearchFast()
    maker.process()


def _count(path: Path) -> int:
    torch.set_num_threads(1)
    return len(propose(read_image(path), ProposeSettings()).boxes)


# what is measured, and on how many images
MEASUREMENTS: dict[str, tuple[Callable[[Sequence[Path]], dict[str, float]], int]] = {
    "proposals": (_proposals, 40),
    "detector_step": (measure_detector_step, 3),
    "detector_memory": (measure_detector_memory, 1),
}


if __name__ == "__main__":
    sys.exit(main())
