"""The detector's criterion: a batch of images with their proposals to losses by name."""

import torch
from torch import Tensor

from data.types import ImageBatch, Proposals
from wsddn.loss import image_level_loss, spatial_regularizer
from wsddn.model import WSDDN, WSDDNHead
from wsddn.scores import image_scores, log_scores


def wsddn_losses(
    model: WSDDN | WSDDNHead,
    batch: ImageBatch,
    *,
    spatial_weight: float = 1e-4,
    drop_fraction: float = 0.0,
) -> tuple[dict[str, Tensor], Tensor]:
    """Losses by name, averaged over the images, and the image scores ``[B, C]`` (detached).

    A ``WSDDN`` takes batches of normalized images, its head batches of features. The softmax
    over proposals is that of each image alone.

    Args:
        model: to be trained.
        batch: with at least one proposal an image.
        spatial_weight: of the regularizer, 1e-4 in the paper; 0 leaves it out.
        drop_fraction: chance of each proposal to be left out, so that the network cannot depend on
            the same few boxes of an image every time.

    Raises:
        ValueError: images without rois, or with an empty set of them.
    """
    if not batch.rois:
        raise ValueError("a detector's batch comes with rois")
    losses: dict[str, list[Tensor]] = {"image_label": []}
    batch_scores = []
    for index, every in enumerate(batch.rois):
        rois = drop_proposals(every, drop_fraction)
        output = model(batch.images[index : index + 1], rois.boxes, rois.scores)
        logs = log_scores(output.class_logits, output.detection_logits)
        targets, weights = batch.targets[index], batch.weights[index]
        losses["image_label"].append(image_level_loss(logs, targets, weights))
        scores = logs.detach().exp()
        if spatial_weight:
            pulled = spatial_regularizer(rois.boxes, output.fc7, scores, targets * weights)
            losses.setdefault("spatial", []).append(spatial_weight * pulled)
        batch_scores.append(image_scores(scores))
    means = {name: torch.stack(values).mean() for name, values in losses.items()}
    return means, torch.stack(batch_scores)


def drop_proposals(proposals: Proposals, fraction: float) -> Proposals:
    """Leave out each proposal with that chance; the first one is kept where none would be left.

    Args:
        proposals: at least one.
        fraction: in [0, 1); 0 draws no random numbers.
    """
    if not fraction:
        return proposals
    kept = torch.rand(len(proposals.boxes), device=proposals.boxes.device) >= fraction
    if not kept.any():
        kept[0] = True
    return proposals[kept]
