"""Live windows on a visdom server, sent from a thread so that no server can delay a run.

The training thread puts its events into a queue and never waits; a worker sends them a few times a
second. The first failure of the server ends the worker and is raised at the next event. Related
curves share a window, so the number of windows does not grow with the number of classes.
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

from tools.loggers.backend import Backend
from tools.loggers.colors import CLASS_COLORS
from tools.loggers.logger import LOGGED_IMAGE
from tools.loggers.settings import MAIN, VisdomSettings

JPEG_QUALITY = 80
# Window and line of the curves that share a window; every other curve has a separate one.
SHARED_WINDOWS = (
    re.compile(r"(?P<window>[^/]+/[^/]+)/(?P<line>.+)", re.DOTALL),  # validation/ap/cat
    re.compile(r"(?P<window>validation/errors)_(?P<line>.+)", re.DOTALL),
    re.compile(r"(?P<line>train|validation|baseline)/(?P<window>loss|metric\d)"),
    re.compile(r"(?P<window>baseline)/(?P<line>.+)", re.DOTALL),
)
FIRST, LAST = "first_", "last_"  # begin the windows of the same image in two epochs
SIZE_OF_MANY = {"width": 620, "height": 510}  # pixels; the names of 20 classes fit
WIDEST = 700  # pixels of an image; two fit side by side on a page of 1440 or more
Points = list[tuple[int, float]]


def window_and_line(tag: str) -> tuple[str, str]:
    """The window that shows a curve, and the curve's name in its legend.

    ``validation/ap/cat`` is the line cat of the window validation/ap, ``train/loss`` the line train
    of the window loss. A curve with a separate window gives its name twice.
    """
    for pattern in SHARED_WINDOWS:
        if match := pattern.fullmatch(tag):
            return match["window"], match["line"]
    return tag, tag


def image_window(tag: str) -> str:
    """The window of an image: one for epoch 0, one for all later epochs; else one for each tag."""
    match = LOGGED_IMAGE.fullmatch(tag)
    return f"{LAST if int(match[1]) else FIRST}{match[3]}" if match else tag


class VisdomWindows(Backend):
    """Show curves and images in windows; other kinds are not shown.

    Args:
        settings: server, port and environment.
        history: earlier points of each curve, drawn again when its window gets its first new
            point, so that a resumed run and a new server show complete curves.
        timeout: seconds the server has for one answer.
        close_timeout: seconds ``close`` waits for the worker.
        pause: seconds between two times that the worker sends.
        max_points: points of one curve in the queue; more are left out.
        max_images: images in the queue; more are left out.
    """

    name = "visdom"

    def __init__(
        self,
        settings: VisdomSettings,
        history: Mapping[str, Sequence[tuple[int, float]]] | None = None,
        *,
        timeout: float = 2.0,
        close_timeout: float = 3.0,
        pause: float = 0.3,
        max_points: int = 10_000,
        max_images: int = 64,
    ) -> None:
        self._client = _Client(settings, timeout)
        self._history = {tag: list(points) for tag, points in (history or {}).items() if points}
        self._close_timeout, self._pause = close_timeout, pause
        self._max_points, self._max_images = max_points, max_images
        self._points: dict[str, Points] = {}
        self._images: dict[str, tuple[str, NDArray[np.uint8]]] = {}
        self._failure = ""
        self._left_out = 0
        self._closing = self._abandoned = False
        self._drawn: dict[str, list[str]] = {}  # lines of each window, in the order of their colors
        self._changed = threading.Condition()  # guards everything above that both threads use
        self._worker = threading.Thread(target=self._work, name="visdom", daemon=True)
        self._worker.start()

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Queue one point of the curve ``tag``."""
        with self._changed:
            self._raise_failure()
            points = self._points.setdefault(tag, [])
            if len(points) < self._max_points:
                points.append((step, value))
            else:
                self._left_out += 1
            self._changed.notify()

    def image(self, tag: str, image: Tensor, step: int) -> None:
        """Queue an image; it replaces one that still waits for the same window."""
        window = image_window(tag)
        with self._changed:
            self._raise_failure()
            if window in self._images or len(self._images) < self._max_images:
                self._images[window] = (tag, image.detach().cpu().numpy().copy())
            else:
                self._left_out += 1
            self._changed.notify()

    def close(self) -> None:
        """Wait ``close_timeout`` seconds for the queued events.

        Raises:
            ConnectionError: the server failed.
            TimeoutError: the server was too slow to show everything.
        """
        if self._abandoned:
            return
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._worker.join(self._close_timeout)
        with self._changed:
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
            while self._send_queued():
                pass
        except Exception as error:  # of any kind: the other thread raises it
            with self._changed:
                self._failure = str(error) or type(error).__name__

    def _send_queued(self) -> bool:
        """Send the queued events; False when no more can follow."""
        with self._changed:
            self._changed.wait_for(lambda: self._points or self._images or self._closing)
            curves, self._points = self._points, {}
            images, self._images = self._images, {}
        for tag, points in curves.items():
            if not self._abandoned:
                self._draw_curve(tag, points)
        for window, (title, image) in images.items():
            if not self._abandoned:
                self._draw_image(window, title, image)
        with self._changed:
            self._changed.wait_for(lambda: self._closing, timeout=self._pause)
            return bool(self._points or self._images or not self._closing)

    def _draw_curve(self, tag: str, points: Points) -> None:
        """Append, or draw the window again the first time: the server may show another run."""
        window, _ = window_and_line(tag)
        is_new = window not in self._drawn
        drawn = self._drawn.setdefault(window, [])
        lines = self._earlier_lines(window) if is_new else {}
        lines[tag] = lines.get(tag, []) + points
        for number, line in enumerate(lines):
            if line not in drawn:
                drawn.append(line)
            color = CLASS_COLORS[drawn.index(line) % len(CLASS_COLORS)]
            self._draw_line(line, lines[line], color=color, is_first=is_new and number == 0)

    def _earlier_lines(self, window: str) -> dict[str, Points]:
        tags = [tag for tag in self._history if window_and_line(tag)[0] == window]
        return {tag: self._history.pop(tag) for tag in tags}

    def _draw_line(self, tag: str, points: Points, *, color: str, is_first: bool) -> None:
        """Append to a line; the first line of a window replaces its content."""
        steps = np.array([step for step, _ in points], dtype=np.float64)
        # "Infinity" is not JSON for a browser; a NaN is sent as null and leaves a gap.
        values = np.array([y if math.isfinite(y) else math.nan for _, y in points])
        # plotly reads titles and names as HTML, but shows &quot; unchanged
        title, name = (html.escape(text, quote=False) for text in window_and_line(tag))
        options = {
            "title": title,
            "xlabel": "iteration",
            "showlegend": name != title,
            "markers": not tag.startswith("train/"),  # a single point is invisible without one
            "markersize": 4,
            "linecolor": np.array([list(bytes.fromhex(color[1:]))]),
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
            # The page orders windows by their creation, so the second one is made right after it.
            self._draw_image(LAST + window.removeprefix(FIRST), title, image)


def _check_answer(answer: str, window: str) -> None:
    """Raise ValueError unless the server answers with the name of the window."""
    if answer != window:
        raise ValueError(f"answered {answer[:80]!r}; is this a visdom server?")


class _ServerError(Exception):
    """The server gave no usable answer. Not an OSError: the client prints some of those itself."""


class _Client(visdom.Visdom):
    """visdom's client with a timeout and without the 70 lines that it prints at a failure."""

    def __init__(self, settings: VisdomSettings, timeout: float) -> None:
        logging.getLogger("visdom").setLevel(logging.CRITICAL)
        super().__init__(
            server=settings.server,
            port=settings.port,
            env=settings.env or MAIN,
            raise_exceptions=True,
            use_incoming_socket=False,
            send=False,  # or else this call connects and waits
        )
        self.send = True
        self.address = f"{settings.server}:{settings.port}"
        self._timeout = timeout

    def _handle_post(self, url: str, data: str = "{}") -> str:
        """Post and return the answer; visdom intends this method to be overridden."""
        try:
            with urllib.request.urlopen(url, data.encode(), timeout=self._timeout) as answer:
                text: bytes = answer.read(100_000)
        except (OSError, http.client.HTTPException) as error:
            raise _ServerError(f"{type(error).__name__}: {error}") from error
        return text.decode(errors="replace")
