"""Groups of settings that several commands share. Light on purpose: ``--help`` imports this.

Settings have no slots: jsonargparse reads the defaults of nested ones through ``vars``.
"""

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

PICTURE_STATES = Path("runs/pictures.json")  # what is known of pictures from earlier scans


def default_voc_root() -> Path | None:
    """``$VOC_ROOT``, or None when it is not set."""
    value = os.environ.get("VOC_ROOT")
    return Path(value) if value else None


def require_voc_root(voc_root: Path | None) -> Path:
    """The folder that holds ``VOC2007``.

    Raises:
        ValueError: neither ``--voc-root`` nor ``$VOC_ROOT`` names one.
        FileNotFoundError: the folder holds no ``VOC2007``.
    """
    if voc_root is None:
        raise ValueError(
            "--voc-root: no data (name the folder that holds VOC2007, or set $VOC_ROOT)"
        )
    if not (voc_root / "VOC2007").is_dir():
        raise FileNotFoundError(
            f"{voc_root}: no VOC2007 in it (--voc-root is the folder that holds VOC2007)"
        )
    return voc_root


@dataclass(frozen=True, kw_only=True)
class PictureSettings:
    """Where the pictures are."""

    voc_root: Path | None = field(default_factory=default_voc_root)
    """Folder that holds VOC2007; $VOC_ROOT when not given."""

    images: Path | None = None
    """Any folder of pictures, instead of VOC."""

    labels: Path | None = None
    """CSV file of its labels, image,labels[,split], with | between the labels of a picture."""

    def __post_init__(self) -> None:
        """Refuse labels of nothing."""
        if self.labels is not None and self.images is None:
            raise ValueError("--labels: of which pictures? (--images names their folder)")


@dataclass(frozen=True, kw_only=True)
class LabelSettings(PictureSettings):
    """Which classes they have, and how a folder is split."""

    classes: tuple[str, ...] = ()
    """Names in the order of the labels; when empty, VOC's or those of the labels file, sorted."""

    val_share: float = 0.2
    """Share of a folder's pictures in val when its labels file has no column split."""

    split_seed: int = 0
    """Of the choice of those pictures."""

    def __post_init__(self) -> None:
        """Refuse shares that leave a split empty, and a class twice."""
        super().__post_init__()
        if not 0 < self.val_share < 1:
            raise ValueError(f"--val-share is in (0, 1), got {self.val_share}")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"--classes: one is named twice in {', '.join(self.classes)}")


@dataclass(frozen=True, kw_only=True)
class DataSettings(LabelSettings):
    """What becomes of doubtful labels and pictures."""

    difficult: Literal["ignore", "positive", "negative"] = "ignore"
    """What a class is whose only objects are difficult."""

    on_bad_image: Literal["refuse", "skip"] = "refuse"
    """Whether a picture that does not decode ends the run or is left out, with a count."""


def check_positive(**values: float) -> None:
    """Raise ``ValueError`` naming the first setting that is not finite and above 0."""
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"--{name.replace('_', '-')} is above 0, got {value}")


@dataclass(frozen=True)
class VisdomSettings:
    """Where live plots are shown while a run goes on."""

    server: str = ""
    """Host name or address of a visdom server, such as localhost; empty shows nothing."""

    port: int = 8097
    """Port of that server."""

    env: str = "main"
    """Name of the visdom environment that receives the windows."""


@dataclass(frozen=True)
class ModelSettings:
    """The localizer."""

    trunk: Literal[
        "alexnet", "squeezenet1_1", "vgg16", "resnet18", "resnet50", "efficientnet_lite0"
    ] = "alexnet"
    """Convolutional part; alexnet carries the report's head, the others one 1x1 convolution."""

    pooling: Literal["max", "mean", "log_sum_exp", "top"] = "max"
    """How a class's heatmap becomes its image logit."""

    pooling_value: float = 0.0
    """Sharpness of log_sum_exp, or the share of the cells that top averages."""

    robust: bool = False
    """Drop a random share of the channels while training, so that maps cover more."""

    init: Literal["xavier", "he"] = "xavier"
    """How alexnet's new layers start; from scratch he learns several times faster."""

    def __post_init__(self) -> None:
        """Refuse a pooling without its value."""
        if self.pooling == "top" and not 0 < self.pooling_value <= 1:
            raise ValueError(
                f"--model.pooling-value of top is a share in (0, 1], got {self.pooling_value}"
            )
        if self.pooling == "log_sum_exp":
            check_positive(**{"model.pooling-value": self.pooling_value})


@dataclass(frozen=True)
class DetectorSettings:
    """The detector; the defaults are the paper's."""

    trunk: Literal[
        "alexnet", "squeezenet1_1", "vgg16", "resnet18", "resnet50", "efficientnet_lite0"
    ] = "alexnet"
    """Convolutional part."""

    width: int = 4096
    """Of fc6 and fc7. With 4096 and ImageNet weights, those of alexnet and vgg16 are pretrained."""

    pool_size: int = 6
    """Bins in a row and in a column of a pooled proposal; alexnet's fc6 wants 6, vgg16's 7."""

    offset_share: float = 1.0
    """Of the trunk's offset, by which proposals are moved before pooling: 1 takes the cells that
    they cover, 0 is plain pooling at 1 / stride."""

    temperature: float = 2.0
    """Of the softmax over proposals."""

    box_score: float = 10.0
    """Features are multiplied by --model.box-base + this times a proposal's score; with 0 they are
    not."""

    box_base: float = 1.0
    """0 multiplies by the score alone, as some ports do, which shrinks what fc6 takes."""

    area_prior: float = 0.0
    """A proposal counts in the softmax over proposals by its share of the picture to this power; 0
    counts a part like the whole."""

    dropout: float = 0.5
    """Share of fc6's and fc7's outputs dropped while training."""

    frozen_layers: int = 0
    """Convolutions, from the first on, that do not learn."""

    def __post_init__(self) -> None:
        """Refuse values with which no detector is built."""
        names = ("width", "pool_size", "temperature")
        check_positive(**{f"model.{name}": getattr(self, name) for name in names})
        if not (0 <= self.offset_share <= 1 and 0 <= self.dropout < 1):
            raise ValueError(
                "--model: offset share in [0, 1] and dropout in [0, 1); got "
                f"{self.offset_share}, {self.dropout}"
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
    """Shares of a map's range; the cells above make the boxes. Heat coverage uses the first."""

    mode: Literal["components", "extent"] = "components"
    """One box a connected region, or one around everything."""

    min_cells: int = 1
    """Regions of fewer cells are dropped."""

    def __post_init__(self) -> None:
        """Refuse thresholds outside of (0, 1]."""
        check_positive(**{"boxes.min_cells": self.min_cells})
        if not self.thresholds or not all(0 < value <= 1 for value in self.thresholds):
            raise ValueError(
                f"--boxes.thresholds are shares of the range in (0, 1], got {self.thresholds}"
            )
