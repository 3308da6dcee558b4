"""The logger against full disks, wrong folders and every kind of bad visdom server."""

import contextlib
import json
import math
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)
from torch import Tensor

from tools.loggers.backend import Backend
from tools.loggers.logger import Logger, image_tag, open_logger
from tools.loggers.metrics_file import MetricsFile, read_metrics, truncate_after
from tools.loggers.settings import VisdomSettings
from tools.loggers.tensorboard import TensorBoardEvents, sample_values
from tools.loggers.visdom import VisdomWindows

IMAGE = torch.arange(3 * 8 * 12, dtype=torch.uint8).reshape(3, 8, 12)
STEPS = range(1, 31)
Answer = Callable[["Request", int], None]


class Request(BaseHTTPRequestHandler):
    """One POST to a fake server."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server: Any = self.server
        server.count += 1
        server.answer(self, server.count)

    def reply(self, text: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def reply_as_visdom(self) -> None:
        self.reply("true" if self.path == "/win_exists" else self.body["win"])

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, *args: object) -> None:
        pass


class FakeServer(ThreadingHTTPServer):
    daemon_threads = True
    count = 0
    answer: Answer

    def handle_error(self, *args: object) -> None:
        pass


@contextlib.contextmanager
def fake_visdom(answer: Answer) -> Iterator[VisdomSettings]:
    server = FakeServer(("127.0.0.1", 0), Request)
    server.answer = answer
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield VisdomSettings("127.0.0.1", server.server_address[1])
    server.shutdown()
    thread.join()
    server.server_close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def answer_slowly(request: Request, count: int) -> None:
    time.sleep(0.3)
    request.reply_as_visdom()


def answer_later_than_anyone_waits(request: Request, count: int) -> None:
    time.sleep(8)


def answer_a_byte_at_a_time(request: Request, count: int) -> None:
    request.send_response(200)
    request.end_headers()
    for _ in range(50):
        request.wfile.write(b"x")
        time.sleep(0.1)


def answer_500(request: Request, count: int) -> None:
    request.reply("trouble", 500)


def answer_a_page(request: Request, count: int) -> None:
    request.reply("<html>Welcome to nginx!</html>")


def answer_noise(request: Request, count: int) -> None:
    request.wfile.write(b"\x00\xff noise\r\n\r\n")
    request.close_connection = True


def answer_with_a_reset(request: Request, count: int) -> None:
    request.reset()


def die_at_the_third_request(request: Request, count: int) -> None:
    if count < 3:
        request.reply_as_visdom()
    else:
        request.reset()


BAD_ANSWERS = [
    answer_slowly,
    answer_later_than_anyone_waits,
    answer_a_byte_at_a_time,
    answer_500,
    answer_a_page,
    answer_noise,
    answer_with_a_reset,
    die_at_the_third_request,
]


def log_a_run(logger: Logger) -> None:
    for step in STEPS:
        logger.scalar("train/loss", 1 / step, step)
        logger.image(image_tag(1, step, 0, 0, "cat"), IMAGE, step)
    logger.close()


def tensorboard_reads(folder: Path) -> Any:
    events = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    return events


def assert_files_hold_the_run(run_dir: Path) -> None:
    expected = [(step, 1 / step) for step in STEPS]
    assert read_metrics(run_dir / "metrics.jsonl") == {"train/loss": expected}
    events = tensorboard_reads(run_dir / "events")
    assert [event.step for event in events.Scalars("train/loss")] == list(STEPS)
    assert len(events.Tags()["images"]) == len(STEPS)


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Writing beyond ``size`` bytes raises OSError, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# Bad visdom servers


@pytest.mark.parametrize("answer", BAD_ANSWERS)
def test_a_bad_visdom_server_costs_one_warning_and_little_time(
    answer: Answer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    warnings: list[str] = []
    with fake_visdom(answer) as settings:
        start = time.perf_counter()
        windows = VisdomWindows(settings, timeout=0.6, patience=1.0, pause=0.02)
        backends: list[Backend] = [
            windows,
            MetricsFile(tmp_path / "metrics.jsonl"),
            TensorBoardEvents(tmp_path / "events"),
        ]
        log_a_run(Logger(backends, warn=warnings.append))
        seconds = time.perf_counter() - start

    assert len(warnings) == 1
    assert "visdom is switched off" in warnings[0]
    assert seconds < 3  # 1 of them is patience, the rest a busy machine
    assert_files_hold_the_run(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_a_server_that_never_answers_costs_less_than_five_seconds(tmp_path: Path) -> None:
    warnings: list[str] = []
    with fake_visdom(answer_later_than_anyone_waits) as settings:
        start = time.perf_counter()
        log_a_run(open_logger(tmp_path, settings, resume_step=None, warn=warnings.append))
        seconds = time.perf_counter() - start

    assert len(warnings) == 1
    assert seconds < 5
    assert_files_hold_the_run(tmp_path)


def test_a_server_that_is_not_there_costs_one_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = VisdomSettings("127.0.0.1", free_port())

    log_a_run(open_logger(tmp_path, settings, resume_step=None))

    printed, error = capfd.readouterr()
    assert printed == ""
    assert error.startswith("warning: visdom is switched off, the run goes on without it")
    assert len(error.splitlines()) == 1
    assert_files_hold_the_run(tmp_path)


def test_a_failed_server_is_named_at_the_next_event() -> None:
    warnings: list[str] = []
    logger = Logger([VisdomWindows(VisdomSettings("127.0.0.1", free_port()))], warn=warnings.append)
    for step in range(100):
        logger.scalar("loss", 1.0, step)
        time.sleep(0.01)

    assert len(warnings) == 1
    assert "Connection refused" in warnings[0]


def test_a_missing_visdom_package_costs_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tools.loggers.visdom", None)
    warnings: list[str] = []

    settings = VisdomSettings("127.0.0.1")
    log_a_run(open_logger(tmp_path, settings, resume_step=None, warn=warnings.append))

    assert len(warnings) == 1
    assert_files_hold_the_run(tmp_path)


def test_a_full_mailbox_leaves_events_out_and_says_how_many() -> None:
    warnings: list[str] = []
    with fake_visdom(answer_slowly) as settings:
        windows = VisdomWindows(settings, pause=0.02, max_points=10, max_images=1)
        logger = Logger([windows], warn=warnings.append)
        logger.scalar("other", 0.0, 0)
        time.sleep(0.1)  # the worker now waits for an answer
        for step in range(15):
            logger.scalar("loss", 0.0, step)
        for name in "abc":
            logger.image(name, IMAGE, 0)
        logger.close()

    assert len(warnings) == 1
    assert "too slow for 7 events" in warnings[0]


# A real visdom server


@pytest.fixture(scope="module")
def real_visdom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VisdomSettings]:
    port = free_port()
    # Started this way it does not try to download its web page.
    start = "from visdom.server.run_server import main; main()"
    folder = tmp_path_factory.mktemp("visdom")
    flags = ["-bind_local", "-port", str(port), "-env_path", str(folder)]
    command = [sys.executable, "-c", start, *flags, "-logging_level", "ERROR"]
    with (folder / "log.txt").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
        for _ in range(200):
            time.sleep(0.1)
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
        yield VisdomSettings("127.0.0.1", port)
        server.terminate()
        server.wait()


def shown(settings: VisdomSettings, env: str) -> dict[str, Any]:
    """Give the windows of an environment by their id."""
    query = json.dumps({"win": None, "eid": env}).encode()
    url = f"http://{settings.server}:{settings.port}/win_data"
    with urllib.request.urlopen(url, query, timeout=5) as answer:
        text = answer.read().decode()
    assert "Infinity" not in text  # a browser could not read it
    windows: dict[str, Any] = json.loads(text)
    return windows


def open_real(settings: VisdomSettings, env: str, **options: Any) -> Logger:
    def fail(message: str) -> None:
        raise AssertionError(message)

    there = VisdomSettings(settings.server, settings.port, env)
    return Logger([VisdomWindows(there, pause=0.02, **options)], warn=fail)


def test_a_curve_grows_in_one_window(real_visdom: VisdomSettings) -> None:
    with open_real(real_visdom, "curve") as logger:
        for step in range(1, 4):
            logger.scalar("train/loss", torch.tensor(1 / step), step)
            time.sleep(0.1)

    windows = shown(real_visdom, "curve")
    assert list(windows) == ["train/loss"]
    assert windows["train/loss"]["title"] == "train/loss"
    (line,) = windows["train/loss"]["content"]["data"]
    assert line["x"] == [1, 2, 3]
    assert line["y"] == pytest.approx([1, 1 / 2, 1 / 3])


def test_values_that_are_not_finite_leave_a_gap_in_the_curve(real_visdom: VisdomSettings) -> None:
    with open_real(real_visdom, "gap") as logger:
        for step, value in enumerate([1.0, math.nan, math.inf, 2.0]):
            logger.scalar("loss", value, step)

    (line,) = shown(real_visdom, "gap")["loss"]["content"]["data"]
    assert line["y"] == [1, None, None, 2]


def test_a_resumed_curve_is_drawn_whole_and_without_the_lost_steps(
    real_visdom: VisdomSettings, tmp_path: Path
) -> None:
    settings = VisdomSettings(real_visdom.server, real_visdom.port, "resumed")
    with open_logger(tmp_path, settings, resume_step=None) as logger:
        for step in (1, 2, 3):
            logger.scalar("loss", step, step)
    with open_logger(tmp_path, settings, resume_step=2) as logger:
        for step in (3, 4):
            logger.scalar("loss", 10 * step, step)

    (line,) = shown(real_visdom, "resumed")["loss"]["content"]["data"]
    assert line["x"] == [1, 2, 3, 4]
    assert line["y"] == [1, 2, 30, 40]


def test_an_image_with_the_same_window_replaces_the_one_before(
    real_visdom: VisdomSettings,
) -> None:
    with open_real(real_visdom, "images") as logger:
        for epoch in (1, 2, 3):
            window = None if epoch == 1 else "latest"
            logger.image(image_tag(epoch, 9, 0, 2), IMAGE, epoch, window=window)
            time.sleep(0.1)

    windows = shown(real_visdom, "images")
    assert list(windows) == ["ep1_iter9_batch0_image2", "latest"]
    assert windows["latest"]["title"] == "ep3_iter9_batch0_image2"
    assert windows["latest"]["content"]["src"].startswith("data:image/jpeg")


def test_names_of_curves_reach_visdom_escaped(real_visdom: VisdomSettings) -> None:
    with open_real(real_visdom, "escaped") as logger:
        logger.scalar("AP/<b>cat</b>", 0.5, 0)
        time.sleep(0.2)
        logger.scalar("AP/<b>cat</b>", 0.5, 1)

    text = json.dumps(shown(real_visdom, "escaped"))
    assert "AP/&lt;b&gt;cat" in text
    assert "<b>" not in text


def test_kinds_that_visdom_cannot_show_do_nothing(real_visdom: VisdomSettings) -> None:
    with open_real(real_visdom, "others") as logger:
        logger.histogram("weights", torch.ones(3), 0)
        logger.pr_curve("cat", torch.ones(3), torch.ones(3), 0)
        logger.settings({"lr": 0.1}, {"map": 0.5})
        logger.flush()
        logger.scalar("loss", 1.0, 0)

    assert list(shown(real_visdom, "others")) == ["loss"]


# Folders and disks


def test_an_events_folder_that_is_a_file_costs_one_warning(tmp_path: Path) -> None:
    (tmp_path / "events").write_text("not a folder")
    warnings: list[str] = []

    log_a_run(open_logger(tmp_path, VisdomSettings(), resume_step=None, warn=warnings.append))

    assert len(warnings) == 1
    assert "TensorBoard is switched off" in warnings[0]
    assert len(read_metrics(tmp_path / "metrics.jsonl")["train/loss"]) == len(STEPS)


def test_a_disk_that_fills_up_costs_one_warning_a_backend(tmp_path: Path) -> None:
    warnings: list[str] = []
    logger = open_logger(tmp_path, VisdomSettings(), resume_step=None, warn=warnings.append)
    with files_of_at_most(1000):
        log_a_run(logger)

    assert [message.split()[0] for message in warnings] == ["TensorBoard", "metrics.jsonl"]
    assert 5 < len(read_metrics(tmp_path / "metrics.jsonl")["train/loss"]) < len(STEPS)
    assert tensorboard_reads(tmp_path / "events").Scalars("train/loss")


def test_a_disk_that_is_full_from_the_start_costs_one_warning_a_backend(tmp_path: Path) -> None:
    warnings: list[str] = []
    with files_of_at_most(0):
        log_a_run(open_logger(tmp_path, VisdomSettings(), resume_step=None, warn=warnings.append))

    assert [message.split()[0] for message in warnings] == ["TensorBoard", "metrics.jsonl"]


def test_what_was_logged_survives_a_kill(tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from tools.loggers.logger import open_logger
from tools.loggers.settings import VisdomSettings
logger = open_logger(Path({str(tmp_path)!r}), VisdomSettings(), resume_step=None)
for step in range(100):
    logger.scalar("loss", 1.0, step)
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program], check=False)

    assert killed.returncode == -signal.SIGKILL
    assert len(read_metrics(tmp_path / "metrics.jsonl")["loss"]) == 100
    assert len(tensorboard_reads(tmp_path / "events").Scalars("loss")) == 100


# metrics.jsonl


def test_each_line_is_one_json_object_and_what_is_not_finite_is_null(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.jsonl"
    with Logger([MetricsFile(path)]) as logger:
        logger.scalar("train/loss", 0.5, 7)
        logger.scalar("train/loss", math.inf, 8)

    assert path.read_text() == (
        '{"step": 7, "tag": "train/loss", "value": 0.5}\n'
        '{"step": 8, "tag": "train/loss", "value": null}\n'
    )


def test_resuming_drops_a_torn_line_and_repeats_no_step(tmp_path: Path) -> None:
    for resume_step, first in ((None, 0), (5, 6)):
        with open_logger(tmp_path, VisdomSettings(), resume_step=resume_step) as logger:
            for step in range(first, 10):
                logger.scalar("loss", step, step)
        with (tmp_path / "metrics.jsonl").open("ab") as file:
            file.write(b'{"step": 5, "tag": "lo\xff')

    with open_logger(tmp_path, VisdomSettings(), resume_step=9):
        pass
    assert read_metrics(tmp_path / "metrics.jsonl") == {"loss": [(i, i) for i in range(10)]}
    scalars = tensorboard_reads(tmp_path / "events").Scalars("loss")
    assert [event.step for event in scalars] == list(range(10))


def test_lines_of_the_resumed_step_that_will_come_again_are_taken_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with Logger([MetricsFile(path)]) as logger:
        for tag, step in (("validation/map", 1), ("train/loss", 2), ("validation/map", 2)):
            logger.scalar(tag, 0.5, step)

    truncate_after(path, 2, again=("validation/",))

    assert read_metrics(path) == {"validation/map": [(1, 0.5)], "train/loss": [(2, 0.5)]}


def test_a_run_from_nothing_keeps_no_line_of_an_earlier_one(tmp_path: Path) -> None:
    for _ in range(2):
        with open_logger(tmp_path, VisdomSettings(), resume_step=None) as logger:
            logger.scalar("loss", 1.0, 0)

    assert read_metrics(tmp_path / "metrics.jsonl") == {"loss": [(0, 1.0)]}
    assert len(tensorboard_reads(tmp_path / "events").Scalars("loss")) == 1


def test_lines_that_are_no_events_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    event = '{"step": 1, "tag": "loss", "value": null}\n'
    path.write_text('[1]\n{"step": 1}\n\n' + event + event.strip())

    truncate_after(path, 1)

    assert path.read_text() == event
    ((step, value),) = read_metrics(path)["loss"]
    assert step == 1
    assert math.isnan(value)


def test_a_missing_file_has_no_curves(tmp_path: Path) -> None:
    truncate_after(tmp_path / "metrics.jsonl", 3)

    assert read_metrics(tmp_path / "metrics.jsonl") == {}


# TensorBoard


def tensorboard_of(folder: Path, log: Callable[[Logger], None]) -> Any:
    def fail(message: str) -> None:
        raise AssertionError(message)

    with Logger([TensorBoardEvents(folder)], warn=fail) as logger:
        log(logger)
    return tensorboard_reads(folder)


@pytest.mark.parametrize("values", [torch.full((5,), math.nan), torch.zeros(0)])
def test_a_histogram_of_nothing_finite_is_left_out(values: Tensor, tmp_path: Path) -> None:
    events = tensorboard_of(tmp_path, lambda logger: logger.histogram("weights", values, 0))

    assert events.Tags()["histograms"] == []


@pytest.mark.parametrize("values", [torch.tensor([1.0, math.nan, -math.inf, 3.0]), torch.eye(2)])
def test_a_histogram_counts_the_finite_values(values: Tensor, tmp_path: Path) -> None:
    events = tensorboard_of(tmp_path, lambda logger: logger.histogram("weights", values, 4))

    (event,) = events.Histograms("weights")
    assert event.step == 4
    assert event.histogram_value.num == values.isfinite().sum()


def test_a_sample_is_small_spread_over_everything_and_the_same_each_time() -> None:
    values = torch.arange(1_000_000).reshape(1000, 1000)

    sample = sample_values(values, limit=100)

    assert len(sample) <= 100
    assert sample.max() > 980_000
    assert len(set((sample % 1000).tolist())) > 50
    assert sample.equal(sample_values(values, limit=100))


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_a_sample_of_few_values_is_all_of_them(count: int) -> None:
    values = torch.arange(count, dtype=torch.float64)

    assert sample_values(values, limit=7).equal(values)


def test_tensorboard_keeps_every_image_as_jpeg_under_its_tag(tmp_path: Path) -> None:
    def log(logger: Logger) -> None:
        for epoch in (1, 2):
            logger.image(image_tag(epoch, 5, 0, 3, "dog"), IMAGE, epoch, window="latest")

    events = tensorboard_of(tmp_path, log)

    tags = ["ep1_iter5_batch0_image3_dog", "ep2_iter5_batch0_image3_dog"]
    assert events.Tags()["images"] == tags
    (image,) = events.Images(tags[0])
    assert (image.height, image.width) == (8, 12)
    assert image.encoded_image_string[:2] == b"\xff\xd8"  # how every JPEG begins


def test_signs_that_tensorboard_cannot_serve_in_an_image_s_tag_become_quotes(
    tmp_path: Path,
) -> None:
    events = tensorboard_of(tmp_path, lambda logger: logger.image('a "b"\\c\nd <e>', IMAGE, 0))

    assert events.Tags()["images"] == ["a 'b''c'd <e>"]


def test_a_full_budget_leaves_out_images_and_never_points_of_curves(tmp_path: Path) -> None:
    def log(logger: Logger, images: range) -> None:
        for number in images:
            logger.image(f"image {number}", IMAGE, 0)
            logger.scalar("train/loss", 1.0, number)

    warnings: list[str] = []
    for images in (range(50), range(50, 60)):  # the second time as a resumed run does
        events = TensorBoardEvents(
            tmp_path, last_step=images.start - 1, max_bytes=20_000, warn=warnings.append
        )
        with Logger([events]) as logger:
            log(logger, images)

    read = tensorboard_reads(tmp_path)
    assert 10 < len(read.Tags()["images"]) < 50
    assert [point.step for point in read.Scalars("train/loss")] == list(range(60))
    assert [text.split(": ")[1] for text in warnings] == [
        "0.02 MB of events; only curves are added from here"
    ] * 2


def test_a_precision_recall_curve_leaves_out_scores_that_are_not_finite(tmp_path: Path) -> None:
    targets = torch.tensor([1.0, 0.0, 1.0, 0.0])
    scores = torch.tensor([0.9, 0.2, 0.6, math.nan])

    def log(logger: Logger) -> None:
        logger.pr_curve("cat", targets, scores, 1)
        logger.pr_curve("dog", targets[3:], scores[3:], 1)

    events = tensorboard_of(tmp_path, log)

    assert events.Tags()["tensors"] == ["custom_scalars__config__", "cat"]
    (curve,) = events.Tensors("cat")
    true_positives, false_positives = (
        curve.tensor_proto.float_val[0],
        curve.tensor_proto.float_val[127],
    )
    assert (true_positives, false_positives) == (2, 1)


def test_settings_stand_beside_the_final_metrics(tmp_path: Path) -> None:
    settings = {"optim.lr": 0.1, "model": "lite0", "sizes": [480, 576], "flip": True, "none": None}

    events = tensorboard_of(tmp_path, lambda logger: logger.settings(settings, {"image_map": 0.5}))

    assert events.Scalars("final/image_map")[0].value == 0.5
    plugin = events.summary_metadata["_hparams_/session_start_info"].plugin_data
    assert b"optim.lr" in plugin.content
    assert b"[480, 576]" in plugin.content
