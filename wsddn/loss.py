"""The image-level loss in logarithms, and the spatial regularizer."""

import torch
from torch import Tensor
from torchvision.ops import box_iou

from data.transforms import move_early

CERTAIN = -1e-6  # highest logarithm of a probability whose complement is still taken


def image_level_loss(log_scores: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Binary log loss of the image, summed over the classes of weight 1.

    The image's score is a sum of products that is at most 1 in mathematics and a little more in
    floats. Its logarithm has a gradient where a clamped sum has none, so a positive class without a
    proposal that shows it still learns.

    Args:
        log_scores: ``[R, C]``, logarithms of the proposals' scores, R at least 1.
        targets: ``[C]`` in {0, 1}.
        weights: ``[C]``, 0 = ignored.

    Returns:
        A scalar; 0 when every class is ignored.

    Raises:
        ValueError: no proposals.
    """
    if not len(log_scores):
        raise ValueError("an image without proposals has no loss")
    present = log_scores.logsumexp(dim=0)  # [C]
    absent = torch.log1p(-present.clamp(max=CERTAIN).exp())
    return -(weights * (targets * present + (1 - targets) * absent)).sum()


def spatial_regularizer(
    boxes: Tensor,
    fc7: Tensor,
    scores: Tensor,
    targets: Tensor,
    *,
    top: int = 10,
    min_iou: float = 0.6,
) -> Tensor:
    """Pull proposals that overlap the best one of a present class toward its features.

    ``1/2 * 1/C * sum over classes present, over neighbors r of (p_r * |fc7_r - fc7_best|)^2``,
    where p_r is the score of proposal r for the class and takes no gradient. Neighbors are the
    ``top`` best-scored proposals whose overlap with the best one exceeds ``min_iou``.

    Args:
        boxes: ``[R, 4]`` of the proposals, any frame.
        fc7: ``[R, F]``.
        scores: ``[R, C]`` of ``combine_scores``.
        targets: ``[C]`` in {0, 1}.
        top: neighbors of each best proposal.
        min_iou: that a neighbor exceeds.

    Returns:
        A scalar; 0 without a present class or without neighbors.

    Source: Bilen and Vedaldi, 2016, section 3.4; 10 neighbors and .6 are theirs.
    """
    known, present = scores.detach().cpu(), targets.cpu()
    boxes = boxes.cpu()
    total = fc7.new_zeros((), dtype=torch.float32)
    for label in torch.nonzero(present)[:, 0].tolist() if len(boxes) else ():
        best = int(known[:, label].argmax())
        near = box_iou(boxes[best : best + 1], boxes)[0] > min_iou
        near[best] = False
        rows = torch.nonzero(near)[:, 0]
        rows = rows[known[rows, label].argsort(descending=True, stable=True)[:top]]
        apart = (fc7[move_early(rows, fc7)].float() - fc7[best].float()).square().sum(dim=1)
        total = total + (move_early(known[rows, label].square(), fc7) * apart).sum()
    return total / (2 * targets.numel())
