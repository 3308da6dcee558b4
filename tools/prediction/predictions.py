"""What a trained model predicts for the images of a data set, one by one, whatever its kind."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from data.collate import collate_images
from data.datasets.image_set import ImageSet
from data.types import Detections, Proposals
from localizer.localize import (
    ImageHeatmaps,
    fit_proposals,
    heatmap_agreement,
    localize,
    predict_heatmaps,
)
from localizer.model import LocalizerHead
from localizer.settings import BoxSettings
from tools.inputs.proposal_scores import KeptScores
from tools.inputs.rois import WithProposals
from tools.inputs.samples import Samples, both_views
from tools.models.device import Device
from wsddn.detect import (
    ScoredProposals,
    mean_scores,
    rank_proposals,
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
# Number of an image and R proposals of it: their weights and their own scores, both ``[R, C]``.
Rescoring = Callable[[int, Proposals], tuple[Tensor, Tensor]]
# Of the boxes that a localizer takes from proposals. Votes are sharper than the fit, which falls
# slowly around the best proposal. Powers 2, 4 and 8 gave .344, .347 and .339 mAP on VOC 2007 val.
VOTE_POWER, VOTE_IOU = 4, 0.5


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
        proposals: by image id, in pixels of the originals; then the boxes of an image are the ones
            of these that fit its heatmaps. None for boxes around hot regions alone.
        crop: side of the five crops that the image logits are of, see ``image_logits``.
    """

    module: LocalizerHead
    inputs: Sequence[Samples]
    dataset: ImageSet
    device: Device
    boxes: BoxSettings
    crop: int = 0
    proposals: Mapping[str, Proposals] | None = None

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

    def rescore(self, index: int, proposals: Proposals) -> tuple[Tensor, Tensor]:
        """Of R proposals of an image, ``heatmap_agreement`` and their own scores ``[R, C]``."""
        heatmaps = self.heatmaps(index)
        located = fit_proposals(heatmaps, proposals) * heatmaps.image_logits.sigmoid()
        return heatmap_agreement(heatmaps, proposals.boxes), located

    def __getitem__(self, index: int) -> Prediction:
        heatmaps = self.heatmaps(index)
        proposals = (self.proposals or {}).get(self.dataset.ids[index])
        if proposals is not None and len(proposals.boxes):
            fit = fit_proposals(heatmaps, proposals)
            scores = fit * heatmaps.image_logits.sigmoid()
            read = _read(proposals.boxes, scores, fit**VOTE_POWER, VOTE_IOU)
            return Prediction(heatmaps.image_logits.double().sigmoid(), *read, heatmaps)
        every = localize(heatmaps, self.boxes, score_threshold=0.0, max_detections=10_000)
        kept = torch.nonzero(every.scores >= SCORE_THRESHOLD)[:MAX_DETECTIONS, 0]
        detections = every[kept]
        return Prediction(heatmaps.image_logits.double().sigmoid(), detections, every, heatmaps)


@dataclass(frozen=True, slots=True)
class Detector:
    """One detector and the images whose proposals it scores.

    Attributes:
        module: the model for images, its head for features.
        inputs: what it takes with its proposals, at each size.
        dataset: the same images.
        device: computes.
        flip: look at the flipped images too.
        kept: scores of an earlier reading; None to keep none.
    """

    module: WSDDN | WSDDNHead
    inputs: Sequence[WithProposals]
    dataset: ImageSet
    device: Device
    flip: bool
    kept: KeptScores | None = None

    def proposals(self, index: int) -> Proposals:
        """In pixels of the original."""
        return self.inputs[0].proposals[self.dataset.ids[index]]

    def score(self, index: int) -> ScoredProposals:
        """An image's proposals, the mean over its sizes and flips."""
        scored = self.kept.read(index) if self.kept else None
        if scored is None:
            with self.device.autocast():
                scored = score_proposals(self.module, self._views(index))
            if self.kept:
                self.kept.write(index, scored)
        return scored

    def _views(self, index: int) -> Iterator[tuple[Tensor, Proposals]]:
        for samples in self.inputs:
            for flipped in (False, True)[: 1 + self.flip]:
                sample = samples.sample(index, flipped=flipped)
                batch = collate_images([sample], multiple=samples.multiple)
                prepared = samples.prepare(batch, self.device)
                yield prepared.images, prepared.rois[0]


@dataclass(frozen=True, slots=True)
class DetectorPredictions:
    """Those of one detector, or of several that score the same proposals.

    Attributes:
        detectors: the mean of their scores is read.
        support_iou: overlap from which proposals support each other and move each other's box, see
            ``rank_proposals`` and ``average_boxes``; 0 takes each for itself, as the paper does.
        rescorings: each gives the proposals of an image their weights, of which the mean is taken;
            none for scores as they are.
    """

    detectors: Sequence[Detector]
    support_iou: float = 0.0
    rescorings: Sequence[Rescoring] = ()

    @property
    def module(self) -> nn.Module:
        """All that computes."""
        return nn.ModuleList(detector.module for detector in self.detectors)

    @property
    def dataset(self) -> ImageSet:
        """The images."""
        return self.detectors[0].dataset

    @property
    def boxes(self) -> None:
        """It has no heatmaps."""

    def score(self, index: int) -> ScoredProposals:
        """An image's proposals, the mean over the detectors; not yet rescored."""
        return mean_scores([detector.score(index) for detector in self.detectors])

    def __getitem__(self, index: int) -> Prediction:
        proposals, scored, located = self.detectors[0].proposals(index), self.score(index), None
        if self.rescorings:
            found = [rescoring(index, proposals) for rescoring in self.rescorings]
            weights, located = (torch.stack(each).mean(dim=0) for each in zip(*found, strict=True))
            scored = replace(scored, scores=rescore_proposals(scored.scores, weights))
        boxes = proposals.boxes
        if self.support_iou:
            ranking = rank_proposals(boxes, scored, min_iou=self.support_iou, located=located)
            read = _read(boxes, ranking, scored.scores, self.support_iou)
        else:
            read = _read(boxes, scored.scores, None, 0)
        return Prediction(image_scores(scored.scores).double(), *read)


def _read(
    boxes: Tensor, scores: Tensor, votes: Tensor | None, vote_iou: float
) -> tuple[Detections, Detections]:
    """The detections among an image's proposals, and the top-scoring box of each class."""
    detections = select_detections(
        boxes,
        scores,
        score_threshold=SCORE_THRESHOLD,
        nms_threshold=NMS_THRESHOLD,
        max_detections=MAX_DETECTIONS,
        votes=votes,
        vote_iou=vote_iou,
    )
    return detections, top1_detections(boxes, scores, votes=votes, vote_iou=vote_iou)
