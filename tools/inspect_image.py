"""Look at one image of a data set: where it lies, what it holds, its boxes drawn.

python -m tools.inspect_image --split trainval --index 2018

Prints name, file, size, classes and every object, and writes the image with its boxes to --out,
once more with its ten best proposals beside it, and both to visdom with --visdom.server. Proposals
are made for this image in a second, as make_proposals makes them, or read from --proposals FILE.
Of VOC it works without the images, too: lists and XML are enough for the text.
"""

from tools.cli.command import Command
from tools.pages.settings import InspectImageSettings

main = Command("inspect_image", InspectImageSettings, "tools.pages.one_image", __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
