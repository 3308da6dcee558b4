"""Localizers: a trunk, a head that gives one heatmap a class, and a pooling to image logits."""

from torch import Tensor, nn

from localizer.pooling import POOLINGS, drop_cells
from localizer.trunks import Geometry, Trunk


class LocalizerHead(nn.Module):
    """Features to heatmaps to image logits.

    Attributes:
        classifier: ``[B, K, h, w]`` features to ``[B, C, h', w']`` logits.
        geometry: of the heatmap.
        pooling: a key of ``POOLINGS``.
        pooling_value: its sharpness or share of cells; ignored by max and mean.
        cell_dropout: share of the cells hidden from the pooling while training.
    """

    def __init__(
        self,
        classifier: nn.Sequential,
        geometry: Geometry,
        *,
        pooling: str = "max",
        pooling_value: float = 0.0,
        cell_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"pooling is one of {', '.join(POOLINGS)}; got {pooling!r}")
        self.classifier = classifier
        self.geometry = geometry
        self.pooling = pooling
        self.pooling_value = pooling_value
        self.cell_dropout = cell_dropout

    def forward(self, features: Tensor) -> Tensor:
        """``[B, K, h, w]`` features to ``[B, C, h', w']`` heatmap logits."""
        logits: Tensor = self.classifier(features)
        return logits

    def pool(self, logits: Tensor, sizes: Tensor) -> Tensor:
        """Heatmap logits to image logits ``[B, C]``.

        Args:
            logits: ``[B, C, h, w]``.
            sizes: ``[B, 2]`` (height, width) of the pictures without padding, network pixels.
        """
        valid = self.geometry.valid_cells(sizes, (logits.shape[2], logits.shape[3]))
        dropping = self.training and self.cell_dropout > 0
        visible = drop_cells(valid, self.cell_dropout) if dropping else None
        pool = POOLINGS[self.pooling]
        return pool(logits.float(), valid, self.pooling_value, visible=visible)


class Localizer(LocalizerHead):
    """A head on its trunk: normalised images to heatmaps.

    Attributes:
        features: the trunk's module; ``[B, 3, H, W]`` to ``[B, K, h, w]``.
        trunk: its row of ``TRUNKS``.
    """

    def __init__(
        self,
        trunk: Trunk,
        classifier: nn.Sequential,
        geometry: Geometry,
        *,
        pooling: str = "max",
        pooling_value: float = 0.0,
        cell_dropout: float = 0.0,
    ) -> None:
        super().__init__(
            classifier,
            geometry,
            pooling=pooling,
            pooling_value=pooling_value,
            cell_dropout=cell_dropout,
        )
        self.trunk = trunk
        self.features = trunk.build()

    def forward(self, images: Tensor) -> Tensor:
        """``[B, 3, H, W]`` float32, normalised, to ``[B, C, h, w]`` heatmap logits."""
        return super().forward(self.features(images))

    def head(self) -> LocalizerHead:
        """The part behind the trunk, sharing its weights; takes features instead of images."""
        head = LocalizerHead(
            self.classifier,
            self.geometry,
            pooling=self.pooling,
            pooling_value=self.pooling_value,
            cell_dropout=self.cell_dropout,
        )
        head.training = self.training  # a new module is in training mode
        return head
