"""Scores of proposals, averaged over views of a picture, and the detections that remain of them."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from data.types import Detections, Proposals
from wsddn.model import WSDDN, WSDDNHead
from wsddn.scores import combine_scores


@torch.inference_mode()
def score_proposals(model: WSDDN | WSDDNHead, views: Iterable[tuple[Tensor, Proposals]]) -> Tensor:
    """Mean over the views of one picture: its sizes, upright and mirrored.

    Args:
        model: a ``WSDDN`` for pictures, or its head for features; in evaluation mode.
        views: at least one; what the model takes of the picture ``[1, ...]``, and the same
            proposals in the same order in pixels of that view.

    Returns:
        ``[R, C]`` float32 on the CPU, as of ``combine_scores``.

    Raises:
        ValueError: no views, or a score is not finite.
    """
    total, count = torch.zeros(()), 0
    for features, rois in views:
        output = model(features, rois.boxes, rois.scores)
        total = total + combine_scores(output.class_logits, output.detection_logits).cpu()
        count += 1
    if not count:
        raise ValueError("a picture has at least one view")
    if not total.isfinite().all():
        raise ValueError("a proposal's score is not finite")
    return total / count


def select_detections(
    boxes: Tensor,
    scores: Tensor,
    *,
    score_threshold: float = 1e-4,
    nms_threshold: float = 0.4,
    max_detections: int = 100,
) -> Detections:
    """The proposals that stay: sure enough, not covered by a better one of the class, the best.

    Args:
        boxes: ``[R, 4]`` with coordinates from 0; R may be 0.
        scores: ``[R, C]``.
        score_threshold: lowest score that stays.
        nms_threshold: IoU above which the lower of two boxes of one class goes.
        max_detections: of all classes together.

    Returns:
        Detections in the frame of the boxes, by descending score; maybe none.
    """
    rows, labels = torch.nonzero(scores >= score_threshold, as_tuple=True)
    found = scores[rows, labels]
    # float64: in float32 an overlap of 4/10 is above .4
    kept = batched_nms(boxes[rows].double(), found.double(), labels, nms_threshold)
    kept = kept[:max_detections]
    return Detections(boxes[rows[kept]], labels[kept], found[kept])
