"""Settings of each kind of run; a new kind is one more class and one row. No torch in here."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from data.settings import check_range
from localizer.settings import BoxSettings, LocalizerSettings
from tools.runs.settings import LoopSettings, OptimSettings, TrainSettings
from wsddn.settings import DetectorSettings


@dataclass(frozen=True, kw_only=True)
class TrainLocalizerSettings(TrainSettings):
    """Settings of one training."""

    kind: Literal["localizer", "classifier"] = "localizer"
    """Kind of model; settings of another kind are refused."""

    resize: Literal["square", "longest_side", "shortest_side"] = "square"
    """Which side of an image gets the size: both, or one of them, which keeps proportions. Heatmaps
    are those of the first size, image scores the mean over all."""

    crop: int = 0
    """Side, in pixels of the resized image, of five crops (the corners and the center); the highest
    logit of them is the image's. 0 sees the image whole. Heatmaps are of the whole image."""

    model: LocalizerSettings = field(default_factory=LocalizerSettings)

    boxes: BoxSettings = field(default_factory=BoxSettings)

    def __post_init__(self) -> None:
        """Refuse a negative side."""
        super().__post_init__()
        check_range(self, "0 or more", "crop")

    @property
    def name(self) -> str:
        """Of the model, in ``report.json``: its kind, or its kind and ``_robust``."""
        return f"{self.kind}_robust" if self.model.robust else self.kind

    @property
    def metrics_in_training(self) -> dict[str, str]:
        """The loss too: like the metric it is a mean over labels, a detector's is a sum of them."""
        return {"train/loss": "image_loss", **super().metrics_in_training}


@dataclass(frozen=True, kw_only=True)
class TrainClassifierSettings(TrainLocalizerSettings):
    """A localizer with the defaults of a classifier.

    Averaging its heatmaps (pooling mean) is a linear layer after average pooling, which is a 1x1
    convolution before it, and the heatmaps are class activation maps (Zhou et al., CVPR 2016).
    Averaging the highest 30 % of their cells alone labels small objects better.
    """

    kind: Literal["classifier"] = "classifier"
    """Kind of model; settings of another kind are refused."""

    image_sizes: tuple[int, ...] = (448,)
    """Pixels of the side that --resize names. Each batch takes one of them."""

    resize: Literal["square", "longest_side", "shortest_side"] = "longest_side"
    """Which side of an image gets the size: both, or one of them, which keeps proportions."""

    pretrained: bool = True
    """Start the backbone from ImageNet weights (packaged or downloaded, or from --weights)."""

    frozen_backbone: bool = True
    """Train the head alone, on features that are computed once and kept on disk."""

    model: LocalizerSettings = field(
        default_factory=lambda: LocalizerSettings("efficientnet_lite0", "top", 0.3)
    )

    boxes: BoxSettings = field(default_factory=lambda: BoxSettings((0.3,)))

    optim: OptimSettings = field(
        default_factory=lambda: OptimSettings(
            name="adamw", lr=5e-3, weight_decay=0.01, schedule="cosine", warmup_epochs=1
        )
    )

    loop: LoopSettings = field(default_factory=lambda: LoopSettings(epochs=8, batch_size=16))


@dataclass(frozen=True, kw_only=True)
class TrainWsddnSettings(TrainSettings):
    """Settings of one training."""

    kind: Literal["detector"] = "detector"
    """Kind of model; settings of another kind are refused."""

    proposals: tuple[Path, ...]
    """Files of make_proposals that hold the images of --split and --val-split; of an image that
    several hold those of the first."""

    min_size: float = 20
    """Proposals with a shorter side, in pixels of the image, are left out."""

    max_proposals: int = 500
    """Number of an image's proposals that are kept, the first of the file, which are the best
    scored; about 2000 in the paper."""

    drop_proposals: float = 0.6
    """Chance of each proposal to be left out of a step; the rest are as good and cost less. The
    paper leaves out none."""

    image_sizes: tuple[int, ...] = (736,)
    """Pixels of the side that --resize names. Each batch takes one of them; the paper has five, 480
    576 688 864 1200."""

    eval_image_sizes: tuple[int, ...] = (512, 736)
    """The same for evaluation, which averages over them; those of training when empty."""

    resize: Literal["longest_side", "shortest_side"] = "longest_side"
    """Which side of an image gets the size; the shortest only as far as the longest stays below
    5/3 of the size (600 and 1000 in the 2018 report)."""

    spatial_weight: float = 0.0
    """Of the regularizer that pulls neighbors of the best proposal toward it, 1e-4 in the paper; 0
    leaves it out."""

    support_iou: float = 0.4
    """In evaluation, overlap from which proposals add to each other's score, which then counts by
    the class's probability, and move each other's box; 0 takes each for itself, as the paper
    does."""

    pretrained: bool = True
    """Start the backbone from ImageNet weights (packaged or downloaded, or from --weights)."""

    from_localizer: Path | None = None
    """Run folder of a localizer that the backbone starts from, instead of ImageNet weights."""

    frozen_backbone: bool = True
    """Train the head alone, on features that are computed once and kept on disk; false in the
    paper."""

    model: DetectorSettings = field(default_factory=DetectorSettings)

    optim: OptimSettings = field(
        default_factory=lambda: OptimSettings(
            name="adamw", lr=1e-4, weight_decay=0.01, schedule="constant", average=0.997
        )
    )

    loop: LoopSettings = field(
        default_factory=lambda: LoopSettings(
            epochs=2, batch_size=1, log_every=100, checkpoint_every=500
        )
    )

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        super().__post_init__()
        check_range(self, "above 0", "max_proposals")
        check_range(self, "0 or more", "min_size", "spatial_weight")
        check_range(self, "in [0, 1)", "drop_proposals")
        check_range(self, "in [0, 1]", "support_iou")
        if self.from_localizer is not None and self.weights is not None:
            raise ValueError("--from-localizer: the backbone starts from it, not from --weights")

    @property
    def backbone_from(self) -> Path | None:
        """Folder of the run whose backbone this one starts from."""
        return self.from_localizer

    @property
    def proposal_limits(self) -> dict[str, Any]:
        """Which proposals of a file the detector sees: ``min_size`` and ``max_proposals``."""
        return {"min_size": self.min_size, "max_proposals": self.max_proposals}


KINDS: dict[str, type[TrainSettings]] = {
    "localizer": TrainLocalizerSettings,
    "classifier": TrainClassifierSettings,
    "detector": TrainWsddnSettings,
}
