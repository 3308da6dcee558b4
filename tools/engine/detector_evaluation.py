"""A detector on a split: image scores, detections, and what they are worth."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from torch import Tensor

from data.collate import collate_images
from data.image_set import ImageSet
from data.types import Detections, Proposals
from tools.engine.device import Device
from tools.engine.interrupts import check_interrupted
from tools.engine.progress import track
from tools.engine.proposal_samples import WithProposals
from tools.engine.split_metrics import (
    MAX_DETECTIONS,
    SCORE_THRESHOLD,
    Evaluation,
    evaluation_mode,
    summarize,
)
from wsddn.detect import (
    score_proposals,
    select_detections,
    surest_detections,
    weigh_proposals,
)
from wsddn.model import WSDDN, WSDDNHead
from wsddn.scores import image_scores

NMS_THRESHOLD = 0.4
Heat = Callable[[int, Tensor], Tensor]


def scores_of(
    model: WSDDN | WSDDNHead,
    scales: Sequence[WithProposals],
    index: int,
    device: Device,
    *,
    flip: bool,
) -> Tensor:
    """``[R, C]`` of one picture's proposals, the mean over its sizes, mirrored as well if asked."""
    with device.autocast():
        return score_proposals(model, _views(scales, index, device, flip=flip))


def _views(
    scales: Sequence[WithProposals], index: int, device: Device, *, flip: bool
) -> Iterator[tuple[Tensor, Proposals]]:
    for samples in scales:
        for mirrored in (False, True)[: 1 + flip]:
            sample = samples.sample(index, mirrored=mirrored)
            batch = samples.prepare(collate_images([sample], multiple=samples.multiple), device)
            yield batch.images, batch.rois[0]


def detections_of(boxes: Tensor, scores: Tensor, support_iou: float) -> Detections:
    """What is reported of ``[R, 4]`` proposals with ``[R, C]`` scores."""
    return select_detections(
        boxes,
        scores,
        score_threshold=SCORE_THRESHOLD,
        nms_threshold=NMS_THRESHOLD,
        max_detections=MAX_DETECTIONS,
        support_iou=support_iou,
    )


def evaluate_detector(
    model: WSDDN | WSDDNHead,
    scales: Sequence[WithProposals],
    dataset: ImageSet,
    device: Device,
    *,
    flip: bool,
    support_iou: float = 0.0,
    heat: Heat | None = None,
    what: str = "evaluation",
) -> Evaluation:
    """Score every picture of a split and compare with its annotations.

    CorLoc takes the surest proposal of each class, whatever its score; AP takes detections above
    1e-4. Every module gets its own mode back afterwards.

    Args:
        model: the detector, or its head for features.
        scales: what it is fed, at each size.
        dataset: the split.
        device: computes.
        flip: look at mirror images too.
        support_iou: see ``select_detections``.
        heat: number of a picture and its proposals to their weights ``[R, C]``.
        what: for the progress.

    Raises:
        Interrupted: a signal came.
    """
    of_images = np.zeros((len(dataset), len(dataset.classes)))
    detections, surest = {}, {}
    with evaluation_mode(model):
        for index in track(range(len(dataset)), what, total=len(dataset)):
            check_interrupted()
            image_id = dataset.ids[index]
            boxes = scales[0].proposals[image_id].boxes
            scores = scores_of(model, scales, index, device, flip=flip)
            if heat is not None:
                scores = weigh_proposals(scores, heat(index, boxes))
            of_images[index] = image_scores(scores).double().numpy()
            detections[image_id] = detections_of(boxes, scores, support_iou)
            surest[image_id] = surest_detections(boxes, scores, support_iou=support_iou)
    return summarize(dataset, of_images, detections, surest)
