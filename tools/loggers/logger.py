"""One ``Logger`` that sends a run's events to TensorBoard, visdom, MLflow and ``metrics.jsonl``.

``tools.loggers.backend`` lists the kinds of events; this module opens the backends and sends each
event to all of them. A backend that fails causes one warning and never stops the run.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from tools.cli.console import saying, warn
from tools.loggers.backend import Backend
from tools.loggers.metrics_file import MetricsFile, read_metrics
from tools.loggers.settings import VisdomSettings

METRICS_FILE = "metrics.jsonl"
# Epoch, then what is the same in every epoch, of which the first part is the place of the image.
LOGGED_IMAGE = re.compile(r"ep(\d+)_iter\d+_((batch\d+_image\d+)(?:_.*)?)", re.DOTALL)


def image_tag(epoch: int, iteration: int, batch: int, image: int, class_name: str = "") -> str:
    """Tag of a logged image; the title in visdom; its filter finds an epoch or a class in it.

    In visdom the images of epoch 0 remain; those of each later epoch replace the ones before. An
    image with a tag of another form has a window of its own. In TensorBoard an image has one tag
    for all epochs, with a slider.
    """
    tag = f"ep{epoch}_iter{iteration}_batch{batch}_image{image}"
    return f"{tag}_{class_name}" if class_name else tag


class Logger(contextlib.AbstractContextManager["Logger"]):
    """Send each event to every backend; use it as a context manager.

    The methods are those of ``Backend``. A backend that raises OSError is named in one warning
    and removed; the others still receive the event.
    """

    def __init__(self, backends: Iterable[Backend]) -> None:
        self._backends = list(backends)

    def scalar(self, tag: str, value: float | Tensor, step: int) -> None:
        """Add one point to the curve ``tag``, such as train/loss; value may be a 0-d tensor."""
        number = float(value)
        self._each(lambda backend: backend.scalar(tag, number, step))

    def image(self, tag: str, image: Tensor, step: int) -> None:
        """Show ``[3, H, W]`` uint8 RGB under the title ``tag``, see ``image_tag``."""
        self._each(lambda backend: backend.image(tag, image, step))

    def histogram(self, tag: str, values: Tensor, step: int) -> None:
        """Show how ``values`` (any shape, any device) are distributed."""
        self._each(lambda backend: backend.histogram(tag, values, step))

    def pr_curve(self, tag: str, targets: Tensor, scores: Tensor, step: int) -> None:
        """Show precision against recall for ``[N]`` targets in {0, 1} and scores in [0, 1]."""
        self._each(lambda backend: backend.pr_curve(tag, targets, scores, step))

    def pr_points(self, tag: str, points: Sequence[tuple[float, float]], step: int) -> None:
        """Show a curve of (recall, precision), recall ascending, that was computed elsewhere."""
        self._each(lambda backend: backend.pr_points(tag, points, step))

    def settings(self, settings: Mapping[str, object], metrics: Mapping[str, float]) -> None:
        """Keep settings (dotted names) and final metrics; call it once, at the end of a run."""
        self._each(lambda backend: backend.settings(settings, metrics))

    def flush(self) -> None:
        """Pass all events logged so far to the operating system."""
        self._each(lambda backend: backend.flush())

    def close(self) -> None:
        """Finish every backend, waiting a few seconds at most for a slow server."""
        self._each(lambda backend: backend.close())
        self._backends.clear()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _each(self, send: Callable[[Backend], None]) -> None:
        for backend in list(self._backends):
            try:
                send(backend)
            except OSError as error:
                self._backends.remove(backend)
                _warn_of(backend.name, error)
                with contextlib.suppress(OSError):  # the same failure again
                    backend.close()


@dataclass(frozen=True, slots=True)
class RunEvents:
    """The events of a run, for a backend that is opened.

    Attributes:
        run_dir: the run's folder.
        visdom: where to show live windows.
        last_step: what was logged before and is of a later step will be logged again; -1 for all.
        again: tags with these prefixes will be logged again for ``last_step``, too.
    """

    run_dir: Path
    visdom: VisdomSettings
    last_step: int
    again: tuple[str, ...]


def _open_metrics_file(run: RunEvents) -> Backend:
    return MetricsFile(run.run_dir / METRICS_FILE, last_step=run.last_step, again=run.again)


# These are imported when they are opened: each takes a second, and visdom and MLflow are optional
# dependencies.
def _open_tensorboard(run: RunEvents) -> Backend:
    from tools.loggers.tensorboard import BYTES_OF_A_RUN, TensorBoardEvents

    folder = run.run_dir / "events"
    return TensorBoardEvents(folder, last_step=run.last_step, max_bytes=BYTES_OF_A_RUN)


def _open_visdom(run: RunEvents) -> Backend | None:
    if not run.visdom.server:
        return None
    from tools.loggers.visdom import VisdomWindows

    settings = run.visdom.named_after(run.run_dir)
    return VisdomWindows(settings, read_metrics(run.run_dir / METRICS_FILE))


def _open_mlflow(run: RunEvents) -> Backend | None:
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        return None
    from tools.loggers.mlflow import MLflowRun

    return MLflowRun(run.run_dir, uri, is_resumed=run.last_step >= 0)


BACKENDS: dict[str, Callable[[RunEvents], Backend | None]] = {
    METRICS_FILE: _open_metrics_file,
    "TensorBoard": _open_tensorboard,
    "visdom": _open_visdom,
    "MLflow": _open_mlflow,
}
"""Opened in this order for every run; None where the settings ask for no such events."""


def open_logger(
    run_dir: Path,
    visdom: VisdomSettings,
    *,
    resume_step: int | None,
    again: tuple[str, ...] = (),
) -> Logger:
    """Open every backend of ``BACKENDS`` that the settings ask for.

    Args:
        run_dir: the run's folder; made if it does not exist.
        visdom: where to show live windows.
        resume_step: the last step of the resumed checkpoint; events of later steps are removed,
            because they will be logged again. None starts from the beginning and removes all
            events of an earlier run in this folder.
        again: tags with these prefixes will be logged again for ``resume_step`` too, because the
            earlier run ended between their lines.
    """
    last_step = -1 if resume_step is None else resume_step
    target = RunEvents(run_dir, visdom, last_step, again)
    backends = []
    for name, open_backend in BACKENDS.items():
        try:
            with saying(f"opening {name}"):
                backend = open_backend(target)
        except (OSError, ImportError) as error:
            _warn_of(name, error)
        else:
            backends += [] if backend is None else [backend]
    return Logger(backends)


def _warn_of(name: str, error: Exception) -> None:
    warn(f"{name} is switched off, the run continues without it: {error}")
