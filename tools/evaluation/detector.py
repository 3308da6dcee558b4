"""A detector on a split: image scores, detections, and how good they are."""

from collections.abc import Sequence

import numpy as np

from data.datasets.image_set import ImageSet
from tools.cli.console import track
from tools.cli.signals import check_interrupted
from tools.evaluation.metrics import Evaluation, summarize
from tools.inputs.rois import WithProposals
from tools.models.device import Device, evaluation_mode
from tools.prediction.detector import Rescoring, detections_of, scores_of
from wsddn.detect import rescore_proposals, top1_detections
from wsddn.model import WSDDN, WSDDNHead
from wsddn.scores import image_scores


def evaluate_detector(
    model: WSDDN | WSDDNHead,
    inputs: Sequence[WithProposals],
    dataset: ImageSet,
    device: Device,
    *,
    flip: bool,
    support_iou: float = 0.0,
    rescoring: Rescoring | None = None,
    description: str = "evaluation",
) -> Evaluation:
    """Score every image of a split and compare with its annotations.

    CorLoc takes the top-scoring proposal of each class, whatever its score; AP takes detections
    above 1e-4. Every module gets its own mode back afterward.

    Args:
        model: the detector, or its head for features.
        inputs: what it takes, at each size.
        dataset: the split.
        device: computes.
        flip: look at flipped images too.
        support_iou: see ``select_detections``.
        rescoring: number of an image and its proposals to their weights ``[R, C]``.
        description: for the progress.

    Raises:
        Interrupted: a signal came.
    """
    of_images = np.zeros((len(dataset), len(dataset.classes)))
    detections, top_scoring = {}, {}
    with evaluation_mode(model):
        for index in track(range(len(dataset)), description, total=len(dataset)):
            check_interrupted()
            image_id = dataset.ids[index]
            boxes = inputs[0].proposals[image_id].boxes
            scores = scores_of(model, inputs, index, device, flip=flip)
            if rescoring is not None:
                scores = rescore_proposals(scores, rescoring(index, boxes))
            of_images[index] = image_scores(scores).double().numpy()
            detections[image_id] = detections_of(boxes, scores, support_iou)
            top_scoring[image_id] = top1_detections(boxes, scores, support_iou=support_iou)
    return summarize(dataset, of_images, detections, top_scoring)
