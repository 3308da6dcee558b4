"""A run's logged curves and images, sent to visdom again."""

# mypy: allow-untyped-calls
# TensorBoard ships without annotations.

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from tensorboard.backend.event_processing.event_file_loader import (  # type: ignore[import-untyped]
    RawEventFileLoader,
)
from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore[import-untyped]
from torch import Tensor

from tools.cli.console import echo, warn
from tools.cli.signals import check_interrupted
from tools.loggers.metrics_file import read_metrics
from tools.loggers.settings import ReplayVisdomSettings
from tools.loggers.visdom import VisdomWindows, image_window, window_and_line

MAX_WINDOWS = 60  # with more a browser becomes slow


def run(settings: ReplayVisdomSettings) -> None:
    """Read and send; a visdom server that cannot be reached is an error, not a warning."""
    metrics_file = settings.run_dir / "metrics.jsonl"
    if not metrics_file.is_file():
        raise FileNotFoundError(f"{metrics_file}: no run in this folder (train one with --run-dir)")
    curves = {tag: curve for tag, curve in read_metrics(metrics_file).items() if _is_drawn(curve)}
    logged = read_images(settings.run_dir / "events")
    images = {image_window(tag): (tag, jpeg) for tag, jpeg in logged.items()}  # the last of each
    shown = _shown_windows(curves, images)
    if not shown:
        raise ValueError(f"{settings.run_dir}: the run has logged nothing")
    curves = {tag: curve for tag, curve in curves.items() if window_and_line(tag)[0] in shown}
    images = {window: pair for window, pair in images.items() if window in shown}
    visdom = settings.visdom.named_after(settings.run_dir)
    windows = VisdomWindows(
        visdom,
        history={tag: curve[:-1] for tag, curve in curves.items()},
        timeout=10.0,
        close_timeout=60.0,
    )
    for tag, curve in curves.items():
        step, value = curve[-1]
        windows.scalar(tag, value, step)
    for tag, jpeg in images.values():
        check_interrupted()
        windows.image(tag, _decode(jpeg, tag), 0)
    windows.close()
    echo(f"{len(curves)} curves and {len(images)} images in {len(shown)} windows: {visdom.place}")


def read_images(events: Path) -> dict[str, bytes]:
    """The encoded images of a run by their tag, in the order of logging.

    An image that was logged again after resuming is given once. A folder without events gives none.
    """
    images: dict[str, tuple[int, bytes]] = {}
    for path in sorted(events.glob("events.out.tfevents.*")):
        for record in RawEventFileLoader(str(path)).Load():
            check_interrupted()
            event = Event.FromString(record)
            if event.session_log.status == SessionLog.START:
                images = {tag: image for tag, image in images.items() if image[0] < event.step}
            for value in event.summary.value:
                if value.HasField("image"):
                    tag = value.node_name or value.tag
                    images[tag] = event.step, value.image.encoded_image_string
    return {tag: image for tag, (_, image) in images.items()}


def _shown_windows(curves: Iterable[str], images: Mapping[str, object]) -> set[str]:
    """Names of the windows, curves before images, at most ``MAX_WINDOWS``."""
    names = list(dict.fromkeys([*(window_and_line(tag)[0] for tag in curves), *images]))
    if omitted := names[MAX_WINDOWS:]:
        warn(f"{len(omitted)} of {len(names)} windows are left out, {omitted[0]} the first")
    return set(names[:MAX_WINDOWS])


def _is_drawn(curve: Iterable[tuple[int, float]]) -> bool:
    """Whether it has a finite value: without annotated boxes, metrics of boxes are NaN."""
    return any(math.isfinite(value) for _, value in curve)


def _decode(image: bytes, tag: str) -> Tensor:
    """``[3, H, W]`` uint8 RGB."""
    bgr = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError(f"image {tag}: cannot be decoded")
    return torch.from_numpy(np.ascontiguousarray(bgr[:, :, ::-1])).permute(2, 0, 1)
