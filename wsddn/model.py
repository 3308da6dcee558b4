"""The detector: a backbone, proposals pooled from its map, fc6 and fc7, two streams."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data.transforms import move_early
from localizer.backbones import Backbone, Geometry
from wsddn.rois import pool_cells, roi_cells, unique_cells
from wsddn.settings import DetectorSettings

POOLED_AT_ONCE = 1024  # proposals; 100 MB with VGG-16


@dataclass(frozen=True, slots=True)
class WSDDNOutput:
    """Output for the R proposals of one image, in their order.

    Attributes:
        class_logits: ``[R, C]``, to be compared between classes.
        detection_logits: ``[R, C]``, divided by the temperature and with the logarithm of the
            area prior, to be compared between proposals.
        fc7: ``[R, F]`` rectified features, before dropout.
    """

    class_logits: Tensor
    detection_logits: Tensor
    fc7: Tensor


class WSDDNHead(nn.Module):
    """Features of one image and its proposals to two streams.

    Proposals that cover the same cells have the same features, so each is computed once; every
    proposal still takes part in the softmax over proposals. While training, such proposals share
    their dropout. A box score scales the features of its proposal alone; then the
    products of fc6 are shared and the rest is not.

    Attributes:
        geometry: of the feature map, where its cells lie in the network image.
        settings: pooling, temperature, factors of the scores, dropout.
        fc6: ``[R, K * pool_size ** 2]`` to ``[R, F]``.
        fc7: ``[R, F]`` to ``[R, F]``.
        class_stream: ``[R, F]`` to ``[R, C]``.
        detection_stream: ``[R, F]`` to ``[R, C]``.
        pooled_at_once: proposals whose pooled features are in memory at a time.

    Source: Bilen and Vedaldi, "Weakly Supervised Deep Detection Networks", 2016.
    """

    def __init__(
        self,
        channels: int,
        geometry: Geometry,
        num_classes: int,
        settings: DetectorSettings,
    ) -> None:
        super().__init__()
        self.geometry = geometry
        self.settings = settings
        self.pooled_at_once = POOLED_AT_ONCE
        width = settings.width
        self.fc6 = nn.Linear(channels * settings.pool_size**2, width)
        self.fc7 = nn.Linear(width, width)
        self.class_stream = nn.Linear(width, num_classes)
        self.detection_stream = nn.Linear(width, num_classes)

    def forward(
        self, features: Tensor, rois: Tensor, roi_scores: Tensor | None = None
    ) -> WSDDNOutput:
        """Features of one image to the streams of its proposals.

        Args:
            features: ``[1, K, h, w]``.
            rois: ``[R, 4]`` in pixels of the network image, half-open; R may be 0. On the CPU they
                wait for no device.
            roi_scores: ``[R]`` objectness; None where it is not known, which multiplies by 1.

        Raises:
            ValueError: features of several images, or another number of scores than rois.
        """
        if len(features) != 1:
            raise ValueError(f"proposals belong to one image, got features of {len(features)}")
        if roi_scores is not None and roi_scores.shape != rois.shape[:1]:
            raise ValueError(f"{len(rois)} rois need as many scores, got {list(roi_scores.shape)}")
        cells = roi_cells(rois, self.geometry, (features.shape[2], features.shape[3]))
        different, index = (move_early(each, features) for each in unique_cells(cells))
        products = self._products(features, different)
        if roi_scores is None or self.settings.box_score == 0:
            of_cells = self._streams(products + self.fc6.bias)
            class_logits, detection_logits, fc7 = (stream[index] for stream in of_cells)
        else:
            known = move_early(roi_scores, features)[:, None]
            scale = self.settings.box_base + self.settings.box_score * known
            scaled = products[index] * scale + self.fc6.bias
            class_logits, detection_logits, fc7 = self._streams(scaled)
        detection_logits = detection_logits.float() / self.settings.temperature
        if self.settings.area_prior:
            log_areas = (rois[:, 2:] - rois[:, :2]).clamp(min=1).log().sum(dim=1)  # [R]
            prior = self.settings.area_prior * move_early(log_areas, features)[:, None]
            detection_logits = detection_logits + prior
        return WSDDNOutput(class_logits, detection_logits, fc7)

    def _products(self, features: Tensor, cells: Tensor) -> Tensor:
        """``[U, F]`` of fc6 without its bias; pooled proposals are large, so in parts.

        A graph that is exported, whose number of parts would be fixed, has one part.
        """
        whole = torch.compiler.is_exporting()
        parts = [
            F.linear(
                pool_cells(features, part, self.settings.pool_size).flatten(1), self.fc6.weight
            )
            for part in ((cells,) if whole else torch.split(cells, self.pooled_at_once))
        ]
        return torch.cat(parts)

    def _streams(self, fc6: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = F.dropout(fc6.relu(), self.settings.dropout, training=self.training)
        fc7 = self.fc7(hidden).relu()
        kept = F.dropout(fc7, self.settings.dropout, training=self.training)
        return self.class_stream(kept), self.detection_stream(kept), fc7


class WSDDN(nn.Module):
    """A head on its backbone: one normalized image and its proposals to two streams.

    Attributes:
        backbone: its row of ``BACKBONES``.
        features: the backbone's module; ``[1, 3, H, W]`` to ``[1, K, h, w]``.
        head: takes those features; it can be trained on stored ones.
    """

    def __init__(self, backbone: Backbone, head: WSDDNHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.features = backbone.build()
        self.head = head

    def forward(
        self, images: Tensor, rois: Tensor, roi_scores: Tensor | None = None
    ) -> WSDDNOutput:
        """``[1, 3, H, W]`` float32, normalized; the rest as in ``WSDDNHead``."""
        output: WSDDNOutput = self.head(self.features(images), rois, roi_scores)
        return output
