"""What a model is fed: pictures, or the cached features of a frozen trunk, upright or mirrored."""

import hashlib
import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from data.collate import collate_images
from data.image_set import ImageSet
from data.transforms import ResizeMode, normalize_images, resize_image
from data.types import ImageBatch, ImageSample
from localizer.trunks import Trunk
from tools.engine.checkpoint import weights_sha256
from tools.engine.device import Device
from tools.engine.interrupts import check_interrupted
from tools.engine.progress import say, track


class Samples(Protocol):
    """Pictures by number, upright or mirrored, in the form that a model takes."""

    @property
    def multiple(self) -> int:
        """Height and width of a batch must be multiples of it."""
        ...

    def __len__(self) -> int: ...

    def sample(self, index: int, *, mirrored: bool) -> ImageSample:
        """Picture ``index`` of the split."""
        ...

    def prepare(self, batch: ImageBatch, device: Device) -> ImageBatch:
        """A batch on the device, ready for the model."""
        ...


@dataclass(frozen=True, slots=True)
class PictureSamples:
    """Pictures resized for the network.

    Attributes:
        dataset: a split.
        trunk: what it is resized and normalised for.
        image_size: pixels of the longest side, or of both sides.
        resize: ``longest_side`` or ``square``.
    """

    dataset: ImageSet
    trunk: Trunk
    image_size: int
    resize: ResizeMode

    @property
    def multiple(self) -> int:
        """What the trunk needs."""
        return self.trunk.multiple

    def __len__(self) -> int:
        return len(self.dataset)

    def sample(self, index: int, *, mirrored: bool) -> ImageSample:
        """``[3, H, W]`` uint8."""
        original = self.dataset[index]
        image, _ = resize_image(original.image, self.image_size, self.resize)
        if mirrored:
            image = image.flip(-1)
        size = (image.shape[1], image.shape[2])
        return replace(original, image=image, network_size=size)

    def prepare(self, batch: ImageBatch, device: Device) -> ImageBatch:
        """Bytes to normalised floats, padding to zeros, in the device's memory format."""
        moved = device.move(batch)
        images = normalize_images(moved.images, moved.sizes, self.trunk.mean, self.trunk.std)
        return replace(moved, images=device.layout(images))


class FeatureSamples:
    """Features of a frozen trunk, computed once and kept on disk as float16.

    One file a picture, named by the picture's content, in a folder named by everything else that
    the features depend on: weights and size. A changed picture or setting finds no file and is
    computed anew; a killed run keeps what it has written. They are computed in float32: it is
    paid once, and bfloat16 loses some of EfficientNet-Lite0's features (correlation .996).
    """

    multiple = 1

    def __init__(
        self, pictures: PictureSamples, features: nn.Module, cache: Path, device: Device
    ) -> None:
        self.pictures = pictures
        key = f"{weights_sha256(features.state_dict())} {pictures.image_size} {pictures.resize}"
        self.folder = cache / hashlib.sha256(key.encode()).hexdigest()[:16]
        self.files = [self._file(path) for path in pictures.dataset.paths]
        self._fill(features, device)

    def __len__(self) -> int:
        return len(self.files)

    def sample(self, index: int, *, mirrored: bool) -> ImageSample:
        """``[K, h, w]`` float16.

        Raises:
            ValueError: the cached file is damaged; names it.
        """
        path = self.files[index]
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as cached:
                features = torch.from_numpy(cached["mirrored" if mirrored else "upright"])
                size = tuple(cached["network_size"].tolist())
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path}: not readable features (remove the file, it is computed again)"
            ) from error
        dataset = self.pictures.dataset
        return ImageSample(
            dataset.ids[index], features, dataset.targets[index], dataset.weights[index], size
        )

    def prepare(self, batch: ImageBatch, device: Device) -> ImageBatch:
        """Features as float32 on the device."""
        moved = device.move(batch)
        return replace(moved, images=device.layout(moved.images.float()))

    def _file(self, picture: Path) -> Path:
        return self.folder / f"{hashlib.sha256(picture.read_bytes()).hexdigest()[:24]}.npz"

    def _fill(self, features: nn.Module, device: Device) -> None:
        missing = [index for index, file in enumerate(self.files) if not file.is_file()]
        if not missing:
            say(f"features of {len(self.files)} pictures found in {self.folder}")
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        done = len(self.files) - len(missing)
        progress = track(missing, "features", total=len(self.files), done=done)
        features = device.place(features).eval()
        for index in progress:
            check_interrupted()
            self._compute(index, features, device)

    @torch.inference_mode()
    def _compute(self, index: int, features: nn.Module, device: Device) -> None:
        arrays = {}
        for name, mirrored in (("upright", False), ("mirrored", True)):
            sample = self.pictures.sample(index, mirrored=mirrored)
            batch = collate_images([sample], multiple=self.pictures.multiple)
            computed = features(self.pictures.prepare(batch, device).images)[0]
            arrays[name] = computed.to(torch.float16).contiguous().cpu().numpy()
        temporary = self.files[index].with_suffix(f".{os.getpid()}.tmp")  # runs share the folder
        with temporary.open("wb") as file:
            np.savez(file, network_size=np.array(sample.network_size), **arrays)
        temporary.replace(self.files[index])


class TrainingViews(Dataset[ImageSample]):
    """The pictures of one epoch in its order, each mirrored or not, each batch at one size.

    Order, mirroring and sizes depend on (seed, epoch) alone, so an epoch can be entered in the
    middle, by any number of workers, with the same result.
    """

    def __init__(
        self, scales: Sequence[Samples], *, seed: int, epoch: int, batch_size: int, flip: bool
    ) -> None:
        self.scales = scales
        draws = np.random.default_rng((seed, epoch))
        count = len(scales[0])
        self.order = draws.permutation(count)
        self.mirrored = draws.random(count) < (0.5 if flip else 0.0)
        self.scale = draws.integers(len(scales), size=count).repeat(batch_size)[:count]

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, position: int) -> ImageSample:
        index = int(self.order[position])
        samples = self.scales[int(self.scale[position])]
        return samples.sample(index, mirrored=bool(self.mirrored[index]))


def training_batches(
    scales: Sequence[Samples],
    *,
    seed: int,
    epoch: int,
    first: int,
    batch_size: int,
    flip: bool,
    workers: int,
) -> Iterator[ImageBatch]:
    """The batches of an epoch from number ``first`` on; the last one may be smaller.

    Args:
        scales: the split at each size; every batch is drawn from one of them.
        seed: of order, mirroring and sizes.
        epoch: from 0.
        first: number of the first batch.
        batch_size: pictures of a batch.
        flip: mirror half of the pictures.
        workers: processes that load pictures.
    """
    views = TrainingViews(scales, seed=seed, epoch=epoch, batch_size=batch_size, flip=flip)
    positions = range(first * batch_size, len(views))
    loader = DataLoader(
        views,
        batch_size=batch_size,
        sampler=positions,
        num_workers=workers,
        collate_fn=_Collate(scales[0].multiple),
        generator=torch.Generator(),  # or else each start draws a seed from the model's generator
        timeout=60 if workers else 0,  # a stuck worker would otherwise be waited for, for ever
    )
    return iter(loader)


def both_views(samples: Samples, index: int, device: Device) -> ImageBatch:
    """One picture as a batch of two, upright and mirrored, ready for the model."""
    pair: Sequence[ImageSample] = [
        samples.sample(index, mirrored=False),
        samples.sample(index, mirrored=True),
    ]
    return samples.prepare(collate_images(pair, multiple=samples.multiple), device)


@dataclass(frozen=True, slots=True)
class _Collate:
    multiple: int

    def __call__(self, samples: Sequence[ImageSample]) -> ImageBatch:
        return collate_images(samples, multiple=self.multiple)
