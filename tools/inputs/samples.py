"""What a model takes: images, or the cached features of a frozen backbone, upright or flipped."""

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch.utils.data import Dataset

from data.collate import collate_images
from data.datasets.image_set import ImageSet
from data.parallel import Begun, Loader
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
        """Bytes to normalized floats, padding to zeros."""
        moved = device.move(batch)
        images = normalize_images(moved.images, batch.sizes, self.backbone.mean, self.backbone.std)
        return replace(moved, images=images)


@dataclass(frozen=True, slots=True)
class View:
    """One image of an epoch as it is seen there.

    Attributes:
        size: number of its size.
        index: of the image.
        flipped: left to right.
        teaches: false for a rank for which nothing is left in the last step.
    """

    size: int
    index: int
    flipped: bool
    teaches: bool = True


def views_of_epoch(
    inputs: Sequence[Samples], *, seed: int, epoch: int, batch_size: int, flip: bool
) -> list[View]:
    """The images of one epoch in its order, each flipped or not, each batch at one size.

    Order, flipping and sizes depend on (seed, epoch) alone, so an epoch can be entered in the
    middle, by any number of workers, with the same result.
    """
    draws = np.random.default_rng((seed, epoch))
    count = len(inputs[0])
    order = draws.permutation(count)
    flipped = draws.random(count) < (0.5 if flip else 0.0)
    sizes = draws.integers(len(inputs), size=count).repeat(batch_size)[:count]
    return [
        View(int(size), int(index), bool(flipped[index]))
        for size, index in zip(sizes, order, strict=True)
    ]


class _Views(Dataset[ImageSample]):
    def __init__(self, inputs: Sequence[Samples], begun: Begun) -> None:
        self.inputs = inputs
        self.begun = begun

    def __getitem__(self, view: View) -> ImageSample:
        self.begun.note(view.index)
        sample = self.inputs[view.size].sample(view.index, flipped=view.flipped)
        if view.teaches:
            return sample
        return replace(sample, image_id="", weights=torch.zeros_like(sample.weights))


class TrainingBatches:
    """The batches of any epoch, loaded by processes that stay from one epoch to the next.

    Attributes:
        begun: the image that each of these processes has begun last.
    """

    def __init__(
        self,
        inputs: Sequence[Samples],
        *,
        seed: int,
        batch_size: int,
        flip: bool,
        workers: int,
        pinned: bool = False,
    ) -> None:
        """Of a split.

        Args:
            inputs: the split at each size; every batch is drawn from one of them.
            seed: of order, flipping and sizes.
            batch_size: images of a batch, of each rank.
            flip: mirror half of the images.
            workers: processes that load images.
            pinned: put batches where CUDA can take them while it computes.
        """
        self.inputs, self.seed, self.batch_size, self.flip = inputs, seed, batch_size, flip
        self.begun = Begun(workers)
        weakref.finalize(self, self.begun.end)
        self._batches: list[list[View]] = []
        self._loader = Loader(
            _Views(inputs, self.begun),
            self.begun,
            batch_sampler=self._batches,
            num_workers=workers,
            collate_fn=partial(collate_images, multiple=inputs[0].multiple),
            timeout=SECONDS if workers else 0,  # a stuck worker would be waited for forever
            persistent_workers=workers > 0,
            pin_memory=pinned,
        )

    def __call__(self, epoch: int, first: int) -> Loader:
        """The batches of an epoch from number ``first`` on; the last one may be smaller.

        Ranks share each step's images, and all have as many batches. A rank for which none is left
        in the last one takes an image without a name and without labels, which teaches nothing.
        Asking again ends what was given before.
        """
        ranks, size = shard(), self.batch_size
        views = views_of_epoch(
            self.inputs, seed=self.seed, epoch=epoch, batch_size=size * ranks.count, flip=self.flip
        )[first * size * ranks.count :]
        own = list(ranks.of(views))
        if math.ceil(len(own) / size) < math.ceil(len(views) / (size * ranks.count)):
            own.append(replace(views[-1], teaches=False))
        self._batches[:] = [own[start : start + size] for start in range(0, len(own), size)]
        return self._loader


def both_views(samples: Samples, index: int, device: Device) -> ImageBatch:
    """One image as a batch of two, upright and flipped, ready for the model."""
    pair = [samples.sample(index, flipped=flipped) for flipped in (False, True)]
    return samples.prepare(collate_images(pair, multiple=samples.multiple), device)
