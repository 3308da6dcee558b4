"""A detector's scores and detections on one image."""

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from data.collate import collate_images
from data.types import Detections, Proposals
from tools.inputs.rois import WithProposals
from tools.models.device import Device
from wsddn.detect import score_proposals, select_detections
from wsddn.model import WSDDN, WSDDNHead

MAX_DETECTIONS = 100  # of an image
SCORE_THRESHOLD = 1e-4
NMS_THRESHOLD = 0.4
Rescoring = Callable[[int, Tensor], Tensor]


def scores_of(
    model: WSDDN | WSDDNHead,
    inputs: Sequence[WithProposals],
    index: int,
    device: Device,
    *,
    flip: bool,
) -> Tensor:
    """``[R, C]`` of one image's proposals, the mean over its sizes, flipped as well if asked."""
    with device.autocast():
        return score_proposals(model, _views(inputs, index, device, flip=flip))


def _views(
    inputs: Sequence[WithProposals], index: int, device: Device, *, flip: bool
) -> Iterator[tuple[Tensor, Proposals]]:
    for samples in inputs:
        for flipped in (False, True)[: 1 + flip]:
            sample = samples.sample(index, flipped=flipped)
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
