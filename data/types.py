"""The types that the packages exchange, and the box convention, which is declared only here.

A box is ``x1 y1 x2 y2``, zero-based and half-open, in pixels of the image beside it: pixel k is
the interval ``[k, k + 1)``. VOC's one-based closed corners ``(xmin, ymin, xmax, ymax)`` become
``(xmin - 1, ymin - 1, xmax, ymax)``; after that ``+ 1`` appears nowhere, and a plain
intersection over union equals the devkit's. No boxes are ``torch.zeros(0, 4)``, never ``None``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import supervision


@dataclass(frozen=True, slots=True)
class Annotation:
    """The annotation of one image; all tensors have G rows, one per object.

    Attributes:
        image_id: name without folder or ending.
        image_size: (height, width) in pixels.
        boxes: ``[G, 4]`` float32, original image.
        labels: ``[G]`` int64 in 0 .. C-1.
        difficult: ``[G]`` bool; such an object is neither a hit nor a miss.
        truncated: ``[G]`` bool; the object extends beyond its box.
    """

    image_id: str
    image_size: tuple[int, int]
    boxes: Tensor
    labels: Tensor
    difficult: Tensor
    truncated: Tensor


@dataclass(frozen=True, slots=True)
class Proposals:
    """Boxes that may hold an object, without a class.

    They are in pixels of the original image; as rois of a sample, in those of the network image.

    Attributes:
        boxes: ``[R, 4]`` float32.
        scores: ``[R]`` float32 objectness, higher is more confident; None where it is not known.
    """

    boxes: Tensor
    scores: Tensor | None

    def __getitem__(self, kept: Tensor | slice) -> "Proposals":
        """Those at these positions, or where a mask is true."""
        return Proposals(self.boxes[kept], None if self.scores is None else self.scores[kept])

    def to(self, device: str) -> "Proposals":
        """The same ones on another device."""
        scores = None if self.scores is None else self.scores.to(device)
        return Proposals(self.boxes.to(device), scores)


@dataclass(frozen=True, slots=True)
class ImageSample:
    """One training image: pixels and image-level labels, no boxes.

    Attributes:
        image_id: name without folder or ending.
        image: ``[K, H, W]`` uint8, the first three channels RGB, or ``[K, h, w]`` features of it.
        targets: ``[C]`` float32 in {0, 1}.
        weights: ``[C]`` float32, 0 = the class is ignored for this image.
        network_size: (height, width) of the image that a network sees, without padding.
        rois: proposals in pixels of the network image; None where none were asked for.
    """

    image_id: str
    image: Tensor
    targets: Tensor
    weights: Tensor
    network_size: tuple[int, int]
    rois: Proposals | None = None


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """Images of several sizes (or features of them) in one tensor, padded right and bottom.

    Attributes:
        image_ids: B names.
        images: ``[B, K, H, W]``, uint8 from the loader, float32 normalized for a network; or ``[B,
            K, h, w]`` features.
        sizes: ``[B, 2]`` int64, (height, width) of each network image without padding, in pixels.
        targets: ``[B, C]`` float32 in {0, 1}.
        weights: ``[B, C]`` float32, 0 = ignored.
        rois: B sets of proposals, in pixels of their network images; none where none were asked
            for.
    """

    image_ids: tuple[str, ...]
    images: Tensor
    sizes: Tensor
    targets: Tensor
    weights: Tensor
    rois: tuple[Proposals, ...] = ()

    def pin_memory(self) -> "ImageBatch":
        """The same in memory that CUDA copies from while it computes; rois stay where they are."""
        names = ("images", "sizes", "targets", "weights")
        return replace(self, **{name: getattr(self, name).pin_memory() for name in names})


@dataclass(frozen=True, slots=True)
class Detections:
    """Boxes with one class and one score each, in pixels of the original image.

    Attributes:
        boxes: ``[D, 4]`` float32.
        labels: ``[D]`` int64 in 0 .. C-1.
        scores: ``[D]`` float32, higher is more confident; no order is promised.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor

    def __getitem__(self, kept: Tensor | slice) -> "Detections":
        """Those at these positions, or where a mask is true."""
        return Detections(self.boxes[kept], self.labels[kept], self.scores[kept])

    def best_first(self) -> "Detections":
        """The same ones, highest score first; of equals the earlier one."""
        return self[self.scores.argsort(descending=True, stable=True)]

    def to_supervision(self, classes: Sequence[str]) -> "supervision.Detections":
        """The same ones as the package supervision draws, counts and tracks them.

        Args:
            classes: names in the order of the labels; become ``data["class_name"]``.

        Returns:
            In the same order and frame, float32; of no detections those of zero rows.

        Raises:
            ModuleNotFoundError: the package is not installed.
        """
        try:
            import supervision
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"{error} (pip install 'wsddn-localizer[supervision]')"
            ) from error
        names = np.array([classes[label] for label in self.labels.tolist()], dtype=str)
        return supervision.Detections(
            xyxy=self.boxes.numpy(),
            confidence=self.scores.numpy(),
            class_id=self.labels.numpy(),
            data={"class_name": names},
        )


def no_detections() -> Detections:
    """Detections of an image without any: tensors of zero rows."""
    return Detections(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0))


def without_boxes(image_id: str, image_size: tuple[int, int]) -> Annotation:
    """An annotation without objects."""
    none = torch.zeros(0, dtype=torch.int64)
    return Annotation(image_id, image_size, torch.zeros(0, 4), none, none.bool(), none.bool())
