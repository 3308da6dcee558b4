"""The logger against kills, full disks, wrong folders and every kind of bad visdom server."""

import contextlib
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.worlds import VisdomRequest, fake_visdom, files_of_at_most, forked, read_events
from tools.loggers.backend import Backend
from tools.loggers.logger import Logger, image_tag, open_logger
from tools.loggers.metrics_file import MetricsFile, read_metrics
from tools.loggers.settings import VisdomSettings
from tools.loggers.tensorboard import TensorBoardEvents
from tools.loggers.visdom import VisdomWindows

IMAGE = torch.arange(3 * 8 * 12, dtype=torch.uint8).reshape(3, 8, 12)
STEPS = range(1, 31)
Answer = Callable[[VisdomRequest, int], None]


def answer_slowly(request: VisdomRequest, count: int) -> None:
    time.sleep(0.3)
    request.reply(request.right_answer)


def never_answer(request: VisdomRequest, count: int) -> None:
    request.rfile.read(1)  # until the other side hangs up
    request.close_connection = True


def answer_a_byte_at_a_time(request: VisdomRequest, count: int) -> None:
    request.send_response(200)
    request.end_headers()
    for _ in range(50):
        request.wfile.write(b"x")
        time.sleep(0.1)


def answer_500(request: VisdomRequest, count: int) -> None:
    request.reply("trouble", 500)


def answer_a_page(request: VisdomRequest, count: int) -> None:
    request.reply("<html>Welcome to nginx!</html>")


def answer_noise(request: VisdomRequest, count: int) -> None:
    request.wfile.write(b"\x00\xff noise\r\n\r\n")
    request.close_connection = True


def reset(request: VisdomRequest, count: int) -> None:
    linger = struct.pack("ii", 1, 0)
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    request.connection.close()


def die_at_the_third_request(request: VisdomRequest, count: int) -> None:
    if count < 3:
        request.reply(request.right_answer)
    else:
        reset(request, count)


BAD_ANSWERS = [
    *(answer_slowly, never_answer, answer_a_byte_at_a_time, answer_500, answer_a_page),
    *(answer_noise, reset, die_at_the_third_request),
]


def log_a_run(logger: Logger) -> None:
    for step in STEPS:
        logger.scalar("train/loss", 1 / step, step)
        logger.image(image_tag(1, 9, 0, step, "cat"), IMAGE, step)
    logger.close()


def assert_files_hold_the_run(run_dir: Path) -> None:
    expected = [(step, 1 / step) for step in STEPS]
    assert read_metrics(run_dir / "metrics.jsonl") == {"train/loss": expected}
    events = read_events(run_dir / "events")
    assert [event.step for event in events.Scalars("train/loss")] == list(STEPS)
    assert len(events.Tags()["images"]) == len(STEPS)


def warnings_of(capture: pytest.CaptureFixture[str]) -> list[str]:
    """The warnings, which are all that has been printed."""
    printed = capture.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert all(line.startswith("warning: ") for line in lines)
    return [line.removeprefix("warning: ") for line in lines]


# Bad visdom servers


@pytest.mark.parametrize("answer", BAD_ANSWERS)
def test_a_bad_visdom_server_costs_one_warning_and_little_time(
    answer: Answer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with fake_visdom(answer) as server:
        start = time.perf_counter()
        backends: list[Backend] = [
            VisdomWindows(server.settings, timeout=0.6, close_timeout=1.0, pause=0.02),
            MetricsFile(tmp_path / "metrics.jsonl"),
            TensorBoardEvents(tmp_path / "events"),
        ]
        log_a_run(Logger(backends))
        seconds = time.perf_counter() - start

    (warning,) = warnings_of(capfd)
    assert "visdom is switched off" in warning
    assert seconds < 3  # 1 of them is the wait for the worker, the rest a busy machine
    assert_files_hold_the_run(tmp_path)


def test_a_server_that_never_answers_costs_less_than_five_seconds(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with fake_visdom(never_answer) as server:
        start = time.perf_counter()
        log_a_run(open_logger(tmp_path, server.settings, resume_step=None))
        seconds = time.perf_counter() - start

    assert len(warnings_of(capfd)) == 1
    assert seconds < 5


def test_a_server_that_is_not_there_costs_one_warning_at_the_next_event(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logger = open_logger(tmp_path, VisdomSettings("127.0.0.1", 1), resume_step=None)
    printed = ""
    for step in range(1000):
        logger.scalar("other", 1.0, step)
        if printed := capfd.readouterr().err:
            break
        time.sleep(0.01)
    log_a_run(logger)

    assert printed.startswith("warning: visdom is switched off")
    assert "Connection refused" in printed
    assert len(printed.splitlines()) == 1
    assert capfd.readouterr() == ("", "")
    assert len(read_metrics(tmp_path / "metrics.jsonl")["train/loss"]) == len(STEPS)


def test_a_missing_visdom_package_costs_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tools.loggers.visdom", None)

    settings = VisdomSettings("127.0.0.1")
    log_a_run(open_logger(tmp_path, settings, resume_step=None))

    assert len(warnings_of(capfd)) == 1
    assert_files_hold_the_run(tmp_path)


def test_a_full_queue_leaves_events_out_and_says_how_many(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with fake_visdom(answer_slowly) as server:
        windows = VisdomWindows(server.settings, pause=0.02, max_points=10, max_images=1)
        logger = Logger([windows])
        logger.scalar("other", 0.0, 0)
        time.sleep(0.1)  # the worker now waits for an answer
        for step in range(15):
            logger.scalar("loss", 0.0, step)
        for name in "abc":
            logger.image(name, IMAGE, 0)
        logger.close()

    (warning,) = warnings_of(capfd)
    assert "7 events" in warning


# Folders and disks


def test_an_events_folder_that_is_a_file_costs_one_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "events").write_text("not a folder")

    log_a_run(open_logger(tmp_path, VisdomSettings(), resume_step=None))

    assert [message.split()[0] for message in warnings_of(capfd)] == ["TensorBoard"]
    assert len(read_metrics(tmp_path / "metrics.jsonl")["train/loss"]) == len(STEPS)


@pytest.mark.parametrize("is_full_from_the_start", [False, True])
def test_a_full_disk_costs_one_warning_a_backend(
    is_full_from_the_start: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.ExitStack() as disk:
        if is_full_from_the_start:
            disk.enter_context(files_of_at_most(0))
        logger = open_logger(tmp_path, VisdomSettings(), resume_step=None)
        disk.enter_context(files_of_at_most(0 if is_full_from_the_start else 1000))
        log_a_run(logger)

    names = [message.split()[0] for message in warnings_of(capsys)]
    assert names == ["TensorBoard", "metrics.jsonl"]
    if not is_full_from_the_start:
        assert 5 < len(read_metrics(tmp_path / "metrics.jsonl")["train/loss"]) < len(STEPS)
        assert read_events(tmp_path / "events").Scalars("train/loss")


def log_until_killed(run_dir: Path) -> None:
    logger = open_logger(run_dir, VisdomSettings(), resume_step=None)
    for step in range(100):
        logger.scalar("loss", 1.0, step)
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_was_logged_survives_a_kill(tmp_path: Path) -> None:
    with forked(log_until_killed, tmp_path) as process:
        process.join(60)

    assert process.exitcode == -signal.SIGKILL
    assert len(read_metrics(tmp_path / "metrics.jsonl")["loss"]) == 100
    assert len(read_events(tmp_path / "events").Scalars("loss")) == 100


# Resumed runs


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
    scalars = read_events(tmp_path / "events").Scalars("loss")
    assert [event.step for event in scalars] == list(range(10))


def test_a_run_from_nothing_keeps_no_line_of_an_earlier_one(tmp_path: Path) -> None:
    for _ in range(2):
        with open_logger(tmp_path, VisdomSettings(), resume_step=None) as logger:
            logger.scalar("loss", 1.0, 0)

    assert read_metrics(tmp_path / "metrics.jsonl") == {"loss": [(0, 1.0)]}
    assert len(read_events(tmp_path / "events").Scalars("loss")) == 1
