"""What a model takes: images in batches of a reproducible order."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from data.datasets.image_set import ImageSet
from data.datasets.voc import VOCSource
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import ImageBatch, ImageSample
from localizer.backbones import BACKBONES
from tests.worlds import NumberedImages, training_batches
from tools.inputs.samples import PixelSamples, Samples, TrainingBatches, both_views
from tools.models.device import Device

CPU = Device("cpu", "off")
NUMBERED = NumberedImages(10)


@pytest.fixture
def dataset(tiny_voc: Path) -> ImageSet:
    return VOCSource(tiny_voc, classes=SYNTHETIC_CLASSES).open("val")


@pytest.fixture
def images(dataset: ImageSet) -> PixelSamples:
    return PixelSamples(dataset, BACKBONES["squeezenet1_1"], 64, "longest_side")


def batches_of(*inputs: Samples, **options: Any) -> list[ImageBatch]:
    defaults = {"seed": 0, "epoch": 0, "first": 0, "batch_size": 4, "flip": True, "workers": 0}
    return list(training_batches(inputs or [NUMBERED], **(defaults | options)))


def ids_of(batches: list[ImageBatch]) -> list[str]:
    return [image_id for batch in batches for image_id in batch.image_ids]


def pixels_of(batches: list[ImageBatch]) -> list[float]:
    return [float(pixel) for batch in batches for pixel in batch.images.flatten()]


# Images


def test_an_image_keeps_its_proportions_or_becomes_square(
    dataset: ImageSet, images: PixelSamples
) -> None:
    height, width = dataset.annotations[0].image_size
    longest = max(height, width)
    square = PixelSamples(dataset, BACKBONES["alexnet"], 64, "square").sample(0, flipped=False)

    sample = images.sample(0, flipped=False)

    assert sample.network_size == (round(64 * height / longest), round(64 * width / longest))
    assert tuple(sample.image.shape[1:]) == sample.network_size
    assert square.network_size == tuple(square.image.shape[1:]) == (64, 64)


def test_a_flipped_sample_is_the_upright_one_from_right_to_left(images: PixelSamples) -> None:
    upright, flipped = (images.sample(1, flipped=flag) for flag in (False, True))

    assert flipped.image.equal(upright.image.flip(-1))
    assert flipped.targets.equal(upright.targets)
    pair = both_views(images, 1, CPU)
    assert pair.image_ids == (images.dataset.ids[1],) * 2
    assert pair.images[1].equal(pair.images[0].flip(-1))  # the upright one is first


def test_padding_is_zero_after_normalizing(images: PixelSamples) -> None:
    batches = batches_of(images, batch_size=2)
    batch = next(batch for batch in batches if len(set(batch.sizes[:, 0])) > 1)
    lower = int(batch.sizes[:, 0].argmin())
    height = int(batch.sizes[lower, 0])

    prepared = images.prepare(batch, CPU)

    assert prepared.images.dtype == torch.float32
    assert (prepared.images[lower, :, height:] == 0).all()
    assert (prepared.images[lower, :, :height] != 0).any()


# Batches


def test_an_epoch_shows_every_image_once_and_keeps_the_last_smaller_batch() -> None:
    assert sorted(ids_of(batches_of())) == [f"{index:06d}" for index in range(10)]
    assert [len(batch.image_ids) for batch in batches_of()] == [4, 4, 2]


def test_the_same_seed_and_epoch_give_the_same_batches_and_others_another_order() -> None:
    assert pixels_of(batches_of(seed=3, epoch=5)) == pixels_of(batches_of(seed=3, epoch=5))
    assert ids_of(batches_of(seed=1)) != ids_of(batches_of())
    assert ids_of(batches_of(epoch=1)) != ids_of(batches_of())


class CrashingImages(NumberedImages):
    def sample(self, index: int, *, flipped: bool) -> ImageSample:
        if index == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().sample(index, flipped=flipped)


def test_an_image_that_crashes_its_worker_is_named() -> None:
    batches = TrainingBatches([CrashingImages(10)], seed=0, batch_size=4, flip=True, workers=1)
    ids = [f"{index:06d}.jpg" for index in range(10)]

    with pytest.raises(RuntimeError, match=r"^000005\.jpg: begun last "), batches.begun.named(ids):
        list(batches(0, 0))


class StuckImages(NumberedImages):
    def sample(self, index: int, *, flipped: bool) -> ImageSample:
        time.sleep(3600 if index == 5 else 0)
        return super().sample(index, flipped=flipped)


@pytest.mark.slow
def test_an_image_at_which_a_worker_is_stuck_is_named_within_a_minute() -> None:
    batches = TrainingBatches([StuckImages(10)], seed=0, batch_size=4, flip=True, workers=1)
    start = time.monotonic()

    with (
        pytest.raises(RuntimeError, match=r"^000005: .*timed out"),
        batches.begun.named([f"{k:06d}" for k in range(10)]),
    ):
        list(batches(0, 0))
    assert time.monotonic() - start < 60


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_same_batches(workers: int, images: PixelSamples) -> None:
    batches, expected = (batches_of(images, first=1, batch_size=2, workers=n) for n in (workers, 0))

    for one, other in zip(batches, expected, strict=True):
        assert one.image_ids == other.image_ids
        assert one.images.equal(other.images)
        assert one.sizes.equal(other.sizes)
        assert one.targets.equal(other.targets)


@pytest.mark.parametrize("first", [0, 1, 2, 3])
def test_an_epoch_entered_in_the_middle_continues_as_the_whole_one(first: int) -> None:
    assert pixels_of(batches_of(first=first)) == pixels_of(batches_of()[first:])


def test_the_batch_size_does_not_change_order_or_flipping() -> None:
    assert pixels_of(batches_of(batch_size=3)) == pixels_of(batches_of(batch_size=10))


def test_without_flip_nothing_is_flipped_and_with_it_about_half() -> None:
    assert all(pixel >= 0 for pixel in pixels_of(batches_of(flip=False)))

    pixels = [pixel for epoch in range(100) for pixel in pixels_of(batches_of(epoch=epoch))]
    flipped = sum(pixel < 0 for pixel in pixels)
    assert flipped == pytest.approx(450, abs=60)  # of 900 that are not 0: four deviations


def test_batches_draw_nothing_from_the_models_generator(rng: torch.Generator) -> None:
    before = torch.get_rng_state()
    batches_of()

    assert torch.get_rng_state().equal(before)


def test_each_batch_has_one_size_and_training_sees_all(dataset: ImageSet) -> None:
    inputs = [PixelSamples(dataset, BACKBONES["alexnet"], size, "square") for size in (48, 64)]

    def sizes(epoch: int, first: int = 0) -> list[int]:
        batches = batches_of(*inputs, epoch=epoch, first=first, batch_size=2)
        return [batch.images.shape[-1] for batch in batches]

    epochs = [sizes(epoch) for epoch in range(8)]
    assert {size for epoch in epochs for size in epoch} == {48, 64}
    assert len({tuple(epoch) for epoch in epochs}) > 2
    assert all(sizes(epoch, first=1) == epochs[epoch][1:] for epoch in range(8))
