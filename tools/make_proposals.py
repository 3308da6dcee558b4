"""Make region proposals for VOC or for any folder of images.

python -m tools.make_proposals --split trainval --out proposals/trainval.npz
python -m tools.make_proposals --images photographs --out proposals/photographs.npz
python -m tools.make_proposals --split trainval --from-mat voc_2007_trainval.mat --out published.npz

Selective search and edge boxes, ranked together by a score; no annotation is read. About 2000 boxes
and two thirds of a second per image and core. A stopped command continues; proposals of changed
images and of other settings are made again. With --from-mat nothing is made: a published file is
converted, images are matched by name, and each box is checked.
"""

from tools.cli.command import Command
from tools.preparation.settings import MakeProposalsSettings

main = Command("make_proposals", MakeProposalsSettings, "tools.preparation.proposals", __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
