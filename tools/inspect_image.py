"""Look at one image of a data set: where it lies, what it holds, its boxes drawn.

python -m tools.inspect_image --split trainval --index 2018

Prints name, file, size, classes and every object, and writes the image with its boxes to --out
and, if asked, to visdom. With --proposals FILE the image is drawn once more, with its ten best
proposals. Of VOC it works without the images, too: lists and XML are enough for the text.
"""

from tools.cli.command import Command
from tools.pages.settings import InspectImageSettings

main = Command("inspect_image", InspectImageSettings, "tools.pages.one_image", __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
