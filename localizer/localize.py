"""A model and an image: heatmaps, image scores and detections in the original frame."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import batched_nms

from data.types import Detections, Proposals, no_detections
from localizer.backbones import Geometry
from localizer.boxes import find_hills, heatmaps_to_boxes
from localizer.crops import image_logits
from localizer.heatmaps import flip_heatmaps
from localizer.model import LocalizerHead
from localizer.settings import BoxSettings

LEAST_OBJECTNESS = 1e-3
TINY = 1e-30  # least divisor, where no proposal overlaps a heatmap


@dataclass(frozen=True, slots=True)
class ImageHeatmaps:
    """Output of a localizer for one image.

    Attributes:
        logits: ``[C, h, w]`` float32, valid cells only.
        image_logits: ``[C]`` float32.
        geometry: of the maps, in the network image.
        network_size: (height, width) of the network image without padding.
        image_size: (height, width) of the original.
    """

    logits: Tensor
    image_logits: Tensor
    geometry: Geometry
    network_size: tuple[int, int]
    image_size: tuple[int, int]

    @property
    def to_original(self) -> Tensor:
        """``[4]`` float32 that takes a box of the network image to the original."""
        scale_y, scale_x = (
            original / network
            for original, network in zip(self.image_size, self.network_size, strict=True)
        )
        return torch.tensor([scale_x, scale_y, scale_x, scale_y])


@torch.inference_mode()
def predict_heatmaps(
    model: LocalizerHead,
    views: Tensor,
    network_size: tuple[int, int],
    image_size: tuple[int, int],
    *,
    crop: int = 0,
) -> ImageHeatmaps:
    """Heatmaps of one image, averaged over the image and the flipped image when both are given.

    Args:
        model: a ``Localizer`` for images, or its ``head()`` for features; in evaluation mode.
        views: ``[V, ...]`` input of the model, V = 1, or 2 with the flipped image second.
        network_size: (height, width) of the network image without padding.
        image_size: (height, width) of the original.
        crop: of the image logits, see ``image_logits``; the heatmaps are those of the whole image.

    Raises:
        ValueError: a cell is not finite.
    """
    logits = model(views).float().cpu()  # [V, C, h, w]
    if bad := int((~logits.isfinite()).sum()):
        raise ValueError(f"{bad} of {logits.numel()} heatmap cells are not finite")
    sizes = torch.tensor([network_size])
    every = sizes.expand(len(logits), 2)
    if crop:
        of_views = image_logits(model, views, every, crop=crop).float().cpu()
    else:
        of_views = model.pool(logits, every)
    valid = model.geometry.valid_cells(sizes, (logits.shape[2], logits.shape[3]))[0]
    rows, columns = int(valid.any(dim=1).sum()), int(valid.any(dim=0).sum())
    upright = logits[0, :, :rows, :columns]
    if len(logits) == 2:
        flipped = flip_heatmaps(
            logits[1, :, :rows, :columns], model.geometry, network_size[1], columns
        )
        upright = (upright + flipped) / 2
    return ImageHeatmaps(upright, of_views.mean(dim=0), model.geometry, network_size, image_size)


def localize(
    heatmaps: ImageHeatmaps,
    settings: BoxSettings,
    *,
    score_threshold: float = 1e-4,
    nms_threshold: float = 0.4,
    max_detections: int = 100,
) -> Detections:
    """Boxes of every class of one image.

    A box's score is the image's probability of the class times the box's highest fraction of
    the heatmap's range.

    Args:
        heatmaps: of one image.
        settings: how each map becomes boxes, see ``heatmaps_to_boxes``.
        score_threshold: detections below are dropped; 0 keeps at least one box of every class
            whose map is not constant.
        nms_threshold: IoU above which the lower of two boxes of one class is removed.
        max_detections: of all classes together, the best ones.

    Returns:
        Detections in pixels of the original image, by descending score; maybe none.
    """
    probabilities = heatmaps.image_logits.sigmoid()
    labels = (~(probabilities < score_threshold)).nonzero()[:, 0]
    if not len(labels):
        return no_detections()
    boxes, maps, fractions = heatmaps_to_boxes(
        heatmaps.logits[labels], heatmaps.geometry, heatmaps.network_size, settings
    )
    labels = labels[maps]
    every = Detections(boxes * heatmaps.to_original, labels, fractions * probabilities[labels])
    kept = batched_nms(every.boxes, every.scores, every.labels, nms_threshold)
    return every[kept[every.scores[kept] >= score_threshold][:max_detections]]


def fit_proposals(heatmaps: ImageHeatmaps, proposals: Proposals) -> Tensor:
    """How well proposals fit what the heatmap of each class marks.

    The cells of a heatmap are coarse, so that among the boxes that overlap it alike the one along
    an object's outline is the likelier.

    Args:
        heatmaps: of one image.
        proposals: R of it, in pixels of the original image, not empty; R may be 0. Their scores
            count where they are known, those below .001 as .001.

    Returns:
        ``[R, C]`` float32 in [0, 1]: ``heatmap_overlap`` times the square root of the objectness,
        as a fraction of the best proposal of the class; 0 where none overlaps the heatmap.

    The exponent was chosen on VOC 2007 val, where boxes of a localizer reach .297, .323, .347 and
    .314 mAP with 0, .25, .5 and 1, and .267 without proposals; 47 photographs of fruits .460, .467,
    .457 and .334 (0, .25, .5, without).
    """
    fit = heatmap_overlap(heatmaps, proposals.boxes)
    if proposals.scores is not None:
        fit = fit * proposals.scores.clamp(min=LEAST_OBJECTNESS).sqrt()[:, None]
    return fit / fit.amax(dim=0).clamp(min=TINY) if len(fit) else fit


def heatmap_overlap(heatmaps: ImageHeatmaps, boxes: Tensor) -> Tensor:
    """IoU of boxes with the soft region that the heatmap of each class marks.

    A cell belongs to the region by the ratio of its probability to that of the highest cell, with
    its whole square.

    Args:
        heatmaps: of one image.
        boxes: ``[R, 4]`` in pixels of the original image, not empty; R may be 0.

    Returns:
        ``[R, C]`` float32 in [0, 1].
    """
    return _soft_iou(heatmaps, boxes, _relative_to_hottest(heatmaps))


def heatmap_agreement(heatmaps: ImageHeatmaps, boxes: Tensor) -> Tensor:
    """How well boxes fit the heatmap of each class, and one hill of it.

    A box around two objects overlaps a heatmap with two hills well, and neither of the hills.

    Args:
        heatmaps: of one image.
        boxes: ``[R, 4]`` in pixels of the original image, not empty; R may be 0.

    Returns:
        ``[R, C]`` float32 in [0, 1]: ``heatmap_overlap`` times the square root of the highest IoU
        with one of the map's ``find_hills``, a cell counting relative to the hill's peak.

    The exponent: a rescored detector on VOC 2007 val (two seeds) and on 47 photographs of fruits
    (two seeds) has .387 .398 .445 .477 mAP with 0, .400 .408 .445 .475 with 1/2.
    """
    relative = _relative_to_hottest(heatmaps)
    hills = [find_hills(heatmap) for heatmap in relative]
    of_hills = _soft_iou(heatmaps, boxes, torch.cat(hills))  # [R, K of all classes]
    ends = np.cumsum([len(each) for each in hills])[:-1].tolist()
    best = torch.stack([iou.amax(dim=1) for iou in of_hills.tensor_split(ends, dim=1)], dim=1)
    return _soft_iou(heatmaps, boxes, relative) * best.sqrt()


def _relative_to_hottest(heatmaps: ImageHeatmaps) -> Tensor:
    """``[C, h, w]``, each cell's probability as a fraction of that of its map's highest cell."""
    logs = F.logsigmoid(heatmaps.logits)
    return (logs - logs.amax(dim=(1, 2), keepdim=True)).exp()


def _soft_iou(heatmaps: ImageHeatmaps, boxes: Tensor, regions: Tensor) -> Tensor:
    """``[R, K]`` of boxes in the original and K regions whose cells ``[K, h, w]`` count in part."""
    network_boxes = boxes / heatmaps.to_original
    edges_y, edges_x = (heatmaps.geometry.edges(count) for count in regions.shape[1:])
    down = _shared_lengths(network_boxes[:, 1], network_boxes[:, 3], edges_y)
    across = _shared_lengths(network_boxes[:, 0], network_boxes[:, 2], edges_x)
    shared = torch.einsum("rh,khw,rw->rk", down, regions, across)
    areas = (network_boxes[:, 2:] - network_boxes[:, :2]).prod(dim=1)[:, None]
    sizes = regions.sum(dim=(1, 2)) * heatmaps.geometry.stride**2
    return shared / (areas + sizes - shared)


def _shared_lengths(lows: Tensor, highs: Tensor, edges: Tensor) -> Tensor:
    """``[R, n]`` of R intervals and the n between the edges."""
    shared = torch.minimum(highs[:, None], edges[1:]) - torch.maximum(lows[:, None], edges[:-1])
    return shared.clamp(min=0)
