"""A finished run once more in visdom: its curves, its images, and nothing where nothing is."""

import base64
import io
import json
import math
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.conftest import snapshot
from tests.tools_tests.loggers.test_visdom import RecordingServer, recording_server
from tools.loggers.logger import image_tag, open_logger
from tools.loggers.metrics_file import read_metrics
from tools.loggers.replay import first_and_last, read_images
from tools.loggers.settings import VisdomSettings
from tools.replay_visdom import main


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    with recording_server() as running:
        yield running


def image(gray: int) -> Tensor:
    return torch.full((3, 8, 12), gray, dtype=torch.uint8)


def log(run_dir: Path, epochs: range, resume_step: int | None = None) -> None:
    """Epochs of one step, with a loss, one class's AP, and two images each."""
    with open_logger(run_dir, VisdomSettings(), resume_step=resume_step) as logger:
        for epoch in epochs:
            logger.scalar("train/loss", 1 / (epoch + 1), epoch)
            logger.scalar("validation/ap/cat", epoch / 8, epoch)
            for number in range(2):
                logger.image(image_tag(epoch, epoch, 0, number, "cat"), image(epoch), epoch)


def words(run_dir: Path, server: RecordingServer, *others: str) -> list[str]:
    there = f"--visdom.server 127.0.0.1 --visdom.port {server.server_address[1]}"
    return ["--run-dir", str(run_dir), *there.split(), *others]


def test_the_curves_arrive_whole(
    tmp_path: Path, server: RecordingServer, capsys: pytest.CaptureFixture[str]
) -> None:
    log(tmp_path, range(4))

    assert main(words(tmp_path, server, "--visdom.env", "again")) == 0

    steps = [0, 1, 2, 3]
    assert server.lines("train/loss") == {"train/loss": (steps, [1, 1 / 2, 1 / 3, 1 / 4])}
    assert server.lines("validation/ap") == {"cat": (steps, [0, 1 / 8, 2 / 8, 3 / 8])}
    assert {event["eid"] for event in server.events} == {"again"}
    assert capsys.readouterr().out == (
        "2 curves and 4 images in 6 windows: "
        f"127.0.0.1:{server.server_address[1]}, environment again\n"
    )


def test_a_curve_longer_than_the_mailbox_of_a_live_run_is_whole_too(
    tmp_path: Path, server: RecordingServer
) -> None:
    lines = (json.dumps({"step": step, "tag": "loss", "value": 0.5}) for step in range(12_000))
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")

    assert main(words(tmp_path, server)) == 0

    steps, _ = server.lines("loss")["loss"]
    assert steps == list(range(12_000))


def test_of_the_images_the_first_and_the_last_epoch_are_shown(
    tmp_path: Path, server: RecordingServer
) -> None:
    log(tmp_path, range(12))

    assert main(words(tmp_path, server)) == 0

    shown = {
        event["win"]: event["opts"]["title"]
        for event in server.events
        if event["data"][0]["type"] == "image"
    }
    assert shown == {
        "first_batch0_image0": "ep0_iter0_batch0_image0_cat",
        "first_batch0_image1": "ep0_iter0_batch0_image1_cat",
        "last_batch0_image0": "ep11_iter11_batch0_image0_cat",
        "last_batch0_image1": "ep11_iter11_batch0_image1_cat",
    }


def test_an_image_of_no_epoch_has_a_window_of_its_name() -> None:
    images = {"final_boxes": b"1", "ep3_iter5_batch0_image1": b"2"}

    assert first_and_last(images) == {
        "final_boxes": ("final_boxes", b"1"),
        "first_batch0_image1": ("ep3_iter5_batch0_image1", b"2"),
    }


def test_images_of_steps_that_a_resumed_run_took_back_are_not_shown(tmp_path: Path) -> None:
    log(tmp_path, range(4))
    time.sleep(0.001)  # the name of an event file is its time in microseconds
    log(tmp_path, range(2, 3), resume_step=1)

    tags = list(read_images(tmp_path / "events"))

    assert tags == [image_tag(epoch, epoch, 0, i, "cat") for epoch in range(3) for i in range(2)]


def test_colors_stay_what_they_are(tmp_path: Path, server: RecordingServer) -> None:
    red = torch.zeros(3, 8, 12, dtype=torch.uint8)
    red[0] = 255
    with open_logger(tmp_path, VisdomSettings(), resume_step=None) as logger:
        logger.image("red", red, 0)

    assert main(words(tmp_path, server)) == 0

    (event,) = server.events
    encoded = event["data"][0]["content"]["src"].partition(",")[2]
    pixel = Image.open(io.BytesIO(base64.b64decode(encoded))).getpixel((5, 5))
    assert isinstance(pixel, tuple)
    assert pixel[0] > 240
    assert max(pixel[1:]) < 20


def test_at_most_60_windows_are_opened(
    tmp_path: Path, server: RecordingServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_logger(tmp_path, VisdomSettings(), resume_step=None) as logger:
        for number in range(50):
            logger.scalar(f"train/{number}", 0.5, 0)
            logger.image(f"image{number}", image(0), 0)

    assert main(words(tmp_path, server)) == 0

    assert len(server.windows) == 60
    assert {f"train/{number}" for number in range(50)} < server.windows
    warning = "warning: 40 of 100 windows are left out, image10 the first\n"
    assert capsys.readouterr().err == warning


def test_a_real_run_is_shown_and_left_as_it_was(small_run: Path, server: RecordingServer) -> None:
    before = snapshot(small_run)

    assert main(words(small_run, server)) == 0

    assert snapshot(small_run) == before
    curves = read_metrics(small_run / "metrics.jsonl")
    assert server.lines("train/loss")["train/loss"][0] == [step for step, _ in curves["train/loss"]]
    assert "first_batch0_image0" in server.windows
    assert "last_batch0_image0" in server.windows
    assert "final_boxes" in server.windows


def test_a_curve_without_a_single_value_gets_no_window(
    tmp_path: Path, server: RecordingServer
) -> None:
    with open_logger(tmp_path, VisdomSettings(), resume_step=None) as logger:
        logger.scalar("validation/corloc", math.nan, 0)
        logger.scalar("train/loss", 0.5, 0)

    assert main(words(tmp_path, server)) == 0
    assert server.windows == {"train/loss"}


def test_a_server_that_is_not_there_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log(tmp_path, range(1))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    there = f"--visdom.server 127.0.0.1 --visdom.port {port}"
    assert main(["--run-dir", str(tmp_path), *there.split()]) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: 127.0.0.1:{port}: ")
    assert "Connection refused" in line


def test_a_folder_without_a_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--run-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'metrics.jsonl'}: no run in this folder (train one with --run-dir)\n"
    )


def test_a_run_that_logged_nothing_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "metrics.jsonl").touch()

    assert main(["--run-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}: the run has logged nothing\n"


def test_an_image_that_does_not_decode_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "metrics.jsonl").touch()
    monkeypatch.setattr(
        "tools.loggers.replay.read_images", lambda events: {"boxes": b"\xff\xd8 cut"}
    )

    assert main(["--run-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "error: image boxes: does not decode\n"


def test_no_server_at_all_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--run-dir", str(tmp_path), "--visdom.server="]) == 2
    assert capsys.readouterr().err == (
        "error: --visdom.server: where? (localhost for one on this machine)\n"
    )
