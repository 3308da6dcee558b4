"""Features of a frozen backbone, computed once and kept on disk."""

import hashlib
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from data.collate import collate_images
from data.types import ImageBatch, ImageSample
from tools.cli.console import echo, track
from tools.cli.signals import check_interrupted
from tools.inputs.samples import PixelSamples
from tools.models.device import Device
from tools.runs.checkpoint import weights_sha256


class FeatureSamples:
    """Features of a frozen backbone, computed once and kept on disk as float16.

    One file an image, named by the image's content, in a folder named by everything else that
    the features depend on: weights and size. A changed image or setting finds no file and is
    computed anew; a killed run keeps what it has written. They are computed in float32: it is
    paid once, and bfloat16 loses some of EfficientNet-Lite0's features (correlation .996).
    """

    multiple = 1

    def __init__(
        self, images: PixelSamples, features: nn.Module, cache: Path, device: Device
    ) -> None:
        self.images = images
        key = f"{weights_sha256(features.state_dict())} {images.image_size} {images.resize}"
        self.folder = cache / hashlib.sha256(key.encode()).hexdigest()[:16]
        self.files = [self._file(path) for path in images.dataset.paths]
        self._fill(features, device)

    def __len__(self) -> int:
        return len(self.files)

    def sample(self, index: int, *, flipped: bool) -> ImageSample:
        """``[K, h, w]`` float16.

        Raises:
            ValueError: the cached file is damaged; names it.
        """
        path = self.files[index]
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as cached:
                features = torch.from_numpy(cached["flipped" if flipped else "upright"])
                size = tuple(cached["network_size"].tolist())
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path}: not readable features (remove the file, it is computed again)"
            ) from error
        dataset = self.images.dataset
        return ImageSample(
            dataset.ids[index], features, dataset.targets[index], dataset.weights[index], size
        )

    def prepare(self, batch: ImageBatch, device: Device) -> ImageBatch:
        """Features as float32 on the device."""
        moved = device.move(batch)
        return replace(moved, images=device.layout(moved.images.float()))

    def _file(self, image: Path) -> Path:
        return self.folder / f"{hashlib.sha256(image.read_bytes()).hexdigest()[:24]}.npz"

    def _fill(self, features: nn.Module, device: Device) -> None:
        missing = [index for index, file in enumerate(self.files) if not file.is_file()]
        if not missing:
            echo(f"features of {len(self.files)} images found in {self.folder}")
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
        for name, flipped in (("upright", False), ("flipped", True)):
            sample = self.images.sample(index, flipped=flipped)
            batch = collate_images([sample], multiple=self.images.multiple)
            computed = features(self.images.prepare(batch, device).images)[0]
            arrays[name] = computed.to(torch.float16).contiguous().cpu().numpy()
        temporary = self.files[index].with_suffix(f".{os.getpid()}.tmp")  # runs share the folder
        with temporary.open("wb") as file:
            np.savez(file, network_size=np.array(sample.network_size), **arrays)
        temporary.replace(self.files[index])
