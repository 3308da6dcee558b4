"""Settings of a run, as ``settings.yaml`` keeps them. Light: ``--help`` imports this."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from data.datasets.settings import DataSettings
from data.settings import check_range
from data.shard import parse_shard
from localizer.settings import LocalizerSettings
from tools.loggers.settings import VisdomSettings
from tools.models.settings import ComputeSettings
from wsddn.settings import DetectorSettings


@dataclass(frozen=True, kw_only=True)
class SavedRunSettings:
    """Which trained run to open."""

    run_dir: Path
    """Folder of the trained run."""

    checkpoint: Literal["last", "best"] = "last"
    """Which checkpoint; best is chosen by the run's own validation split."""


@dataclass(frozen=True)
class OptimSettings:
    """The optimizer and its learning rate."""

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    """Optimizer."""

    lr: float = 0.01
    """Learning rate after the warm-up."""

    backbone_factor: float = 1.0
    """Learning rate of the backbone as a fraction of the head's; small for pretrained backbones."""

    momentum: float = 0.9
    """Of sgd."""

    weight_decay: float = 1e-4
    """Pull of the weights toward 0."""

    schedule: Literal["constant", "step", "cosine"] = "step"
    """How the learning rate falls."""

    step_epochs: int = 30
    """step: epochs between two falls."""

    gamma: float = 0.1
    """step: factor of each fall."""

    warmup_epochs: float = 0.0
    """Epochs in which the learning rate rises linearly from near 0."""

    average: float = 0.0
    """Fraction that the exponential moving average (EMA) of the weights keeps at each step; above 0
    the EMA is evaluated and saved."""

    def __post_init__(self) -> None:
        """Refuse values with which no training makes sense."""
        check_range(self, "above 0", "lr", "backbone_factor", "step_epochs", group="optim.")
        check_range(self, "0 or more", "weight_decay", "warmup_epochs", group="optim.")
        check_range(self, "in [0, 1)", "momentum", "average", group="optim.")
        check_range(self, "in (0, 1]", "gamma", group="optim.")


@dataclass(frozen=True)
class LoopSettings:
    """Length of the training, and how often it logs and saves."""

    epochs: int = 30
    """Times that every image is seen."""

    batch_size: int = 32
    """Images that pass through the network at once."""

    accumulate: int = 1
    """Batches whose mean gradient makes one step."""

    workers: int | None = None
    """Processes that load images; when not given none on a CPU, else one a core, at most 8."""

    log_every: int = 10
    """Iterations between two log lines; a line holds the mean losses since the one before."""

    checkpoint_every: int = 200
    """Iterations between two checkpoints; one is written at the end of every epoch too."""

    evaluate_every: int = 0
    """Iterations between two evaluations of the validation, beside that at the end of every epoch,
    which alone chooses the best checkpoint; 0 for none."""

    histogram_every: int = 2000
    """Iterations between two histograms of weights and gradients; every epoch ends with one."""

    histogram_every_layer: bool = False
    """Histograms of all layers instead of the first two and the last."""

    def __post_init__(self) -> None:
        """Refuse values with which no training makes sense."""
        check_range(self, "above 0", "epochs", "batch_size", "accumulate", group="loop.")
        every = ("log_every", "checkpoint_every", "histogram_every")
        check_range(self, "above 0", *every, group="loop.")
        check_range(self, "0 or more", "workers", "evaluate_every", group="loop.")


@dataclass(frozen=True, kw_only=True)
class TrainSettings(ComputeSettings, DataSettings):
    """What every training needs to know.

    A kind of model adds ``kind``, ``resize``, ``model`` and what else it needs.
    """

    kind: str
    """Kind of model."""

    resize: Literal["square", "longest_side", "shortest_side"]
    """Which side of an image gets the size."""

    model: LocalizerSettings | DetectorSettings
    """The model."""

    run_dir: Path
    """Folder of the run: settings, log, checkpoints, events."""

    split: str = ""
    """Images to learn from. When not given trainval, or train of one's own images if some of them
    are for validation."""

    val_split: str | None = None
    """Images to evaluate after every epoch and to choose the best checkpoint; none for no
    validation, which leaves every image of one's own to learn from. When neither this nor --split
    is given, val of one's own images (a fifth of them, see --val-fraction) and none of VOC."""

    image_sizes: tuple[int, ...] = (512,)
    """Pixels of the side that --resize names. Each batch takes one of them."""

    eval_image_sizes: tuple[int, ...] = ()
    """The same for evaluation, which averages over them; those of training when empty."""

    flip: bool = True
    """Flip half of the images horizontally, at random."""

    pretrained: bool = False
    """Start the backbone from ImageNet weights (packaged or downloaded, or from --weights)."""

    weights: Path | None = None
    """File with the backbone's ImageNet weights, instead of a download."""

    frozen_backbone: bool = False
    """Train the head alone, on features that are computed once and kept on disk."""

    feature_cache: Path = Path("runs/features")
    """Where features of frozen backbones are kept; several runs share them."""

    feature_cache_limit: float | None = None
    """Most GB that this folder may take; a run that needs more ends before it fills it."""

    only_features: str = ""
    """Compute those of a part of the images, 3/8 for the third of eight or 1/1 for all, and train
    nothing; several processes or machines fill the same --feature-cache."""

    optim: OptimSettings = field(default_factory=OptimSettings)

    loop: LoopSettings = field(default_factory=LoopSettings)

    visdom: VisdomSettings = field(default_factory=VisdomSettings)

    seed: int = 0
    """Of weights, order, flipping and what is dropped."""

    deterministic: bool | None = None
    """Take operators that give the same numbers each time, and warn where there is none; when not
    given on a CPU alone, where it costs nothing."""

    compile: bool = False
    """Compile the backbone with torch.compile: minutes at the start for quicker steps on CUDA."""

    resume: str = ""
    """auto continues from the newest good checkpoint, or starts; a path from that file."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        super().__post_init__()
        check_range(self, "above 0", "image_sizes", "eval_image_sizes", "feature_cache_limit")
        check_range(self, "0 or more", "seed")
        parse_shard(self.only_features, "only-features")
        if self.only_features and not self.frozen_backbone:
            raise ValueError("--only-features: those of a backbone that learns are not kept")
        if not self.image_sizes:
            raise ValueError("--image-sizes: name one or more")
        if self.frozen_backbone and not self.has_trained_backbone:
            raise ValueError(
                "--frozen-backbone needs a trained backbone (--pretrained true or --weights FILE; "
                "--frozen-backbone false trains it too)"
            )

    @property
    def name(self) -> str:
        """Of the model, in ``report.json``."""
        return self.kind

    @property
    def metrics_in_training(self) -> dict[str, str]:
        """What ``train/...`` curves are of the images that the run learns from: metrics by tag."""
        return {"train/metric1": "image_map", "train/metric2": "f2"}

    @property
    def has_trained_backbone(self) -> bool:
        """Whether the backbone starts from weights that have seen images."""
        return self.pretrained or self.weights is not None or self.backbone_from is not None

    @property
    def backbone_from(self) -> Path | None:
        """Folder of the run whose backbone this one starts from."""
        return None

    @property
    def evaluation_sizes(self) -> tuple[int, ...]:
        """Sizes of an image in evaluation."""
        return self.eval_image_sizes or self.image_sizes
