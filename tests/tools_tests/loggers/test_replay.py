"""A finished run once more in visdom: its curves, its images, and nothing where nothing is."""

import base64
import io
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from torch import Tensor
from torch.utils.tensorboard import RecordWriter

from tests.conftest import snapshot
from tests.worlds import FakeVisdom, fake_visdom
from tools.loggers.logger import image_tag, open_logger
from tools.loggers.metrics_file import read_metrics
from tools.loggers.replay import read_images
from tools.loggers.settings import VisdomSettings
from tools.replay_visdom import main


@pytest.fixture
def server() -> Iterator[FakeVisdom]:
    with fake_visdom() as running:
        yield running


def image(gray: int) -> Tensor:
    return torch.full((3, 8, 12), gray, dtype=torch.uint8)


def log(run_dir: Path, epochs: range, resume_step: int | None = None) -> None:
    """Epochs of one step, with a loss, one class's AP, and two images each."""
    with open_logger(run_dir, VisdomSettings(), resume_step=resume_step) as logger:
        for epoch in epochs:
            logger.scalar("train/loss", 1 / (epoch + 1), epoch)
            logger.scalar("validation/ap/cat", epoch / 8, epoch)
            logger.scalar("validation/corloc", math.nan, epoch)  # never a value: no window
            for number in range(2):
                logger.image(image_tag(epoch, epoch, 0, number, "cat"), image(epoch), epoch)


def replay(run_dir: Path, server: FakeVisdom, *others: str) -> int:
    return main(["--run-dir", str(run_dir), *server.words, *others])


def test_curves_arrive_whole_with_the_images_of_the_first_and_the_last_epoch(
    tmp_path: Path, server: FakeVisdom, capsys: pytest.CaptureFixture[str]
) -> None:
    log(tmp_path, range(4))

    assert replay(tmp_path, server, "--visdom.env", "again") == 0

    steps = [0, 1, 2, 3]
    assert server.lines("loss") == {"train": (steps, [1, 1 / 2, 1 / 3, 1 / 4])}
    assert server.lines("validation/ap") == {"cat": (steps, [0, 1 / 8, 2 / 8, 3 / 8])}
    assert {event["eid"] for event in server.events} == {"again"}
    images = [event for event in server.events if event["data"][0]["type"] == "image"]
    assert {event["win"]: event["opts"]["title"] for event in images} == {
        "first_batch0_image0": "ep0_iter0_batch0_image0_cat",
        "first_batch0_image1": "ep0_iter0_batch0_image1_cat",
        "last_batch0_image0": "ep3_iter3_batch0_image0_cat",
        "last_batch0_image1": "ep3_iter3_batch0_image1_cat",
    }
    assert len(server.windows) == 6
    said = capsys.readouterr().out
    assert "2 curves and 4 images in 6 windows" in said
    assert f"{server.server_address[1]}, environment again" in said


def test_a_curve_longer_than_the_queue_of_a_live_run_is_whole_too(
    tmp_path: Path, server: FakeVisdom
) -> None:
    lines = (json.dumps({"step": step, "tag": "loss", "value": 0.5}) for step in range(12_000))
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")

    assert replay(tmp_path, server) == 0

    steps, _ = server.lines("loss")["loss"]
    assert steps == list(range(12_000))


def test_images_of_steps_that_a_resumed_run_took_back_are_not_shown(tmp_path: Path) -> None:
    log(tmp_path, range(4))
    time.sleep(0.001)  # the name of an event file is its time in microseconds
    log(tmp_path, range(2, 3), resume_step=1)

    tags = list(read_images(tmp_path / "events"))

    assert tags == [image_tag(epoch, epoch, 0, i, "cat") for epoch in range(3) for i in range(2)]


def test_colors_stay_what_they_are(tmp_path: Path, server: FakeVisdom) -> None:
    red = torch.zeros(3, 8, 12, dtype=torch.uint8)
    red[0] = 255
    with open_logger(tmp_path, VisdomSettings(), resume_step=None) as logger:
        logger.image("red", red, 0)

    assert replay(tmp_path, server) == 0

    (event,) = server.events
    encoded = event["data"][0]["content"]["src"].partition(",")[2]
    pixel = Image.open(io.BytesIO(base64.b64decode(encoded))).getpixel((5, 5))
    assert isinstance(pixel, tuple)
    assert pixel[0] > 240
    assert max(pixel[1:]) < 20


def test_at_most_60_windows_are_opened(
    tmp_path: Path, server: FakeVisdom, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_logger(tmp_path, VisdomSettings(), resume_step=None) as logger:
        for number in range(50):
            logger.scalar(f"train/{number}", 0.5, 0)
            logger.image(f"image{number}", image(0), 0)

    assert replay(tmp_path, server) == 0

    assert len(server.windows) == 60
    assert {f"train/{number}" for number in range(50)} < server.windows
    (warning,) = capsys.readouterr().err.splitlines()
    assert "40 of 100 windows" in warning
    assert "image10" in warning


def test_a_real_run_is_shown_and_left_as_it_was(small_run: Path, server: FakeVisdom) -> None:
    before = snapshot(small_run)

    assert replay(small_run, server) == 0

    assert snapshot(small_run) == before
    curves = read_metrics(small_run / "metrics.jsonl")
    assert server.lines("loss")["train"][0] == [step for step, _ in curves["train/loss"]]
    assert {"first_batch0_image0", "last_batch0_image0", "final_boxes"} <= server.windows


def test_a_server_that_is_not_there_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log(tmp_path, range(1))

    assert main(["--run-dir", str(tmp_path), "--visdom.port", "1"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: localhost:1: ")
    assert "Connection refused" in line


@pytest.mark.parametrize(
    ("word", "is_there", "named"),
    [
        ("--visdom.port=1", False, "{0}/metrics.jsonl"),
        ("--visdom.port=1", True, "{0}"),  # a run that logged nothing
        ("--visdom.server=", True, "--visdom.server"),
    ],
)
def test_what_cannot_be_replayed_is_refused(
    word: str, is_there: bool, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if is_there:
        (tmp_path / "metrics.jsonl").touch()

    assert main(["--run-dir", str(tmp_path), word]) == 2
    assert capsys.readouterr().err.startswith(f"error: {named.format(tmp_path)}: ")


def test_an_image_that_does_not_decode_is_named(
    tmp_path: Path, server: FakeVisdom, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "metrics.jsonl").touch()
    (tmp_path / "events").mkdir()
    cut = Summary.Image(height=8, width=12, colorspace=3, encoded_image_string=b"\xff\xd8 cut")
    event = Event(summary=Summary(value=[Summary.Value(tag="boxes", image=cut)]))
    with (tmp_path / "events" / "events.out.tfevents.1").open("wb") as file:
        RecordWriter(file).write(event.SerializeToString())

    assert replay(tmp_path, server) == 2
    assert "error: image boxes: " in capsys.readouterr().err


def test_the_environment_is_named_as_visdom_stores_it() -> None:
    assert VisdomSettings("here", 1, "team/lite0").place == "here:1, environment team_lite0"
