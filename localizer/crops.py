"""An image seen in five crops: its corners and its center. The highest logit of them counts."""

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import five_crop

from data.collate import pad_stack
from localizer.model import Localizer, LocalizerHead

CROPS = 5


def image_logits(model: LocalizerHead, images: Tensor, sizes: Tensor, *, crop: int = 0) -> Tensor:
    """Image logits ``[B, C]``.

    Args:
        model: a ``Localizer`` for images, or its ``head()`` for features, which has no crops.
        images: input of the model, ``[B, ...]``.
        sizes: ``[B, 2]`` (height, width) of the images without padding, network pixels.
        crop: side of the five crops in network pixels, at most the image's; 0 sees it whole.
    """
    if not crop:
        return model.pool(model(images), sizes)
    assert isinstance(model, Localizer)  # settings refuse crops of features
    crops, crop_sizes = five_crops(images, sizes, crop, multiple=model.backbone.multiple)
    logits = model.pool(model(crops), crop_sizes)
    return logits.reshape(-1, CROPS, logits.shape[1]).amax(dim=1)


def five_crops(
    images: Tensor, sizes: Tensor, side: int, *, multiple: int = 1
) -> tuple[Tensor, Tensor]:
    """The corners and the center of each image, without its padding.

    Args:
        images: ``[B, K, H, W]``, padded right and bottom.
        sizes: ``[B, 2]`` (height, width) without padding.
        side: of a crop; an image that is shorter gives crops of its own length.
        multiple: sides of the result are padded to it.

    Returns:
        ``[5B, K, h, w]``, the crops of an image one after the other, padded, and their ``[5B, 2]``
        sizes without padding.
    """
    crops = []
    for image, (height, width) in zip(images, sizes.tolist(), strict=True):
        lengths = [min(side, height), min(side, width)]
        crops += five_crop(image[:, :height, :width], lengths)
    stacked = pad_stack(crops, multiple=multiple).to(images.device)
    crop_sizes = [[crop.shape[1], crop.shape[2]] for crop in crops]
    return stacked, torch.tensor(crop_sizes, device=sizes.device)
