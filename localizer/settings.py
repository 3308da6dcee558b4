"""Settings of a localizer and of the boxes from its heatmaps. Light: ``--help`` imports this."""

from dataclasses import dataclass
from typing import Literal

from data.settings import check_range


@dataclass(frozen=True)
class LocalizerSettings:
    """The localizer."""

    backbone: str = "alexnet"
    """Convolutional part: alexnet, squeezenet1_1, vgg16, resnet18, resnet50, efficientnet_lite0,
    efficientnet_lite2, or timm:NAME for a model of timm, such as timm:convnext_atto;
    resnet18_two_branch and resnet18_four_channel see near infrared too. alexnet gets the report's
    head, the others one 1x1 convolution."""

    pooling: str = "max"
    """How a heatmap becomes the image's logit of the class: max, mean, log_sum_exp or top."""

    pooling_value: float = 0.0
    """Sharpness of log_sum_exp, or the fraction of the cells that top averages."""

    robust: bool = False
    """Drop a random fraction of the channels while training, so that heatmaps cover more."""

    init: Literal["xavier", "he"] = "xavier"
    """Initial weights of alexnet's new layers; from scratch, "he" learns several times faster."""

    def __post_init__(self) -> None:
        """Refuse an invalid value of the pooling."""
        if self.pooling == "top" and not 0 < self.pooling_value <= 1:
            raise ValueError(
                f"--model.pooling-value of top is a fraction in (0, 1], got {self.pooling_value}"
            )
        if self.pooling == "log_sum_exp":
            check_range(self, "above 0", "pooling_value", group="model.")


@dataclass(frozen=True)
class BoxSettings:
    """How boxes are made from a heatmap."""

    thresholds: tuple[float, ...] = (0.5,)
    """Fractions of a heatmap's range; cells above them make the boxes. Coverage uses the first."""

    mode: Literal["components", "extent"] = "components"
    """One box per connected region, or one box around all regions."""

    min_cells: int = 1
    """Regions of fewer cells are dropped."""

    def __post_init__(self) -> None:
        """Refuse thresholds outside of (0, 1] and an unknown mode."""
        if self.mode not in ("components", "extent"):
            raise ValueError(f"--boxes.mode is components or extent; got {self.mode!r}")
        check_range(self, "above 0", "min_cells", group="boxes.")
        if not self.thresholds or not all(0 < value <= 1 for value in self.thresholds):
            raise ValueError(
                f"--boxes.thresholds are fractions of the range in (0, 1], got {self.thresholds}"
            )
