"""A run's logged curves and images, sent to visdom once more."""

# mypy: allow-untyped-calls
# TensorBoard ships without annotations.

import math
import re
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
from tools.loggers.backend import FIRST, LAST
from tools.loggers.metrics_file import read_metrics
from tools.loggers.settings import ReplayVisdomSettings
from tools.loggers.visdom import VisdomWindows, window_and_line

MOST = 60  # windows; with more a browser becomes slow
LOGGED = re.compile(r"ep(\d+)_iter\d+_(batch\d+_image\d+)(?:_.*)?", re.DOTALL)
Images = dict[str, bytes]


def run(settings: ReplayVisdomSettings) -> None:
    """Read and send; a visdom that cannot be reached is an error here, not a warning."""
    metrics_file = settings.run_dir / "metrics.jsonl"
    if not metrics_file.is_file():
        raise FileNotFoundError(f"{metrics_file}: no run in this folder (train one with --run-dir)")
    curves = {tag: curve for tag, curve in read_metrics(metrics_file).items() if _is_seen(curve)}
    images = first_and_last(read_images(settings.run_dir / "events"))
    shown = _shown_windows(curves, images)
    if not shown:
        raise ValueError(f"{settings.run_dir}: the run has logged nothing")
    curves = {tag: curve for tag, curve in curves.items() if window_and_line(tag)[0] in shown}
    images = {window: pair for window, pair in images.items() if window in shown}
    windows = VisdomWindows(
        settings.visdom,
        history={tag: curve[:-1] for tag, curve in curves.items()},
        timeout=10.0,
        patience=60.0,
    )
    for tag, curve in curves.items():
        step, value = curve[-1]
        windows.scalar(tag, value, step)
    for window, (tag, jpeg) in images.items():
        check_interrupted()
        windows.image(tag, _decode(jpeg, tag), 0, window=window)
    windows.close()
    visdom = settings.visdom
    echo(
        f"{len(curves)} curves and {len(images)} images in {len(shown)} windows: "
        f"{visdom.server}:{visdom.port}, environment {visdom.env}"
    )


def read_images(events: Path) -> Images:
    """The logged images of a run, encoded, by their tag and in the order of logging.

    What was logged again after resuming counts once. A folder without events gives none.
    """
    found: dict[str, tuple[int, bytes]] = {}
    for path in sorted(events.glob("events.out.tfevents.*")):
        for record in RawEventFileLoader(str(path)).Load():
            check_interrupted()
            event = Event.FromString(record)
            if event.session_log.status == SessionLog.START:
                found = {tag: image for tag, image in found.items() if image[0] < event.step}
            for value in event.summary.value:
                if value.HasField("image"):
                    found[value.tag] = event.step, value.image.encoded_image_string
    return {tag: image for tag, (_, image) in found.items()}


def first_and_last(images: Images) -> dict[str, tuple[str, bytes]]:
    """Those of the first and of the last epoch, and those of no epoch, by window.

    Returns:
        Tag and image by the name of the window that shows them while the run goes on.
    """
    of_epoch = {tag: found for tag in images if (found := LOGGED.fullmatch(tag))}
    epochs = {int(found[1]) for found in of_epoch.values()}
    chosen = {}
    for tag, image in images.items():
        found = of_epoch.get(tag)
        if found is None:
            chosen[tag] = tag, image
        elif int(found[1]) == min(epochs):
            chosen[FIRST + found[2]] = tag, image
        elif int(found[1]) == max(epochs):
            chosen[LAST + found[2]] = tag, image
    return chosen


def _shown_windows(curves: Iterable[str], images: Mapping[str, object]) -> set[str]:
    """Names of the windows, those of curves first, as many as a browser can take."""
    names = list(dict.fromkeys([*(window_and_line(tag)[0] for tag in curves), *images]))
    if len(names) > MOST:
        warn(f"{len(names) - MOST} of {len(names)} windows are left out, {names[MOST]} the first")
    return set(names[:MOST])


def _is_seen(curve: Iterable[tuple[int, float]]) -> bool:
    """Whether anything of it would be drawn: metrics of boxes that a data set lacks are NaN."""
    return any(math.isfinite(value) for _, value in curve)


def _decode(image: bytes, tag: str) -> Tensor:
    """``[3, H, W]`` uint8 RGB."""
    bgr = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError(f"image {tag}: does not decode")
    return torch.from_numpy(np.ascontiguousarray(bgr[:, :, ::-1])).permute(2, 0, 1)
