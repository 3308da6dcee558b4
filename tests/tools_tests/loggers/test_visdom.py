"""How many windows a run opens, and which curves share one."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import torch

from data.datasets.voc import VOC_CLASSES
from tools.loggers.logger import Logger, image_tag
from tools.loggers.metrics_file import read_metrics
from tools.loggers.settings import VisdomSettings
from tools.loggers.visdom import VisdomWindows, window_and_line

IMAGE = torch.zeros(3, 8, 12, dtype=torch.uint8)


class Request(BaseHTTPRequestHandler):
    """One event, answered as visdom does and remembered."""

    def do_POST(self) -> None:
        server: Any = self.server
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asks = self.path == "/win_exists"
        if not asks:
            server.events.append(event)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"true" if asks else event["win"].encode())

    def log_message(self, *args: object) -> None:
        pass


class RecordingServer(ThreadingHTTPServer):
    """Remembers what a visdom would have shown."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.events: list[dict[str, Any]] = []

    @property
    def settings(self) -> VisdomSettings:
        return VisdomSettings("127.0.0.1", self.server_address[1])

    @property
    def windows(self) -> set[str]:
        return {event["win"] for event in self.events}

    def lines(self, window: str) -> dict[str, tuple[list[float], list[float]]]:
        """Steps and values of each line of a window, as visdom would put them together."""
        lines: dict[str, tuple[list[float], list[float]]] = {}
        for event in self.events:
            if event["win"] == window:
                if not event.get("append"):
                    lines = {}
                (data,) = event["data"]
                steps, values = lines.setdefault(data["name"], ([], []))
                steps += data["x"]
                values += data["y"]
        return lines


@contextmanager
def recording_server() -> Iterator[RecordingServer]:
    with RecordingServer() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    with recording_server() as running:
        yield running


def fail(message: str) -> None:
    raise AssertionError(message)


def open_logger(server: RecordingServer, **options: Any) -> Logger:
    return Logger([VisdomWindows(server.settings, pause=0.02, **options)], warn=fail)


def test_the_classes_of_a_metric_are_lines_of_one_window(server: RecordingServer) -> None:
    with open_logger(server) as logger:
        for step in (1, 2):
            for name in ("cat", "dog"):
                logger.scalar(f"validation/ap/{name}", step / 4, step)

    assert server.windows == {"validation/ap"}
    line = ([1, 2], [1 / 4, 2 / 4])
    assert server.lines("validation/ap") == {"cat": line, "dog": line}


@pytest.mark.parametrize(
    ("tag", "window", "line"),
    [
        ("loss", "loss", "loss"),
        ("train/loss", "train/loss", "train/loss"),
        ("validation/ap/cat", "validation/ap", "cat"),
        ("validation/ap/a/b", "validation/ap", "a/b"),
        ("validation/errors_part", "validation/errors", "part"),
        ("validation/box_map_area", "validation/box_map_area", "validation/box_map_area"),
        ("baseline/recall", "baseline", "recall"),
    ],
)
def test_a_curve_has_a_window_of_its_own_or_is_a_line_of_a_shared_one(
    tag: str, window: str, line: str
) -> None:
    assert window_and_line(tag) == (window, line)


def test_only_a_shared_window_has_a_legend(server: RecordingServer) -> None:
    with open_logger(server) as logger:
        logger.scalar("train/loss", 0.5, 1)
        logger.scalar("validation/ap/cat", 0.5, 1)

    legends = {event["win"]: event["layout"]["showlegend"] for event in server.events}
    assert legends == {"train/loss": False, "validation/ap": True}


def test_a_shared_window_is_redrawn_with_what_all_its_lines_have_behind_them(
    server: RecordingServer,
) -> None:
    history = {
        "validation/ap/cat": [(1, 0.25)],
        "validation/ap/dog": [(1, 0.5)],
        "validation/ap/cow": [],
        "train/loss": [(1, 2.0)],
    }
    with open_logger(server, history=history) as logger:
        logger.scalar("validation/ap/dog", 0.75, 2)

    assert server.windows == {"validation/ap"}
    assert server.lines("validation/ap") == {
        "cat": ([1], [0.25]),
        "dog": ([1, 2], [0.5, 0.75]),
    }


def test_names_of_lines_arrive_escaped(server: RecordingServer) -> None:
    with open_logger(server) as logger:
        for step in (1, 2):
            logger.scalar("validation/ap/<b>cat's", 0.5, step)

    assert server.lines("validation/ap") == {"&lt;b&gt;cat's": ([1, 2], [0.5, 0.5])}


def log_epochs(logger: Logger, image: torch.Tensor, epochs: int) -> None:
    for epoch in range(epochs):
        for number in range(2):
            window = f"{'last' if epoch else 'first'}_batch0_image{number}"
            logger.image(image_tag(epoch, 9, 0, number), image, epoch, window=window)


def test_the_windows_of_an_image_are_made_one_after_the_other(server: RecordingServer) -> None:
    with open_logger(server) as logger:
        log_epochs(logger, IMAGE, epochs=3)

    titles = {event["win"]: event["opts"]["title"] for event in server.events}
    assert list(titles.items()) == [
        ("first_batch0_image0", "ep0_iter9_batch0_image0"),
        ("last_batch0_image0", "ep2_iter9_batch0_image0"),
        ("first_batch0_image1", "ep0_iter9_batch0_image1"),
        ("last_batch0_image1", "ep2_iter9_batch0_image1"),
    ]


def test_a_run_of_one_epoch_shows_it_as_the_first_and_the_last(server: RecordingServer) -> None:
    with open_logger(server) as logger:
        log_epochs(logger, IMAGE, epochs=1)

    titles = {event["win"]: event["opts"]["title"] for event in server.events}
    assert titles["last_batch0_image1"] == titles["first_batch0_image1"] == image_tag(0, 9, 0, 1)


@pytest.mark.parametrize(
    ("size", "shown"), [((240, 1400), (120, 700)), ((240, 700), (240, 700)), ((8, 12), (8, 12))]
)
def test_a_wide_image_is_shown_small_enough_for_two_in_a_row(
    size: tuple[int, int], shown: tuple[int, int], server: RecordingServer
) -> None:
    with open_logger(server) as logger:
        log_epochs(logger, torch.zeros(3, *size, dtype=torch.uint8), epochs=2)
        logger.image("final_boxes", torch.zeros(3, 900, 1400, dtype=torch.uint8), 2)

    sizes = {
        event["win"]: (event["opts"]["height"], event["opts"]["width"]) for event in server.events
    }
    assert set(sizes.values()) == {shown, (900, 1400)}
    assert sizes["final_boxes"] == (900, 1400)


@pytest.mark.parametrize("run", ["small_run", "detector_run"])
def test_at_most_60_windows_are_open_however_long_the_run(
    run: str, request: pytest.FixtureRequest, server: RecordingServer
) -> None:
    logged = read_metrics(request.getfixturevalue(run) / "metrics.jsonl")
    tags = {tag.rpartition("/")[0] if tag.count("/") > 1 else tag for tag in logged}
    for name in VOC_CLASSES:
        tags |= {f"validation/ap/{name}", f"validation/box_ap/{name}"}

    with open_logger(server) as logger:
        for epoch in range(1, 6):
            for tag in sorted(tags):
                logger.scalar(tag, 0.5, epoch)
            for number in range(16):
                batch, image = divmod(number, 4)
                side = "first" if epoch == 1 else "last"
                window = f"{side}_batch{batch}_image{image}"
                logger.image(image_tag(epoch, 9, batch, image), IMAGE, epoch, window=window)
        logger.image("final_boxes", IMAGE, 5)

    assert len(server.windows) <= 60
    assert "last_batch3_image3" in server.windows
