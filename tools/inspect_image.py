"""Look at one image of a data set: where it lies, what it holds, its boxes drawn.

python -m tools.inspect_image --split trainval --index 2018

Prints name, file, size, classes and every object, and writes the image with its boxes to --out
and, if asked, to visdom. With --proposals FILE the image is drawn once more, with its ten best
proposals. Of VOC it works without the images, too: lists and XML are enough for the text.
"""

import sys
from collections.abc import Sequence

from tools.cli.command import run_command
from tools.pages.settings import InspectImageSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(
        "inspect_image", InspectImageSettings, "tools.pages.one_image", argv, __doc__
    )


if __name__ == "__main__":
    sys.exit(main())
