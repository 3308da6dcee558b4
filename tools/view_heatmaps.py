"""Look at a localizer's heatmaps in visdom, in TensorBoard, or as files.

python -m tools.view_heatmaps --run-dir runs/lite0 --split val --to visdom --visdom.server localhost

One window an image: the image, and the heatmap of each class that it holds. --to files writes each
as a JPEG into RUN/evaluations/SPLIT/heatmaps, and beside it the heatmaps as arrays, which gallery
draws; --to tensorboard writes events there. Seconds for 20 images on two cores.
"""

import sys
from collections.abc import Sequence

from tools.cli.command import run_command
from tools.pages.settings import ViewHeatmapsSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(
        "view_heatmaps", ViewHeatmapsSettings, "tools.pages.view_heatmaps", argv, __doc__
    )


if __name__ == "__main__":
    sys.exit(main())
