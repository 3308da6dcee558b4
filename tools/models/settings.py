"""Settings of models. Light: ``--help`` imports this."""

from dataclasses import dataclass
from typing import Literal

from tools.cli.settings import check_positive


@dataclass(frozen=True)
class ModelSettings:
    """The localizer."""

    backbone: Literal[
        "alexnet", "squeezenet1_1", "vgg16", "resnet18", "resnet50", "efficientnet_lite0"
    ] = "alexnet"
    """Convolutional part; alexnet carries the report's head, the others one 1x1 convolution."""

    pooling: Literal["max", "mean", "log_sum_exp", "top"] = "max"
    """How a class's heatmap becomes its image logit."""

    pooling_value: float = 0.0
    """Sharpness of log_sum_exp, or the fraction of the cells that top averages."""

    robust: bool = False
    """Drop a random fraction of the channels while training, so that maps cover more."""

    init: Literal["xavier", "he"] = "xavier"
    """How alexnet's new layers start; from scratch he learns several times faster."""

    def __post_init__(self) -> None:
        """Refuse a pooling without its value."""
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
    """Of fc6 and fc7. With 4096 and ImageNet weights, those of alexnet and vgg16 are pretrained."""

    pool_size: int = 6
    """Bins in a row and in a column of a pooled proposal; alexnet's fc6 wants 6, vgg16's 7."""

    offset_fraction: float = 1.0
    """Of the backbone's offset, by which proposals are moved before pooling: 1 takes the cells that
    they cover, 0 is plain pooling at 1 / stride."""

    temperature: float = 2.0
    """Of the softmax over proposals."""

    box_score: float = 10.0
    """Features are multiplied by --model.box-base + this times a proposal's score; with 0 they are
    not."""

    box_base: float = 1.0
    """0 multiplies by the score alone, as some ports do, which shrinks what fc6 takes."""

    area_prior: float = 0.0
    """A proposal counts in the softmax over proposals by its fraction of the image to this power; 0
    counts a part like the whole."""

    dropout: float = 0.5
    """Fraction of fc6's and fc7's outputs dropped while training."""

    frozen_layers: int = 0
    """Convolutions, from the first on, that do not learn."""

    def __post_init__(self) -> None:
        """Refuse values with which no detector is built."""
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
    """How a heatmap becomes boxes."""

    thresholds: tuple[float, ...] = (0.5,)
    """Fractions of a map's range; the cells above make the boxes. Coverage uses the first."""

    mode: Literal["components", "extent"] = "components"
    """One box a connected region, or one around everything."""

    min_cells: int = 1
    """Regions of fewer cells are dropped."""

    def __post_init__(self) -> None:
        """Refuse thresholds outside of (0, 1]."""
        check_positive(**{"boxes.min_cells": self.min_cells})
        if not self.thresholds or not all(0 < value <= 1 for value in self.thresholds):
            raise ValueError(
                f"--boxes.thresholds are fractions of the range in (0, 1], got {self.thresholds}"
            )
