"""Train a localizer from image-level labels.

python -m tools.train_localizer --config tools/configs/localizer_lite0.yaml --run-dir runs/lite0

About ten minutes on two cores with 992 pictures, most of them to compute the features of the frozen
trunk, which is done once.
Then ``python -m tools.evaluate --run-dir runs/lite0`` gives the numbers and the report.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tools.engine.command import run_command
from tools.engine.settings import (
    BoxSettings,
    DataSettings,
    LoopSettings,
    ModelSettings,
    OptimSettings,
    VisdomSettings,
)


@dataclass(frozen=True, kw_only=True)
class TrainLocalizerSettings(DataSettings):
    """Settings of one training."""

    run_dir: Path
    """Folder of the run: settings, log, checkpoints, events."""

    split: str = "trainval"
    """Pictures to learn from."""

    val_split: str = ""
    """Pictures to evaluate after every epoch and to choose the best checkpoint; empty for none."""

    image_sizes: tuple[int, ...] = (512,)
    """Pixels of the longest side, or of both sides for square. Each batch takes one of them."""

    eval_image_sizes: tuple[int, ...] = ()
    """The same for evaluation; those of training when empty. The heatmaps are those of the first
    size, the image scores are the mean over all."""

    resize: Literal["square", "longest_side"] = "square"
    """Whether pictures keep their proportions."""

    flip: bool = True
    """Mirror half of the pictures at random."""

    pretrained: bool = False
    """Start the trunk from ImageNet weights (packaged or downloaded, or from --weights)."""

    weights: Path | None = None
    """File with the trunk's ImageNet weights, instead of a download."""

    frozen_trunk: bool = False
    """Train the head alone, on features that are computed once and kept on disk."""

    feature_cache: Path = Path("runs/features")
    """Where features of frozen trunks are kept; several runs share them."""

    model: ModelSettings = field(default_factory=ModelSettings)

    optim: OptimSettings = field(default_factory=OptimSettings)

    loop: LoopSettings = field(default_factory=LoopSettings)

    boxes: BoxSettings = field(default_factory=BoxSettings)

    visdom: VisdomSettings = field(default_factory=VisdomSettings)

    seed: int = 0
    """Of weights, order, mirroring and dropped channels."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute."""

    amp: Literal["off", "bf16", "fp16"] = "bf16"
    """Number format of convolutions."""

    deterministic: bool = True
    """Warn of operators that give other numbers each time (there are none on a CPU)."""

    resume: str = ""
    """auto goes on from the newest good checkpoint, or starts; a path goes on from that file."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        super().__post_init__()
        if self.images is not None and self.labels is None:
            raise ValueError(
                "--images: nothing to learn from pictures alone (--labels names a CSV)"
            )
        if not self.image_sizes or min(*self.image_sizes, *self.eval_image_sizes, 1) < 1:
            raise ValueError(
                f"--image-sizes and --eval-image-sizes are 1 or more, got {self.image_sizes} and "
                f"{self.eval_image_sizes}"
            )
        if self.seed < 0:
            raise ValueError(f"--seed is 0 or more, got {self.seed}")
        if self.frozen_trunk and not (self.pretrained or self.weights):
            raise ValueError(
                "--frozen-trunk needs ImageNet weights (--pretrained or --weights FILE)"
            )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(TrainLocalizerSettings, "train_localizer", argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
