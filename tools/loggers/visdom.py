"""Live windows on a visdom server, sent from a thread so that no server can hold up a run.

The training thread leaves its events in a mailbox and never waits; the worker empties it a few
times a second. The first failure of the server ends the worker and is raised at the next event.
Curves that belong together share a window, so their number does not grow with that of the classes.
"""

import html
import http.client
import logging
import math
import re
import threading
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import visdom
from numpy.typing import NDArray
from torch import Tensor

from tools.loggers.backend import FIRST, LAST, Backend
from tools.loggers.settings import VisdomSettings

JPEG_QUALITY = 80
# Window and line of a curve that shares a window; the others have one of their own.
SHARED_WINDOWS = (
    re.compile(r"([^/]+/[^/]+)/(.+)", re.DOTALL),  # validation/ap/cat
    re.compile(r"(validation/errors)_(.+)", re.DOTALL),
    re.compile(r"(baseline)/(.+)", re.DOTALL),
)
SIZE_OF_MANY = {"width": 620, "height": 510}  # pixels in which the names of 20 classes stand
WIDEST = 700  # pixels of such a window: two are side by side on a page of 1440 or more
Points = list[tuple[int, float]]


def window_and_line(tag: str) -> tuple[str, str]:
    """The window that shows a curve, and the curve's name in its legend.

    ``validation/ap/cat`` is the line cat of the window validation/ap. A curve that has a window of
    its own, such as train/loss, gives its name twice.
    """
    for pattern in SHARED_WINDOWS:
        if found := pattern.fullmatch(tag):
            return found[1], found[2]
    return tag, tag


class VisdomWindows(Backend):
    """Show curves and images in windows; other kinds are not shown.

    Args:
        settings: server, port and environment.
        history: earlier points of each curve, drawn again when its window gets its first new
            point, so that neither a resumed run nor a new server shows half a curve.
        timeout: seconds the server has for one answer.
        patience: seconds ``close`` waits for the worker.
        pause: seconds between two visits to the mailbox.
        max_points: points of one curve the mailbox holds; more are left out.
        max_images: images it holds; more are left out.
    """

    name = "visdom"

    def __init__(
        self,
        settings: VisdomSettings,
        history: Mapping[str, Sequence[tuple[int, float]]] | None = None,
        *,
        timeout: float = 2.0,
        patience: float = 3.0,
        pause: float = 0.3,
        max_points: int = 10_000,
        max_images: int = 64,
    ) -> None:
        self._client = _Client(settings, timeout)
        self._history = {tag: list(points) for tag, points in (history or {}).items() if points}
        self._patience, self._pause = patience, pause
        self._max_points, self._max_images = max_points, max_images
        self._points: dict[str, Points] = {}
        self._images: dict[str, tuple[str, NDArray[np.uint8]]] = {}
        self._failure = ""
        self._left_out = 0
        self._closing = self._abandoned = False
        self._drawn: set[str] = set()
        self._mail = threading.Condition()  # guards everything above that both threads touch
        self._worker = threading.Thread(target=self._work, name="visdom", daemon=True)
        self._worker.start()

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Leave one point of the curve ``tag``."""
        with self._mail:
            self._raise_failure()
            points = self._points.setdefault(tag, [])
            if len(points) < self._max_points:
                points.append((step, value))
            else:
                self._left_out += 1
            self._mail.notify()

    def image(self, tag: str, image: Tensor, step: int, *, window: str) -> None:
        """Leave an image; one that still waits for the same window is replaced."""
        with self._mail:
            self._raise_failure()
            if window in self._images or len(self._images) < self._max_images:
                self._images[window] = (tag, image.detach().cpu().numpy().copy())
            else:
                self._left_out += 1
            self._mail.notify()

    def close(self) -> None:
        """Wait a little for what is left.

        Raises:
            ConnectionError: the server failed.
            TimeoutError: the server was too slow to show everything.
        """
        if self._abandoned:
            return
        with self._mail:
            self._closing = True
            self._mail.notify()
        self._worker.join(self._patience)
        with self._mail:
            self._abandoned = True  # the thread ends after the request it waits for
            self._raise_failure()
        if self._worker.is_alive():
            raise TimeoutError(f"{self._client.address} did not take everything in time")
        if self._left_out:
            raise TimeoutError(f"{self._client.address} was too slow for {self._left_out} events")

    def _raise_failure(self) -> None:
        if self._failure:
            raise ConnectionError(f"{self._client.address}: {self._failure}")

    def _work(self) -> None:
        try:
            while self._visit_mailbox():
                pass
        except Exception as error:  # whatever it is, the other thread raises it
            with self._mail:
                self._failure = str(error) or type(error).__name__

    def _visit_mailbox(self) -> bool:
        """Show what has come in; False when nothing more will come."""
        with self._mail:
            self._mail.wait_for(lambda: self._points or self._images or self._closing)
            curves, self._points = self._points, {}
            images, self._images = self._images, {}
        for tag, points in curves.items():
            if not self._abandoned:
                self._draw_curve(tag, points)
        for window, (title, image) in images.items():
            if not self._abandoned:
                self._draw_image(window, title, image)
        with self._mail:
            self._mail.wait_for(lambda: self._closing, timeout=self._pause)
            return bool(self._points or self._images or not self._closing)

    def _draw_curve(self, tag: str, points: Points) -> None:
        """Append, or draw the whole window anew the first time: the server may show another run."""
        window, _ = window_and_line(tag)
        is_new = window not in self._drawn
        lines = self._earlier_lines(window) if is_new else {}
        lines[tag] = lines.get(tag, []) + points
        for number, line in enumerate(lines):
            self._draw_line(line, lines[line], is_first=is_new and number == 0)
        self._drawn.add(window)

    def _earlier_lines(self, window: str) -> dict[str, Points]:
        tags = [tag for tag in self._history if window_and_line(tag)[0] == window]
        return {tag: self._history.pop(tag) for tag in tags}

    def _draw_line(self, tag: str, points: Points, *, is_first: bool) -> None:
        """Append to a line; the first one of a window takes the place of what it showed."""
        steps = np.array([step for step, _ in points], dtype=np.float64)
        # "Infinity" is no JSON for a browser; a NaN travels as null and leaves a gap.
        values = np.array([y if math.isfinite(y) else math.nan for _, y in points])
        # plotly takes titles and names for HTML, and shows &quot; as it is
        title, name = (html.escape(text, quote=False) for text in window_and_line(tag))
        options = {
            "title": title,
            "xlabel": "iteration",
            "showlegend": name != title,
            "markers": not tag.startswith("train/"),  # a lone point without one cannot be seen
            "markersize": 4,
        }
        if is_first and tag.count("/") > 1:
            options |= SIZE_OF_MANY
        answer = self._client.line(
            Y=values,
            X=steps,
            win=title,
            name=name,
            update=None if is_first else "append",
            opts=options,
        )
        _check_answer(answer, title)

    def _draw_image(self, window: str, title: str, image: NDArray[np.uint8]) -> None:
        name = html.escape(window)
        options: dict[str, Any] = {"title": title, "jpgquality": JPEG_QUALITY}
        if window.startswith((FIRST, LAST)):
            height, width = image.shape[1:]
            shown = min(width, WIDEST)
            options |= {"width": shown, "height": round(height * shown / width)}
        _check_answer(self._client.image(image, win=name, opts=options), name)
        if window.startswith(FIRST):
            # The page orders windows by when they were made, so the second one is made at once.
            self._draw_image(LAST + window.removeprefix(FIRST), title, image)


def _check_answer(answer: str, window: str) -> None:
    """Raise ValueError unless the server names the window it has drawn."""
    if answer != window:
        raise ValueError(f"answered {answer[:80]!r}; is this a visdom server?")


class _ServerError(Exception):
    """The server gave no usable answer. No OSError: of these the client prints some itself."""


class _Client(visdom.Visdom):
    """visdom's client with a deadline and without its roughly 70 printed lines a failure."""

    def __init__(self, settings: VisdomSettings, timeout: float) -> None:
        logging.getLogger("visdom").setLevel(logging.CRITICAL)
        super().__init__(
            server=settings.server,
            port=settings.port,
            env=settings.env,
            raise_exceptions=True,
            use_incoming_socket=False,
            send=False,  # or else this call connects and waits
        )
        self.send = True
        self.address = f"{settings.server}:{settings.port}"
        self._timeout = timeout

    def _handle_post(self, url: str, data: str = "{}") -> str:
        """Post and give the answer; visdom means this method to be replaced."""
        try:
            with urllib.request.urlopen(url, data.encode(), timeout=self._timeout) as answer:
                text: bytes = answer.read(100_000)
        except (OSError, http.client.HTTPException) as error:
            raise _ServerError(f"{type(error).__name__}: {error}") from error
        return text.decode(errors="replace")
