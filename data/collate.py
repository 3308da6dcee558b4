"""Samples to batches."""

from collections.abc import Sequence

import torch
from torch import Tensor

from data.types import ImageBatch, ImageSample


def collate_images(samples: Sequence[ImageSample], *, multiple: int = 1) -> ImageBatch:
    """One batch; images of different sizes are padded right and bottom with zeros.

    Args:
        samples: at least one.
        multiple: height and width of the batch become multiples of it.
    """
    if not samples:
        raise ValueError("a batch has at least one sample")
    rois = tuple(sample.rois for sample in samples if sample.rois is not None)
    if len(rois) not in (0, len(samples)):
        raise ValueError(f"{len(rois)} of {len(samples)} samples have rois; all have, or none")
    return ImageBatch(
        tuple(sample.image_id for sample in samples),
        pad_stack([sample.image for sample in samples], multiple=multiple),
        torch.tensor([sample.network_size for sample in samples]),
        torch.stack([sample.targets for sample in samples]),
        torch.stack([sample.weights for sample in samples]),
        rois,
    )


def pad_stack(tensors: Sequence[Tensor], *, multiple: int = 1) -> Tensor:
    """``[K, h_i, w_i]`` tensors in one ``[B, K, H, W]``, zeros right and bottom.

    H and W are the largest height and width, rounded up to ``multiple``.
    """
    height, width = (
        -(-max(tensor.shape[axis] for tensor in tensors) // multiple) * multiple
        for axis in (-2, -1)
    )
    stacked = tensors[0].new_zeros(len(tensors), tensors[0].shape[0], height, width)
    for row, tensor in zip(stacked, tensors, strict=True):
        row[:, : tensor.shape[-2], : tensor.shape[-1]] = tensor
    return stacked
