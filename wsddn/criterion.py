"""The detector's criterion: a batch of images with their proposals to losses by name.

A loss is one row of ``TERMS``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from data.types import ImageBatch, Proposals
from wsddn.loss import image_level_loss, spatial_regularizer
from wsddn.model import WSDDN, WSDDNHead, WSDDNOutput
from wsddn.scores import image_scores, log_scores


@dataclass(frozen=True, slots=True)
class ScoredImage:
    """What the model says of one image's proposals, and the image's labels.

    Attributes:
        rois: at least one, in pixels of the network image.
        output: of the model.
        log_scores: ``[R, C]``, see ``wsddn.scores``.
        targets: ``[C]`` in {0, 1}.
        weights: ``[C]``, 0 = ignored.
    """

    rois: Proposals
    output: WSDDNOutput
    log_scores: Tensor
    targets: Tensor
    weights: Tensor


def _image_label(image: ScoredImage) -> Tensor:
    return image_level_loss(image.log_scores, image.targets, image.weights)


def _spatial(image: ScoredImage) -> Tensor:
    scores = image.log_scores.detach().exp()
    present = image.targets * image.weights
    return spatial_regularizer(image.rois.boxes, image.output.fc7, scores, present)


TERMS: dict[str, Callable[[ScoredImage], Tensor]] = {
    "image_label": _image_label,
    "spatial": _spatial,
}


def wsddn_losses(
    model: WSDDN | WSDDNHead,
    batch: ImageBatch,
    *,
    factors: Mapping[str, float],
    drop_fraction: float = 0.0,
) -> tuple[dict[str, Tensor], Tensor]:
    """Losses by name, averaged over the images, and the image scores ``[B, C]`` (detached).

    A ``WSDDN`` takes batches of normalized images, its head batches of features. The softmax
    over proposals is that of each image alone.

    Args:
        model: to be trained.
        batch: with at least one proposal an image.
        factors: of ``TERMS`` by name, 1 where none is given; 0 leaves a term out.
        drop_fraction: chance of each proposal to be left out, so that the network cannot depend on
            the same few boxes of an image every time.

    Raises:
        ValueError: images without rois, or with an empty set of them.
    """
    if not batch.rois:
        raise ValueError("a detector's batch comes with rois")
    used = {name: factors.get(name, 1.0) for name in TERMS if factors.get(name, 1.0)}
    losses: dict[str, list[Tensor]] = {name: [] for name in used}
    batch_scores = []
    for index, every in enumerate(batch.rois):
        rois = drop_proposals(every, drop_fraction)
        output = model(batch.images[index : index + 1], rois.boxes, rois.scores)
        logs = log_scores(output.class_logits, output.detection_logits)
        image = ScoredImage(rois, output, logs, batch.targets[index], batch.weights[index])
        for name, factor in used.items():
            losses[name].append(factor * TERMS[name](image))
        batch_scores.append(image_scores(logs.detach().exp()))
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
