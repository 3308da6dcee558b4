"""Look at a localizer's heatmaps in visdom, in TensorBoard, or as files.

python -m tools.view_heatmaps --run-dir runs/lite0 --split val --to visdom --visdom.server localhost

One window a picture: the photograph, and the heat of each class that it holds. --to files writes
JPEGs into RUN/heatmaps; --to tensorboard writes events into RUN/heatmaps, for
``tensorboard --logdir RUN/heatmaps``. Seconds for 20 pictures on two cores.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tools.engine.command import run_command
from tools.engine.settings import PictureSettings, VisdomSettings, check_positive


@dataclass(frozen=True, kw_only=True)
class ViewHeatmapsSettings(PictureSettings):
    """Settings of one look."""

    run_dir: Path
    """Folder of the trained run."""

    split: str = "val"
    """Pictures to choose from."""

    count: int = 20
    """How many pictures; the same ones for every run."""

    to: Literal["visdom", "tensorboard", "files"] = "files"
    """Where to show them."""

    checkpoint: Literal["last", "best"] = "last"
    """Which checkpoint."""

    visdom: VisdomSettings = field(default_factory=VisdomSettings)

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute."""

    amp: Literal["off", "bf16", "fp16"] = "bf16"
    """Number format of convolutions."""

    def __post_init__(self) -> None:
        """Refuse what cannot be shown."""
        super().__post_init__()
        check_positive(count=self.count)
        if self.to == "visdom" and not self.visdom.server:
            raise ValueError(
                "--to visdom needs --visdom.server (localhost for one on this machine)"
            )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(ViewHeatmapsSettings, "view_heatmaps", argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
