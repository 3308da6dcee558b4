"""Settings of a detector. Light: ``--help`` imports this."""

from dataclasses import dataclass

from data.settings import check_range


@dataclass(frozen=True)
class DetectorSettings:
    """The detector; the defaults learn on a frozen EfficientNet-Lite0 within minutes."""

    backbone: str = "efficientnet_lite0"
    """Convolutional part: alexnet, squeezenet1_1, vgg16, resnet18, resnet50, efficientnet_lite0,
    efficientnet_lite2, or timm:NAME for a model of timm, such as timm:convnext_atto. The paper's
    VGG-F is close to alexnet."""

    width: int = 1024
    """Outputs of fc6 and of fc7; 4096 in the paper, with which those of alexnet and vgg16 can be
    pretrained."""

    pool_size: int = 3
    """Bins in a row and in a column of a pooled proposal; 6 in the paper and for
    alexnet's pretrained fc6, 7 for vgg16's."""

    offset_fraction: float = 0.5
    """Fraction of the backbone's offset by which proposals are moved before pooling: 1, as in the
    paper's code, takes the cells that they cover, 0 is plain pooling at 1 / stride."""

    temperature: float = 2.0
    """Temperature of the softmax over proposals; 2 in the paper's code."""

    box_score: float = 0.0
    """Features are multiplied by --model.box-base + this times a proposal's score; with 0 they are
    not. 10 in the paper, for the scores of edge boxes."""

    box_base: float = 1.0
    """0 multiplies by the score alone, as some ports do, which makes the input of fc6 smaller."""

    area_prior: float = 1.0
    """Power of a proposal's fraction of the image that is its weight in the softmax over proposals;
    with 0, as in the paper, all proposals have the same weight. There are more
    small boxes than large ones, and a part tells a class as well as the whole does; without it the
    softmax prefers parts."""

    dropout: float = 0.5
    """Fraction of fc6's and fc7's outputs dropped while training."""

    frozen_layers: int = 0
    """Number of convolutions, from the first, that do not learn."""

    def __post_init__(self) -> None:
        """Refuse invalid values."""
        check_range(self, "above 0", "width", "pool_size", "temperature", group="model.")
        check_range(self, "in [0, 1]", "offset_fraction", group="model.")
        check_range(self, "in [0, 1)", "dropout", group="model.")
        check_range(self, "0 or more", "frozen_layers", "box_score", group="model.")
        check_range(self, "0 or more", "box_base", "area_prior", group="model.")
