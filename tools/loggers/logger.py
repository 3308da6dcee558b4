"""One ``Logger`` that sends a run's events to TensorBoard, to visdom and to ``metrics.jsonl``.

``tools.loggers.backend`` lists the kinds of events; this module opens the backends and sends each
event to all of them. A backend that fails causes one warning and never stops the run.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from torch import Tensor

from tools.cli.console import warn
from tools.loggers.backend import Backend
from tools.loggers.metrics_file import MetricsFile, read_metrics
from tools.loggers.settings import VisdomSettings


def image_tag(epoch: int, iteration: int, batch: int, image: int, class_name: str = "") -> str:
    """Tag of a logged image; TensorBoard's filter finds an epoch or a class in it.

    In visdom the images of epoch 0 remain; those of each later epoch replace the ones before. An
    image with a tag of another form has a window of its own.
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


def open_logger(
    run_dir: Path,
    visdom: VisdomSettings,
    *,
    resume_step: int | None,
    again: tuple[str, ...] = (),
) -> Logger:
    """Open ``metrics.jsonl`` and ``events/`` of a run folder and, if a server is named, visdom.

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
    metrics_file = run_dir / "metrics.jsonl"
    openers: dict[str, Callable[[], Backend]] = {
        "metrics.jsonl": lambda: MetricsFile(metrics_file, last_step=last_step, again=again),
        "TensorBoard": lambda: _open_tensorboard(run_dir / "events", last_step),
    }
    if visdom.server:
        openers["visdom"] = lambda: _open_visdom(visdom, metrics_file)
    backends = []
    for name, open_backend in openers.items():
        try:
            backends.append(open_backend())
        except (OSError, ImportError) as error:
            _warn_of(name, error)
    return Logger(backends)


# These two are imported when they are opened: each takes a second, and visdom is an optional
# dependency.
def _open_tensorboard(folder: Path, last_step: int) -> Backend:
    from tools.loggers.tensorboard import BYTES_OF_A_RUN, TensorBoardEvents

    return TensorBoardEvents(folder, last_step=last_step, max_bytes=BYTES_OF_A_RUN)


def _open_visdom(settings: VisdomSettings, metrics_file: Path) -> Backend:
    from tools.loggers.visdom import VisdomWindows

    return VisdomWindows(settings, read_metrics(metrics_file))


def _warn_of(name: str, error: Exception) -> None:
    warn(f"{name} is switched off, the run continues without it: {error}")
