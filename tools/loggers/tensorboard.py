"""A run's ``events/`` folder for TensorBoard, kept small: JPEG images, sampled histograms.

The records are not written by ``SummaryWriter``, because it writes from another thread: a full
disk then prints a traceback and is raised at a later, unrelated event.
"""

# mypy: allow-untyped-calls
# TensorBoard and torch's functions for it ship without annotations.

import contextlib
import math
import os
import re
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore[import-untyped]
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from torch import Tensor
from torch.utils.tensorboard import RecordWriter
from torch.utils.tensorboard import summary as summaries

from tools.cli.console import warn
from tools.loggers.backend import Backend
from tools.loggers.logger import LOGGED_IMAGE

JPEG_QUALITY = 80
PR_POINTS = 100  # of a curve that was computed elsewhere; the same at every step
# TensorBoard's server cannot serve an image with these characters in its tag.
UNSAFE = re.compile(r'["\\\x00-\x1f]')
PREFIX = "events.out.tfevents."
STARTED = re.compile(rf"{re.escape(PREFIX)}(\d+)")  # seconds, in the name of a file
BYTES_OF_A_RUN = 150_000_000  # the events of one training; curves alone take a few percent of it

# The page CUSTOM SCALARS: related curves in one chart.
LAYOUT = {
    "training and validation": {
        "loss": ["Multiline", ["(train|validation|baseline)/loss$"]],
        "metric1": ["Multiline", ["(train|validation|baseline)/metric1$"]],
        "metric2": ["Multiline", ["(train|validation|baseline)/metric2$"]],
        "terms of the loss": ["Multiline", [r"train/(?!loss$|metric\d$|learning_rate$)[^/]+$"]],
    },
    "validation": {
        "means": ["Multiline", [r"validation/(?!errors_|loss$|metric\d$)[^/]+$"]],
        "what the top-scoring boxes are": ["Multiline", ["validation/errors_.*"]],
        "AP of boxes by class": ["Multiline", ["validation/box_ap/.*"]],
        "AP of image labels by class": ["Multiline", ["validation/ap/.*"]],
    },
}


class TensorBoardEvents(Backend):
    """Write events that TensorBoard shows; each is flushed, so a kill loses none.

    Args:
        folder: of the event file; earlier files in it belong to the same run.
        last_step: TensorBoard ignores events of those earlier files with a later step.
        max_bytes: of all files of the folder; images, histograms and precision-recall curves that
            would exceed it are left out with one warning, scalars never.
    """

    name = "TensorBoard"

    def __init__(
        self,
        folder: Path,
        *,
        last_step: int = -1,
        max_bytes: float = math.inf,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._room = max_bytes - sum(path.stat().st_size for path in folder.iterdir())
        self._full = f"{folder}: {max_bytes / 1e6:g} MB of events; only curves are added from here"
        self._is_full = False
        start = f"{_start_behind(folder):017.6f}.{socket.gethostname()}.{os.getpid()}"
        self._file = (folder / f"{PREFIX}{start}").open("xb")
        self._records = RecordWriter(self._file)
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self._file.close)
            self._write(Event(file_version="brain.Event:2"))
            start_again = SessionLog(status=SessionLog.START)
            self._write(Event(step=last_step + 1, session_log=start_again))
            self._write_summary(summaries.custom_scalars(LAYOUT), 0)
            on_failure.pop_all()

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Add one point to the curve ``tag``."""
        self._write_summary(summaries.scalar(tag, value), step)

    def image(self, tag: str, image: Tensor, step: int) -> None:
        """Add ``[3, H, W]`` uint8 RGB as a JPEG, in one place for every epoch of ``image_tag``."""
        match = LOGGED_IMAGE.fullmatch(tag)
        shown = f"images/{match[2]}" if match else tag
        bgr = np.ascontiguousarray(image.detach().cpu().permute(1, 2, 0).numpy()[:, :, ::-1])
        _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        height, width = image.shape[-2:]
        encoded = Summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=jpeg.tobytes()
        )
        # TensorBoard shows the tag; the other name is for those that read the file.
        value = Summary.Value(tag=_safe(shown), node_name=_safe(tag), image=encoded)
        self._write_large(Summary(value=[value]), step)

    def histogram(self, tag: str, values: Tensor, step: int) -> None:
        """Add the histogram of a sample of the finite values; without any, no histogram."""
        sample = sample_values(values)
        sample = sample[sample.isfinite()]
        if len(sample):
            self._write_large(summaries.histogram(tag, sample.numpy(), bins=64), step)

    def pr_curve(self, tag: str, targets: Tensor, scores: Tensor, step: int) -> None:
        """Add the curve of the entries with a finite score; without any, no curve."""
        finite = scores.isfinite()
        if finite.any():
            labels, predictions = (x[finite].detach().cpu().numpy() for x in (targets, scores))
            self._write_large(summaries.pr_curve(tag, labels, predictions), step)

    def pr_points(self, tag: str, points: Sequence[tuple[float, float]], step: int) -> None:
        """Add the curve at ``PR_POINTS`` of its points; without any, no curve."""
        if points:
            places = np.linspace(len(points) - 1, 0, PR_POINTS).round().astype(int)
            recall, precision = np.array(points, dtype=np.float64)[places].T
            none = np.zeros(PR_POINTS)  # hits and misses are not known here
            curve = summaries.pr_curve_raw(
                tag, none, none, none, none, precision, recall, num_thresholds=PR_POINTS
            )
            self._write_large(curve, step)

    def settings(self, settings: Mapping[str, object], metrics: Mapping[str, float]) -> None:
        """Add a row to TensorBoard's HPARAMS page; metrics get the prefix ``final/``."""
        plain = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in settings.items()
        }
        final = {f"final/{name}": float(value) for name, value in metrics.items()}
        for summary in summaries.hparams(plain, final):
            self._write_summary(summary, 0)
        for tag, value in final.items():
            self._write_summary(summaries.scalar(tag, value), 0)

    def flush(self) -> None:
        """Flush; each event has already been flushed."""
        self._file.flush()

    def close(self) -> None:
        """Close the event file."""
        self._file.close()

    def _write_large(self, summary: Summary, step: int) -> None:
        if summary.ByteSize() <= self._room:
            self._write_summary(summary, step)
        elif not self._is_full:
            self._is_full = True
            warn(self._full)

    def _write_summary(self, summary: Summary, step: int) -> None:
        self._write(Event(summary=summary, step=step))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        record = event.SerializeToString()
        self._records.write(record)
        self._records.flush()
        self._room -= len(record)


def _safe(tag: str) -> str:
    return UNSAFE.sub("'", tag)


def _start_behind(folder: Path) -> float:
    """The time, or one behind every file that is there, for a clock may have been set back.

    TensorBoard reads the files of a folder in the order of their names.
    """
    earlier = (STARTED.match(path.name) for path in folder.iterdir())
    return max([time.time(), *(int(found[1]) + 1.0 for found in earlier if found)])


def sample_values(values: Tensor, limit: int = 40_000) -> Tensor:
    """About ``limit`` values at equal distances, the same ones each time.

    Args:
        values: any shape and device.
        limit: largest number of values; all are taken if there are no more.

    Returns:
        ``[n]`` float64 on the CPU, n at most ``limit``.
    """
    flat = values.detach().flatten()
    stride = -(-len(flat) // limit)
    # An odd stride: an even one often divides the row length and would see a few columns only.
    return flat[:: stride | 1].to(device="cpu", dtype=torch.float64)
