"""Settings of models. Light: ``--help`` imports this."""

from dataclasses import dataclass
from typing import Literal

from tools.cli.settings import check_positive

Amp = Literal["auto", "off", "bf16", "fp16"]


@dataclass(frozen=True)
class ModelSettings:
    """The localizer."""

    backbone: Literal[
        "alexnet", "squeezenet1_1", "vgg16", "resnet18", "resnet50", "efficientnet_lite0"
    ] = "alexnet"
    """Convolutional part; alexnet gets the report's head, the others one 1x1 convolution."""

    pooling: Literal["max", "mean", "log_sum_exp", "top"] = "max"
    """How a class's logit of the image is computed from its heatmap."""

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
            check_positive(**{"model.pooling-value": self.pooling_value})


@dataclass(frozen=True)
class DetectorSettings:
    """The detector; the defaults are the paper's."""

    backbone: Literal[
        "alexnet", "squeezenet1_1", "vgg16", "resnet18", "resnet50", "efficientnet_lite0"
    ] = "alexnet"
    """Convolutional part."""

    width: int = 4096
    """Outputs of fc6 and of fc7; with 4096, those of alexnet and vgg16 can be pretrained."""

    pool_size: int = 6
    """Bins in a row and in a column of a pooled proposal; alexnet's fc6 needs 6, vgg16's 7."""

    offset_fraction: float = 1.0
    """Fraction of the backbone's offset by which proposals are moved before pooling: 1 takes the
    cells that they cover, 0 is plain pooling at 1 / stride."""

    temperature: float = 2.0
    """Temperature of the softmax over proposals."""

    box_score: float = 10.0
    """Features are multiplied by --model.box-base + this times a proposal's score; with 0 they are
    not."""

    box_base: float = 1.0
    """0 multiplies by the score alone, as some ports do, which makes the input of fc6 smaller."""

    area_prior: float = 0.0
    """Power of a proposal's fraction of the image that is its weight in the softmax over proposals;
    with 0 all proposals have the same weight."""

    dropout: float = 0.5
    """Fraction of fc6's and fc7's outputs dropped while training."""

    frozen_layers: int = 0
    """Number of convolutions, from the first, that do not learn."""

    def __post_init__(self) -> None:
        """Refuse invalid values."""
        names = ("width", "pool_size", "temperature")
        check_positive(**{f"model.{name}": getattr(self, name) for name in names})
        if not (0 <= self.offset_fraction <= 1 and 0 <= self.dropout < 1):
            raise ValueError(
                "--model: offset fraction in [0, 1] and dropout in [0, 1); got "
                f"{self.offset_fraction}, {self.dropout}"
            )
        for name in ("frozen_layers", "box_score", "box_base", "area_prior"):
            if not getattr(self, name) >= 0:
                raise ValueError(
                    f"--model.{name.replace('_', '-')} is 0 or more, got {getattr(self, name)}"
                )


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
        """Refuse thresholds outside of (0, 1]."""
        check_positive(**{"boxes.min_cells": self.min_cells})
        if not self.thresholds or not all(0 < value <= 1 for value in self.thresholds):
            raise ValueError(
                f"--boxes.thresholds are fractions of the range in (0, 1], got {self.thresholds}"
            )
