"""Describe a trained run or a backbone: its layers, where its cells lie, how large its maps are.

python -m tools.describe --run-dir runs/lite0
python -m tools.describe --backbone timm:convnext_atto --image-sizes 512 736

Prints stride and offset of the cells (the index of the pixel on which cell 0 is centered), the size
of the feature map and of a localizer's heatmap for square images of --image-sizes, and a line for
each layer: name, kind, output for the first size, number of parameters, and whether they are
frozen. A layer that is not called as one, such as fc6 of a detector, has no output.
"""

from tools.cli.command import Command
from tools.pages.settings import DescribeSettings

main = Command("describe", DescribeSettings, "tools.pages.layers", __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
