"""What a model takes: images, or the cached features of a frozen backbone, upright or flipped."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from data.collate import collate_images
from data.datasets.image_set import ImageSet
from data.parallel import Begun, ignore_signals
from data.transforms import ResizeMode, normalize_images, resize_image
from data.types import ImageBatch, ImageSample
from localizer.backbones import Backbone
from tools.models.device import Device
from tools.models.ranks import shard

SECONDS = 40  # that a batch may take a worker; a command then ends within a minute


class Samples(Protocol):
    """Images by number, upright or flipped, in the form that a model takes."""

    @property
    def multiple(self) -> int:
        """Height and width of a batch must be multiples of it."""
        ...

    def __len__(self) -> int: ...

    def sample(self, index: int, *, flipped: bool) -> ImageSample:
        """Image ``index`` of the split."""
        ...

    def prepare(self, batch: ImageBatch, device: Device) -> ImageBatch:
        """A batch on the device, ready for the model."""
        ...


@dataclass(frozen=True, slots=True)
class PixelSamples:
    """Images resized for the network.

    Attributes:
        dataset: a split.
        backbone: what it is resized and normalized for.
        image_size: pixels of the longest side, or of both sides.
        resize: ``longest_side`` or ``square``.
    """

    dataset: ImageSet
    backbone: Backbone
    image_size: int
    resize: ResizeMode

    @property
    def multiple(self) -> int:
        """What the backbone needs."""
        return self.backbone.multiple

    def __len__(self) -> int:
        return len(self.dataset)

    def sample(self, index: int, *, flipped: bool) -> ImageSample:
        """``[K, H, W]`` uint8, the channels that the backbone takes."""
        original = self.dataset.read(index, channels=self.backbone.input_channels)
        image, _ = resize_image(original.image, self.image_size, self.resize)
        if flipped:
            image = image.flip(-1)
        size = (image.shape[1], image.shape[2])
        return replace(original, image=image, network_size=size)

    def prepare(self, batch: ImageBatch, device: Device) -> ImageBatch:
        """Bytes to normalized floats, padding to zeros, in the device's memory format."""
        moved = device.move(batch)
        images = normalize_images(moved.images, batch.sizes, self.backbone.mean, self.backbone.std)
        return replace(moved, images=device.layout(images))


@dataclass(frozen=True, slots=True)
class NotedSamples:
    """Samples of which each worker process notes the one that it begins to read."""

    samples: Samples
    begun: Begun

    @property
    def multiple(self) -> int:
        """That of the samples."""
        return self.samples.multiple

    def __len__(self) -> int:
        return len(self.samples)

    def sample(self, index: int, *, flipped: bool) -> ImageSample:
        """The sample itself."""
        self.begun.note(index)
        return self.samples.sample(index, flipped=flipped)

    def prepare(self, batch: ImageBatch, device: Device) -> ImageBatch:
        """As the samples do."""
        return self.samples.prepare(batch, device)


class TrainingViews(Dataset[ImageSample]):
    """The images of one epoch in its order, each flipped or not, each batch at one size.

    Order, flipping and sizes depend on (seed, epoch) alone, so an epoch can be entered in the
    middle, by any number of workers, with the same result.
    """

    def __init__(
        self, inputs: Sequence[Samples], *, seed: int, epoch: int, batch_size: int, flip: bool
    ) -> None:
        self.inputs = inputs
        draws = np.random.default_rng((seed, epoch))
        count = len(inputs[0])
        self.order = draws.permutation(count)
        self.flipped = draws.random(count) < (0.5 if flip else 0.0)
        self.size = draws.integers(len(inputs), size=count).repeat(batch_size)[:count]

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, position: int) -> ImageSample:
        if position == len(self):  # of a rank for which nothing is left in the last step
            last = self[position - 1]
            return replace(last, image_id="", weights=torch.zeros_like(last.weights))
        index = int(self.order[position])
        samples = self.inputs[int(self.size[position])]
        return samples.sample(index, flipped=bool(self.flipped[index]))


def training_batches(
    inputs: Sequence[Samples],
    *,
    seed: int,
    epoch: int,
    first: int,
    batch_size: int,
    flip: bool,
    workers: int,
) -> DataLoader[Any]:
    """The batches of an epoch from number ``first`` on; the last one may be smaller.

    Ranks share each step's images, and all have as many batches. A rank for which none is left in
    the last one takes an image without a name and without labels, which teaches nothing.

    Args:
        inputs: the split at each size; every batch is drawn from one of them.
        seed: of order, flipping and sizes.
        epoch: from 0.
        first: number of the first batch.
        batch_size: images of a batch, of each rank.
        flip: mirror half of the images.
        workers: processes that load images.
    """
    ranks = shard()
    of_all = batch_size * ranks.count
    views = TrainingViews(inputs, seed=seed, epoch=epoch, batch_size=of_all, flip=flip)
    rest = range(first * of_all, len(views))
    positions = list(ranks.of(rest))
    if math.ceil(len(positions) / batch_size) < math.ceil(len(rest) / of_all):
        positions.append(len(views))
    return DataLoader(
        views,
        batch_size=batch_size,
        sampler=positions,
        num_workers=workers,
        collate_fn=partial(collate_images, multiple=inputs[0].multiple),
        worker_init_fn=ignore_signals,
        generator=torch.Generator(),  # or else each start draws a seed from the model's generator
        timeout=SECONDS if workers else 0,  # a stuck worker would be waited for forever
    )


def both_views(samples: Samples, index: int, device: Device) -> ImageBatch:
    """One image as a batch of two, upright and flipped, ready for the model."""
    pair = [samples.sample(index, flipped=flipped) for flipped in (False, True)]
    return samples.prepare(collate_images(pair, multiple=samples.multiple), device)
