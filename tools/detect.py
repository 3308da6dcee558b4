"""Box the objects of an image or of a folder of images with a trained run.

python -m tools.detect --run-dir runs/wsddn --images photographs --out detections
python -m tools.detect --run-dir runs/wsddn --images photographs/cat.jpg --out detections
python -m tools.detect --run-dir runs/own --images photographs --labels labels.csv --out detections

Where it is known which classes an image holds, none of the others gets a box, and each of them gets
at least one. Writes images/ with the boxes drawn, detections.json with full precision, and on
request the formats of other tools: coco (a data set and a list of results), voc, yolo, labelme,
label_studio. Proposals are made on the way, two thirds of a second of one core each, unless a file
of make_proposals is given. A localizer gives boxes from its heatmap.
"""

from tools.cli.command import Command
from tools.exports.settings import DetectSettings

main = Command("detect", DetectSettings, "tools.exports.detect", __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
