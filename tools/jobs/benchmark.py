"""Ratios of time, measured in turns."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from data.images import read_image
from data.parallel import map_parallel
from data.propose import ProposeSettings, propose
from tools.benchmark import BenchmarkSettings
from tools.engine.datasets import check_pictures_exist, picture_paths
from tools.engine.interrupts import check_interrupted
from tools.engine.progress import say, track
from tools.engine.run_folder import environment, write_json
from tools.engine.step_benchmark import measure_detector_memory, measure_detector_step

ROUNDS = 2


def run(settings: BenchmarkSettings) -> None:
    """Measure, say and write."""
    check_pictures_exist(settings)
    measure, count = MEASUREMENTS[settings.what]
    paths = picture_paths(settings, settings.split)[: settings.pictures or count]
    numbers = measure(paths)
    for name, value in numbers.items():
        say(f"{name}: {value:.3f}")
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(settings.out, {settings.what: numbers, "environment": environment()})
    say(f"numbers: {settings.out}")


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
            say(f"{count} boxes with {processes} processes in {measured[-1]:.1f} s")
    return {
        "CPU seconds a picture": sum(ours) / len(paths),
        "CPU seconds a picture of full-size selective search": sum(reference) / len(paths),
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


# what is measured, and on how many pictures
MEASUREMENTS: dict[str, tuple[Callable[[Sequence[Path]], dict[str, float]], int]] = {
    "proposals": (_proposals, 40),
    "detector_step": (measure_detector_step, 3),
    "detector_memory": (measure_detector_memory, 1),
}
