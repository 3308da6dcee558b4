"""Look at a localizer's heatmaps in visdom, in TensorBoard, or as files.

python -m tools.view_heatmaps --run-dir runs/lite0 --split val --to visdom --visdom.server localhost

One window an image: the image, and the heatmap of each class that it holds. --to files writes each
as a JPEG into RUN/evaluations/SPLIT/heatmaps, and beside it the heatmaps as arrays, which gallery
draws; --to tensorboard writes events there. Seconds for 20 images on two cores.
"""

from tools.cli.command import Command
from tools.pages.settings import ViewHeatmapsSettings

main = Command("view_heatmaps", ViewHeatmapsSettings, "tools.pages.view_heatmaps", __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
