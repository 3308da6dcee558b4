"""Scores of proposals, averaged over views of an image, and the detections chosen by them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torchvision.ops import batched_nms, box_iou

from data.types import Detections, Proposals, no_detections
from wsddn.model import WSDDN, WSDDNHead
from wsddn.scores import combine_scores

TINY = 1e-30  # least divisor, where a sum of weights is 0
# Added to a detector's ranking, .03, .05, .07 and .1 of the squared scores of heatmaps give .407
# .408 .405 .400 mAP on VOC 2007 val (.400 without), with another seed .417 .414 .405 .405 (.408);
# on 47 photographs of fruits .456 .466 .469 .479 (.445) and .492 .493 .506 .509 (.475).
LOCATED = 0.05


@dataclass(frozen=True, slots=True)
class ScoredProposals:
    """What a detector says of the R proposals of one image; float32 on the CPU.

    Attributes:
        scores: ``[R, C]`` of ``combine_scores``.
        class_probabilities: ``[R, C]``, the softmax over classes alone; each row sums to 1.
    """

    scores: Tensor
    class_probabilities: Tensor


@torch.inference_mode()
def score_proposals(
    model: WSDDN | WSDDNHead, views: Iterable[tuple[Tensor, Proposals]]
) -> ScoredProposals:
    """Mean over the views of one image: its sizes, upright and flipped.

    Args:
        model: a ``WSDDN`` for images, or its head for features; in evaluation mode.
        views: at least one; input of the model ``[1, ...]``, and the same
            proposals in the same order in pixels of that view.

    Returns:
        Means of the scores and of the class probabilities.

    Raises:
        ValueError: no views, or a score is not finite.
    """
    scores, probabilities, count = torch.zeros(()), torch.zeros(()), 0
    for features, rois in views:
        output = model(features, rois.boxes, rois.scores)
        scores = scores + combine_scores(output.class_logits, output.detection_logits).cpu()
        probabilities = probabilities + output.class_logits.float().softmax(dim=1).cpu()
        count += 1
    if not count:
        raise ValueError("an image has at least one view")
    if not scores.isfinite().all():
        raise ValueError("a proposal's score is not finite")
    return ScoredProposals(scores / count, probabilities / count)


def mean_scores(scored: Sequence[ScoredProposals]) -> ScoredProposals:
    """Mean over detectors of what they say of the same proposals; at least one.

    On VOC 2007 val detectors on EfficientNet-Lite0 (two seeds) and -Lite2, rescored, have .409 .414
    .406 mAP and .557 .554 .541 CorLoc; the mean of the first two has .410 and .556, those of one on
    each backbone .415 .419 and .580 .563.
    """
    return ScoredProposals(
        torch.stack([each.scores for each in scored]).mean(dim=0),
        torch.stack([each.class_probabilities for each in scored]).mean(dim=0),
    )


def rescore_proposals(scores: Tensor, weights: Tensor) -> Tensor:
    """Move the score of each class toward proposals of more weight; its sum does not change.

    Args:
        scores: ``[R, C]``; R may be 0.
        weights: ``[R, C]``, 0 or more.

    Returns:
        ``[R, C]`` float32.
    """
    weighted = scores.float() * weights
    return weighted * (scores.sum(dim=0) / weighted.sum(dim=0).clamp(min=TINY))


def gather_support(boxes: Tensor, scores: Tensor, *, min_iou: float) -> Tensor:
    """Give each proposal the scores of those that overlap it, weighted by the overlap.

    The softmax over proposals divides an object's score among its near-equal boxes, few or many;
    a part has few such boxes, a whole object has many. Their sum does not depend on this division.

    Args:
        boxes: ``[R, 4]``, any frame; R may be 0.
        scores: ``[R, C]``.
        min_iou: least overlap, in (0, 1].

    Returns:
        ``[R, C]`` float32, the sum over them of IoU times score; at most the sum of all scores.
    """
    overlap: Tensor = box_iou(boxes, boxes)  # [R, R]
    return (overlap * (overlap >= min_iou)) @ scores.float()


def rank_proposals(
    boxes: Tensor, scored: ScoredProposals, *, min_iou: float, located: Tensor | None = None
) -> Tensor:
    """Support of each proposal times the probability of the class in it, and what heatmaps say.

    Support says where the image shows the class, and a box is supported by boxes that show more
    or less than it does; the softmax over classes, which does not compare proposals, says what the
    box itself shows. On VOC 2007 val the factor adds .003 and .004 to mAP (two seeds), on 47
    photographs of fruits .007 and .006.

    Args:
        boxes: ``[R, 4]``, any frame; R may be 0.
        scored: of these proposals.
        min_iou: of ``gather_support``, in (0, 1].
        located: ``[R, C]`` in [0, 1], scores of the same proposals by the heatmaps of a localizer;
            None without one. The mean with their squares, of weight ``LOCATED``, is taken: of
            several objects the detector often supports one, and heatmaps show the others.

    Returns:
        ``[R, C]`` float32 in [0, 1].
    """
    ranking = gather_support(boxes, scored.scores, min_iou=min_iou) * scored.class_probabilities
    return ranking if located is None else (1 - LOCATED) * ranking + LOCATED * located.square()


def average_boxes(chosen: Tensor, boxes: Tensor, weights: Tensor, *, min_iou: float) -> Tensor:
    """Move boxes to the mean of the proposals around them.

    Args:
        chosen: ``[D, 4]``, some of the proposals; D may be 0.
        boxes: ``[R, 4]`` proposals.
        weights: ``[D, R]`` of each proposal for each chosen one, 0 or more.
        min_iou: least overlap of the proposals around a box, in (0, 1].

    Returns:
        ``[D, 4]`` float32; a box without a weighted proposal around it does not move.

    Source: Gidaris and Komodakis, 2015, section 5 (box voting).
    """
    near = (box_iou(chosen, boxes) >= min_iou) * weights.double()  # [D, R]
    total = near.sum(dim=1, keepdim=True)
    means = near @ boxes.double() / total.clamp(min=TINY)  # in float32 they could leave the image
    return torch.where(total > 0, means, chosen.double()).float()


def select_detections(
    boxes: Tensor,
    scores: Tensor,
    *,
    score_threshold: float = 1e-4,
    nms_threshold: float = 0.4,
    max_detections: int = 100,
    votes: Tensor | None = None,
    vote_iou: float = 0.5,
) -> Detections:
    """The best proposals above the threshold that no better one of their class covers.

    Args:
        boxes: ``[R, 4]`` with coordinates from 0; R may be 0.
        scores: ``[R, C]``.
        score_threshold: lowest score that is kept.
        nms_threshold: IoU above which the lower of two boxes of one class is removed.
        max_detections: of all classes together.
        votes: ``[R, C]``; with them each detection moves to the mean of the proposals around it,
            weighted by these, and of boxes that then cover each other the lower is removed.
        vote_iou: least overlap of the proposals around a detection, in (0, 1].

    Returns:
        Detections in the frame of the boxes, by descending score; maybe none.
    """
    rows, labels = torch.nonzero(scores >= score_threshold, as_tuple=True)
    every = Detections(boxes[rows], labels, scores[rows, labels])
    detections = _suppress(every, nms_threshold)[:max_detections]
    if votes is None:
        return detections
    weights = votes[:, detections.labels].T  # [D, R]
    moved = average_boxes(detections.boxes, boxes, weights, min_iou=vote_iou)
    return _suppress(replace(detections, boxes=moved), nms_threshold)


def top1_detections(
    boxes: Tensor, scores: Tensor, *, votes: Tensor | None = None, vote_iou: float = 0.5
) -> Detections:
    """The best box of each class, whatever its score; none of no proposals.

    Args:
        boxes: ``[R, 4]``, any frame; R may be 0.
        scores: ``[R, C]``.
        votes: as for ``select_detections``.
        vote_iou: likewise.

    Returns:
        C detections, label 0 first, or none.
    """
    if not len(boxes):
        return no_detections()
    labels = torch.arange(scores.shape[1])
    rows = scores.argmax(dim=0)
    best = boxes[rows]
    if votes is not None:
        best = average_boxes(best, boxes, votes.T, min_iou=vote_iou)
    return Detections(best, labels, scores[rows, labels])


def _suppress(detections: Detections, nms_threshold: float) -> Detections:
    """Those that no better one of their class covers, by descending score."""
    # float64: in float32 an overlap of 4/10 is above .4
    boxes, scores = detections.boxes.double(), detections.scores.double()
    return detections[batched_nms(boxes, scores, detections.labels, nms_threshold)]
