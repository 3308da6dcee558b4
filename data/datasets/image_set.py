"""Images of one split with their image-level labels, wherever they come from."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from torch.utils.data import Dataset

from data.images import read_image
from data.types import Annotation, ImageSample, without_boxes


class ImageSet(Dataset[ImageSample]):
    """Images of a split with their image-level labels; boxes are in ``annotations`` alone.

    Training reads samples only, so no box can leak into it.

    Attributes:
        split: its name.
        classes: names in the order of the labels.
        paths: of the images.
        annotations: one an image, in the same order; without objects where boxes are unknown.
        ids: names of the images.
        targets: ``[N, C]`` float32 in {0, 1}.
        weights: ``[N, C]`` float32, 0 = ignored.

    Raises:
        ValueError: no images.
    """

    def __init__(
        self,
        split: str,
        classes: Sequence[str],
        paths: Sequence[Path],
        annotations: Sequence[Annotation],
        labels: Sequence[tuple[Tensor, Tensor]],
    ) -> None:
        if not paths:
            raise ValueError(f"{split}: no image is left")
        self.split = split
        self.classes = tuple(classes)
        self.paths = list(paths)
        self.annotations = list(annotations)
        self.ids = [annotation.image_id for annotation in annotations]
        self.targets = torch.stack([targets for targets, _ in labels])
        self.weights = torch.stack([weights for _, weights in labels])
        self._latest: tuple[tuple[Path, int], Tensor] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def subset(self, indices: Sequence[int]) -> Self:
        """The images of these numbers alone, in their order.

        Raises:
            ValueError: no indices.
        """
        if not indices:
            raise ValueError(f"{self.split}: no image is left")
        part = copy.copy(self)
        for name in ("paths", "annotations", "ids"):
            setattr(part, name, [getattr(self, name)[index] for index in indices])
        part.targets, part.weights = self.targets[list(indices)], self.weights[list(indices)]
        return part

    def __getitem__(self, index: int) -> ImageSample:
        """Decode one image, ``[3, H, W]``; raises as ``read`` does."""
        return self.read(index)

    def read(self, index: int, *, channels: int = 3) -> ImageSample:
        """Decode one image; the latest one stays, so its views and sizes decode it once.

        Threads may call it side by side.

        Args:
            index: number of the image.
            channels: how many of them; the first three are RGB.

        Raises:
            ValueError: the image does not decode, its size is not the annotation's, or it has fewer
                channels.
        """
        asked, size = (self.paths[index], channels), self.annotations[index].image_size
        latest = self._latest  # which another thread may replace
        if latest is None or latest[0] != asked:
            latest = self._latest = asked, self._pixels(index, channels)
        return ImageSample(
            self.ids[index], latest[1], self.targets[index], self.weights[index], size
        )

    def _pixels(self, index: int, channels: int) -> Tensor:
        size = self.annotations[index].image_size
        return read_image(self.paths[index], size=size, channels=channels)


def one_sided_classes(
    classes: Sequence[str], targets: Tensor, weights: Tensor
) -> list[tuple[str, str]]:
    """Classes that are in none or in each of some images, so that nothing is learned of them.

    Args:
        classes: C names.
        targets: ``[N, C]`` in {0, 1}.
        weights: ``[N, C]``, 0 = ignored.

    Returns:
        Name and what it lacks; nothing of images without any label.
    """
    if not weights.any():
        return []
    positive, negative = (((targets == value) & (weights > 0)).any(dim=0) for value in (1, 0))
    lacks = {"no image that holds it": positive, "no image without it": negative}
    return [
        (name, what)
        for what, found in lacks.items()
        for name, is_there in zip(classes, found.tolist(), strict=True)
        if not is_there
    ]


class ImageInMemory(ImageSet):
    """One image without labels that is no file; its id is ``image``.

    Args:
        pixels: ``[K, H, W]`` uint8, the first three channels RGB.
        classes: names in the order of the labels.

    Raises:
        ValueError: the tensor is no such image.
    """

    def __init__(self, pixels: Tensor, classes: Sequence[str]) -> None:
        if pixels.dtype != torch.uint8 or pixels.ndim != 3 or len(pixels) < 3 or not pixels.numel():
            raise ValueError(
                f"an image is [3, H, W] uint8, or has more channels; got {list(pixels.shape)} of "
                f"{pixels.dtype}"
            )
        annotation = without_boxes("image", (pixels.shape[1], pixels.shape[2]))
        labels = torch.zeros(len(classes))
        super().__init__("all", classes, [Path("image")], [annotation], [(labels, labels)])
        self.pixels = pixels

    def _pixels(self, index: int, channels: int) -> Tensor:
        if len(self.pixels) < channels:
            raise ValueError(
                f"the image has {len(self.pixels)} channels of {channels} that the backbone takes"
            )
        return self.pixels[:channels]
