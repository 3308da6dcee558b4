"""What TensorBoard reads of the events: finite values, small images, one budget for a run."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.worlds import read_events
from tools.loggers.logger import Logger, image_tag
from tools.loggers.tensorboard import TensorBoardEvents, sample_values

IMAGE = torch.arange(3 * 8 * 12, dtype=torch.uint8).reshape(3, 8, 12)


def events_of(folder: Path, log: Callable[[Logger], None]) -> Any:
    with Logger([TensorBoardEvents(folder)]) as logger:
        log(logger)
    return read_events(folder)


@pytest.mark.parametrize(
    "values",
    [torch.tensor([1.0, math.nan, -math.inf, 3.0]), torch.full((5,), math.nan), torch.zeros(0)],
)
def test_a_histogram_counts_the_finite_values_and_without_any_there_is_none(
    values: Tensor, tmp_path: Path
) -> None:
    events = events_of(tmp_path, lambda logger: logger.histogram("weights", values, 4))

    counts = [
        (event.step, event.histogram_value.num)
        for tag in events.Tags()["histograms"]
        for event in events.Histograms(tag)
    ]
    finite = int(values.isfinite().sum())
    assert counts == ([(4, finite)] if finite else [])


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


def test_tensorboard_keeps_every_image_as_jpeg_and_those_of_all_epochs_under_one_tag(
    tmp_path: Path,
) -> None:
    def log(logger: Logger) -> None:
        for epoch in (1, 2):
            logger.image(image_tag(epoch, 5, 0, 3, "dog"), IMAGE, epoch)
        logger.image('a "b"\\c\nd <e>', IMAGE, 0)  # characters that its server cannot serve

    events = events_of(tmp_path, log)

    assert events.Tags()["images"] == ["images/batch0_image3_dog", "a 'b''c'd <e>"]
    image, later = events.Images("images/batch0_image3_dog")
    assert (image.step, later.step) == (1, 2)
    assert (image.height, image.width) == (8, 12)
    assert image.encoded_image_string[:2] == b"\xff\xd8"  # how every JPEG begins


def test_a_full_budget_leaves_out_images_and_never_points_of_curves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for images in (range(50), range(50, 60)):  # the second time as a resumed run does
        events = TensorBoardEvents(tmp_path, last_step=images.start - 1, max_bytes=20_000)
        with Logger([events]) as logger:
            for number in images:
                logger.image(f"image {number}", IMAGE, 0)
                logger.scalar("train/loss", 1.0, number)

    read = read_events(tmp_path)
    assert 10 < len(read.Tags()["images"]) < 50
    assert [point.step for point in read.Scalars("train/loss")] == list(range(60))
    warnings = capsys.readouterr().err.splitlines()
    assert ["0.02 MB" in text for text in warnings] == [True, True]


def test_a_precision_recall_curve_leaves_out_scores_that_are_not_finite(tmp_path: Path) -> None:
    targets = torch.tensor([1.0, 0.0, 1.0, 0.0])
    scores = torch.tensor([0.9, 0.2, 0.6, math.nan])

    def log(logger: Logger) -> None:
        logger.pr_curve("cat", targets, scores, 1)
        logger.pr_curve("dog", targets[3:], scores[3:], 1)

    events = events_of(tmp_path, log)

    assert events.Tags()["tensors"] == ["custom_scalars__config__", "cat"]
    (curve,) = events.Tensors("cat")
    # true and false positives
    assert (curve.tensor_proto.float_val[0], curve.tensor_proto.float_val[127]) == (2, 1)


def test_a_curve_that_is_given_has_as_many_points_at_every_step_and_its_ends(
    tmp_path: Path,
) -> None:
    def log(logger: Logger) -> None:
        logger.pr_points("cat", [(0.1, 1.0), (0.5, 0.75), (0.9, 0.25)], 1)
        logger.pr_points("cat", [(0.2, 1.0)], 2)
        logger.pr_points("dog", [], 1)

    events = events_of(tmp_path, log)

    assert events.Tags()["tensors"] == ["custom_scalars__config__", "cat"]
    values = [torch.tensor(event.tensor_proto.float_val) for event in events.Tensors("cat")]
    *_, precision, recall = values[0].reshape(6, -1)
    assert len(recall) == len(values[1].reshape(6, -1)[0])
    assert [recall[0], recall[-1]] == pytest.approx([0.9, 0.1])
    assert [precision[0], precision[-1]] == pytest.approx([0.25, 1])


def test_after_the_clock_was_set_back_every_step_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    for last_step, clock in ((-1, now), (2, now - 400 * 86400), (4, 5.0), (6, now)):
        monkeypatch.setattr(time, "time", lambda clock=clock: clock)
        with Logger([TensorBoardEvents(tmp_path, last_step=last_step)]) as logger:
            for step in range(last_step + 1, last_step + 4):  # the last one is logged again
                logger.scalar("train/loss", float(last_step), step)
    monkeypatch.undo()

    shown = {event.step: event.value for event in read_events(tmp_path).Scalars("train/loss")}

    assert shown == {0: -1, 1: -1, 2: -1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 6, 8: 6, 9: 6}


def test_settings_stand_beside_the_final_metrics(tmp_path: Path) -> None:
    settings = {"optim.lr": 0.1, "model": "lite0", "sizes": [480, 576], "flip": True, "none": None}

    events = events_of(tmp_path, lambda logger: logger.settings(settings, {"image_map": 0.5}))

    assert events.Scalars("final/image_map")[0].value == 0.5
    plugin = events.summary_metadata["_hparams_/session_start_info"].plugin_data
    assert b"optim.lr" in plugin.content
    assert b"[480, 576]" in plugin.content
