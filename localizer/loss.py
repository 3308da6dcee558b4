"""The multi-label loss and the localizer's criterion."""

import torch
import torch.nn.functional as F
from torch import Tensor

from data.types import ImageBatch
from localizer.crops import image_logits
from localizer.model import LocalizerHead


def multilabel_bce(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Binary cross-entropy from logits, averaged over the entries of weight 1.

    Args:
        logits: ``[B, C]``.
        targets: ``[B, C]`` in {0, 1}.
        weights: ``[B, C]``, 0 = ignored.

    Returns:
        A scalar; 0 when every entry is ignored.
    """
    losses = F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")
    return (losses * weights).sum() / weights.sum().clamp(min=1)


def localizer_losses(
    model: LocalizerHead, batch: ImageBatch, *, crop: int = 0
) -> tuple[dict[str, Tensor], Tensor]:
    """One batch to its losses by name, and the image scores ``[B, C]`` (detached) behind them.

    A ``Localizer`` takes batches of normalized images, its ``head()`` batches of features; ``crop``
    as in ``image_logits``.
    """
    logits = image_logits(model, batch.images, batch.sizes, crop=crop)
    loss = multilabel_bce(logits, batch.targets, batch.weights)
    return {"image_label": loss}, torch.sigmoid(logits.detach().float())
