"""Features of a frozen backbone, computed once and kept on disk."""

import errno
import hashlib
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from data.arrays import read_arrays
from data.collate import collate_images
from data.types import ImageBatch, ImageSample
from localizer.folding import fold_batch_norms
from tools.cli.console import echo, track
from tools.files.atomic import write_atomically
from tools.inputs.ahead import read_ahead
from tools.inputs.samples import PixelSamples, Samples
from tools.models.device import Device
from tools.models.ranks import shard, wait_for_all
from tools.runs.checkpoint import weights_sha256

KEY = "key.json"  # in each folder of features: what its name stands for
REVISION = 3  # of the code between file and features; another one gives other values
LIBRARIES = ("torch", "torchvision", "numpy", "pillow")
GB = 10**9
DESCRIPTION = "a file of features (remove it, they are computed again)"


@dataclass(frozen=True, slots=True)
class FeatureCache:
    """A folder of features, and of scores of proposals, that several runs share.

    Attributes:
        folder: holds one folder for each way of computing them.
        limit: most GB that all of them may take; None for as much as the disk has.
    """

    folder: Path
    limit: float | None = None

    def open(self, key: Mapping[str, Any]) -> Path:
        """The folder for what is computed in one way, made when it is not there.

        Args:
            key: everything that the content depends on beside the bytes of an image.
        """
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        content = json.dumps(key, indent=1).encode()
        write_atomically(folder / KEY, content)  # its time: when it was last used
        return folder

    def size(self) -> int:
        """Bytes in the folder; 0 when it does not exist."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def check_room(self, needed: float) -> None:
        """Refuse to fill what does not fit.

        Args:
            needed: bytes to be written.

        Raises:
            ValueError: more than the limit.
            OSError: more than the disk has left.
        """
        hint = "python -m tools.feature_cache lists and clears it"
        size, free = self.size(), shutil.disk_usage(self.folder).free
        if self.limit is not None and size + needed > self.limit * GB:
            raise ValueError(
                f"{self.folder}: {needed / GB:.3g} GB of features beside {size / GB:.3g} GB are "
                f"more than --feature-cache-limit {self.limit:g} ({hint})"
            )
        if needed > free:
            raise OSError(
                errno.ENOSPC,
                f"no space left: {needed / GB:.3g} GB of features are needed, {free / GB:.3g} GB "
                f"are free ({hint})",
                str(self.folder),
            )


def content_name(image: Path) -> str:
    """What an image's files are named by: the same for the same bytes."""
    return hashlib.sha256(image.read_bytes()).hexdigest()[:24]


def cache_key(images: PixelSamples, features: nn.Module, device: Device) -> dict[str, Any]:
    """Everything beside an image's bytes that its features depend on, as plain values."""
    backbone = images.backbone
    return {
        "weights_sha256": weights_sha256(features.state_dict()),
        "layers": hashlib.sha256(repr(features).encode()).hexdigest(),
        "image_size": images.image_size,
        "resize": images.resize,
        "multiple": backbone.multiple,
        "mean": list(backbone.mean),
        "std": list(backbone.std),
        "orientation": "upright",
        "computed": "tf32" if device.tf32 else "float32",
        "kept": "float16",
        "device": device.kind,
        "threads": torch.get_num_threads(),  # on a CPU they decide in which order sums are added
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
        "revision": REVISION,
    }


class FeatureSamples:
    """Features of a frozen backbone, computed once and kept on disk as float16.

    One file an image, named by the image's content, in a folder named by ``cache_key``. A changed
    image or setting finds no file and is computed anew; a killed run keeps what it has written.
    They are computed in float32: it is paid once, and bfloat16 loses some of EfficientNet-Lite0's
    features (correlation .996). Batch norms are folded into the convolutions.
    """

    multiple = 1

    def __init__(
        self, images: PixelSamples, features: nn.Module, cache: FeatureCache, device: Device
    ) -> None:
        self.images = images
        self.folder = cache.open(cache_key(images, features, device))
        paths = images.dataset.paths
        looked_for = track(paths, "looking for features", total=len(paths))
        self.files = [self.folder / f"{content_name(path)}.npz" for path in looked_for]
        self._fill(features, cache, device)

    def __len__(self) -> int:
        return len(self.files)

    def sample(self, index: int, *, flipped: bool) -> ImageSample:
        """``[K, h, w]`` float16.

        Raises:
            ValueError: the cached file is damaged; names it.
        """
        names = ["flipped" if flipped else "upright", "network_size"]
        features, size = read_arrays(self.files[index], names, description=DESCRIPTION)
        dataset = self.images.dataset
        return ImageSample(
            dataset.ids[index],
            torch.from_numpy(features),
            dataset.targets[index],
            dataset.weights[index],
            tuple(size.tolist()),
        )

    def prepare(self, batch: ImageBatch, device: Device) -> ImageBatch:
        """Features as float32 on the device."""
        moved = device.move(batch)
        return replace(moved, images=moved.images.float())

    def _fill(self, features: nn.Module, cache: FeatureCache, device: Device) -> None:
        """Compute what is missing; each rank its part of it."""
        missing = [n for n in shard().of(range(len(self.files))) if not self.files[n].is_file()]
        if missing:
            self._compute_all(missing, features, cache, device)
        else:
            echo(f"features of {len(self.files)} images found in {self.folder}")
        wait_for_all()

    def _compute_all(
        self, missing: Sequence[int], features: nn.Module, cache: FeatureCache, device: Device
    ) -> None:
        """Compute those of some images, after the first has told how much that is."""
        features = fold_batch_norms(device.place(features))
        images = read_ahead(self.images, device)
        self._compute(missing[0], images, features, device)
        needed = self.files[missing[0]].stat().st_size * (len(missing) - 1)
        echo(f"features of {len(missing)} images: {needed / GB:.2g} GB in {self.folder}")
        cache.check_room(needed)
        done = len(self.files) - len(missing) + 1
        for index in track(missing[1:], "features", total=len(self.files), done=done):
            self._compute(index, images, features, device)

    @torch.inference_mode()
    def _compute(self, index: int, images: Samples, features: nn.Module, device: Device) -> None:
        arrays = {}
        for name, flipped in (("upright", False), ("flipped", True)):
            sample = images.sample(index, flipped=flipped)
            batch = collate_images([sample], multiple=images.multiple)
            computed = features(images.prepare(batch, device).images)[0]
            arrays[name] = computed.to(torch.float16).contiguous().cpu().numpy()
        arrays["network_size"] = np.array(sample.network_size)
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **arrays)
        write_atomically(self.files[index], file.getvalue())
