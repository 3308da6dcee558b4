"""Localizers: a backbone, a head that gives one heatmap a class, and a pooling to image logits."""

import torch.nn.functional as F
from torch import Tensor, nn

from localizer.backbones import Backbone, Geometry
from localizer.pooling import POOLINGS
from localizer.settings import LocalizerSettings

ROOT_FLOOR = 1e-4  # added under the square root: its unbounded slope at 0 would break fine-tuning


class SquareRoot(nn.Module):
    """Square root of rectified features."""

    def forward(self, features: Tensor) -> Tensor:
        """Of any shape; differentiable at 0, where the slope is bounded."""
        return (features.clamp(min=0) + ROOT_FLOOR).sqrt()


class SignedRoot(nn.Module):
    """Square root of features that are not rectified; each keeps its sign."""

    def forward(self, features: Tensor) -> Tensor:
        """Of any shape; differentiable at 0, where the slope is bounded."""
        roots: Tensor = (features.abs() + ROOT_FLOOR).sqrt() - ROOT_FLOOR**0.5
        return roots * features.sign()


class LocalizerHead(nn.Module):
    """Features to heatmaps to image logits.

    The robust variant drops whole channels of the normalized features while training, not cells
    and not classes. Each class must then depend on many channels, which respond to different parts
    of the object, and its map covers more of it. Heatmaps are not dropped: a cell set to 0 would
    exceed negative logits, and a dropped class map would ignore its label.

    Attributes:
        normalize: of the features, before channels are dropped.
        classifier: ``[B, K, h, w]`` features to ``[B, C, h', w']`` logits.
        geometry: of the heatmap.
        settings: pooling and robustness.
        channel_dropout: fraction of the channels dropped while training: ``robust_dropout``, or 0
            where the settings are not robust.
    """

    def __init__(
        self,
        normalize: nn.Module,
        classifier: nn.Sequential,
        geometry: Geometry,
        settings: LocalizerSettings,
        robust_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if settings.pooling not in POOLINGS:
            raise ValueError(f"pooling is one of {', '.join(POOLINGS)}; got {settings.pooling!r}")
        self.normalize = normalize
        self.classifier = classifier
        self.geometry = geometry
        self.settings = settings
        self.channel_dropout = robust_dropout if settings.robust else 0.0

    def forward(self, features: Tensor) -> Tensor:
        """``[B, K, h, w]`` features to ``[B, C, h', w']`` heatmap logits."""
        normalized = self.normalize(features)
        kept = F.dropout2d(normalized, self.channel_dropout, training=self.training)
        logits: Tensor = self.classifier(kept)
        return logits

    def pool(self, logits: Tensor, sizes: Tensor) -> Tensor:
        """Heatmap logits to image logits ``[B, C]``.

        Args:
            logits: ``[B, C, h, w]``.
            sizes: ``[B, 2]`` (height, width) of the images without padding, network pixels.
        """
        valid = self.geometry.valid_cells(sizes, (logits.shape[2], logits.shape[3]))
        pool = POOLINGS[self.settings.pooling]
        return pool(logits.float(), valid, self.settings.pooling_value)


class Localizer(LocalizerHead):
    """A head on its backbone: normalized images to heatmaps.

    Attributes:
        features: the backbone's module; ``[B, 3, H, W]`` to ``[B, K, h, w]``.
        backbone: its row of ``BACKBONES``.
    """

    def __init__(
        self,
        backbone: Backbone,
        normalize: nn.Module,
        classifier: nn.Sequential,
        geometry: Geometry,
        settings: LocalizerSettings,
        robust_dropout: float,
    ) -> None:
        super().__init__(normalize, classifier, geometry, settings, robust_dropout)
        self.backbone = backbone
        self.features = backbone.build()

    def forward(self, images: Tensor) -> Tensor:
        """``[B, 3, H, W]`` float32, normalized, to ``[B, C, h, w]`` heatmap logits."""
        return super().forward(self.features(images))

    def head(self) -> LocalizerHead:
        """The part behind the backbone, in the same mode, sharing its weights; takes features."""
        parts = self.normalize, self.classifier, self.geometry
        return LocalizerHead(*parts, self.settings, self.channel_dropout).train(self.training)
