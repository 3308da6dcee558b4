"""Box the objects of an image or of a folder of images with a trained run.

python -m tools.detect --run-dir runs/wsddn --images photographs --out detections
python -m tools.detect --run-dir runs/wsddn --images photographs/cat.jpg --out detections

Writes images/ with the boxes drawn, detections.json with full precision, coco.json, and voc/ with
one XML per image that labeling tools open. Proposals are made on the way, two thirds of a second of
one core each, unless a file of make_proposals is given. A localizer gives boxes from its heatmap.
"""

from tools.cli.command import Command
from tools.exports.settings import DetectSettings

main = Command("detect", DetectSettings, "tools.exports.detect", __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
