"""What a trained model predicts for the images of a data set, one by one, whatever its kind."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from data.collate import collate_images
from data.datasets.image_set import ImageSet
from data.types import Detections, Proposals
from localizer.localize import ImageHeatmaps, heatmap_overlap, localize, predict_heatmaps
from localizer.model import LocalizerHead
from localizer.settings import BoxSettings
from tools.inputs.proposal_scores import KeptScores
from tools.inputs.rois import WithProposals
from tools.inputs.samples import Samples, both_views
from tools.models.device import Device
from wsddn.detect import (
    rescore_proposals,
    score_proposals,
    select_detections,
    top1_detections,
)
from wsddn.model import WSDDN, WSDDNHead
from wsddn.scores import image_scores

MAX_DETECTIONS = 100  # of an image, all classes together
SCORE_THRESHOLD = 1e-4
NMS_THRESHOLD = 0.4
Rescoring = Callable[[int, Tensor], Tensor]  # number of an image, its ``[R, 4]``: ``[R, C]``


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model predicts for one image; boxes are in pixels of the original.

    Attributes:
        image_scores: ``[C]`` float64 in 0 .. 1, whether the image holds each class.
        detections: score at least 1e-4, at most 100; maybe none.
        top1: with the top-scoring box of each class, whatever its score.
        heatmaps: of a localizer; None of a detector.
    """

    image_scores: Tensor
    detections: Detections
    top1: Detections
    heatmaps: ImageHeatmaps | None = None


class Predictions(Protocol):
    """Predictions by number of the image; computed when they are asked for."""

    @property
    def module(self) -> nn.Module:
        """The module that computes; in evaluation mode while predictions are asked for."""
        ...

    @property
    def dataset(self) -> ImageSet:
        """The images."""
        ...

    @property
    def boxes(self) -> BoxSettings | None:
        """How heatmaps become boxes; None of a detector, which has no heatmaps."""
        ...

    def __getitem__(self, index: int) -> Prediction: ...


@dataclass(frozen=True, slots=True)
class LocalizerPredictions:
    """Those of a localizer.

    Attributes:
        module: the model for images, its head for features.
        inputs: what it takes, at each size.
        dataset: the same images.
        device: computes.
        boxes: how heatmaps become boxes.
        crop: side of the five crops that the image logits are of, see ``image_logits``.
    """

    module: LocalizerHead
    inputs: Sequence[Samples]
    dataset: ImageSet
    device: Device
    boxes: BoxSettings
    crop: int = 0

    def heatmaps(self, index: int) -> ImageHeatmaps:
        """Mean of the upright and the flipped view.

        The maps are those of the first size, the image logits are the mean over all sizes.
        """
        original = self.dataset.annotations[index].image_size
        by_size = []
        for samples in self.inputs:
            pair = both_views(samples, index, self.device)
            height, width = pair.sizes[0].tolist()
            with self.device.autocast():
                heatmaps = predict_heatmaps(
                    self.module, pair.images, (height, width), original, crop=self.crop
                )
            by_size.append(heatmaps)
        image_logits = torch.stack([heatmaps.image_logits for heatmaps in by_size]).mean(dim=0)
        return replace(by_size[0], image_logits=image_logits)

    def overlap(self, index: int, boxes: Tensor) -> Tensor:
        """``[R, C]``: how far ``[R, 4]`` proposals and the heatmaps cover each other."""
        return heatmap_overlap(self.heatmaps(index), boxes)

    def __getitem__(self, index: int) -> Prediction:
        heatmaps = self.heatmaps(index)
        every = localize(heatmaps, self.boxes, score_threshold=0.0, max_detections=10_000)
        kept = torch.nonzero(every.scores >= SCORE_THRESHOLD)[:MAX_DETECTIONS, 0]
        detections = every[kept]
        return Prediction(heatmaps.image_logits.double().sigmoid(), detections, every, heatmaps)


@dataclass(frozen=True, slots=True)
class DetectorPredictions:
    """Those of a detector.

    Attributes:
        module: the model for images, its head for features.
        inputs: what it takes with its proposals, at each size.
        dataset: the same images.
        device: computes.
        flip: look at the flipped images too.
        support_iou: see ``select_detections``.
        rescoring: gives the proposals of an image their weights; None for none.
        kept: scores before they are rescored, of an earlier reading; None to keep none.
    """

    module: WSDDN | WSDDNHead
    inputs: Sequence[WithProposals]
    dataset: ImageSet
    device: Device
    flip: bool
    support_iou: float = 0.0
    rescoring: Rescoring | None = None
    kept: KeptScores | None = None

    @property
    def boxes(self) -> None:
        """It has no heatmaps."""

    def proposals(self, index: int) -> Tensor:
        """``[R, 4]`` in pixels of the original."""
        return self.inputs[0].proposals[self.dataset.ids[index]].boxes

    def scores(self, index: int) -> Tensor:
        """``[R, C]`` of an image's proposals, the mean over its sizes and flips, rescored."""
        scores = self.kept.read(index) if self.kept else None
        if scores is None:
            with self.device.autocast():
                scores = score_proposals(self.module, self._views(index))
            if self.kept:
                self.kept.write(index, scores)
        if self.rescoring is None:
            return scores
        return rescore_proposals(scores, self.rescoring(index, self.proposals(index)))

    def _views(self, index: int) -> Iterator[tuple[Tensor, Proposals]]:
        for samples in self.inputs:
            for flipped in (False, True)[: 1 + self.flip]:
                sample = samples.sample(index, flipped=flipped)
                batch = collate_images([sample], multiple=samples.multiple)
                prepared = samples.prepare(batch, self.device)
                yield prepared.images, prepared.rois[0]

    def __getitem__(self, index: int) -> Prediction:
        boxes, scores = self.proposals(index), self.scores(index)
        detections = select_detections(
            boxes,
            scores,
            score_threshold=SCORE_THRESHOLD,
            nms_threshold=NMS_THRESHOLD,
            max_detections=MAX_DETECTIONS,
            support_iou=self.support_iou,
        )
        top1 = top1_detections(boxes, scores, support_iou=self.support_iou)
        return Prediction(image_scores(scores).double(), detections, top1)
