"""Find every problem of a data set before training on it.

python -m tools.check_data --voc-root VOCdevkit
python -m tools.check_data --images photographs --labels labels.csv
python -m tools.check_data --proposals proposals/trainval.npz

Reads every list, every annotation and every image on all cores, prints a table of the classes
and then each problem with its cure; exits with 2 if there is any. With --on-bad skip an image that
the other commands leave out with this option is no problem: it is named and counted. With
--proposals the boxes of that file are compared with the images. Nothing is written into the data
set. The state of each image is stored in --cache and used again while the size and time of its file
are the same. 1312 images take 5 to 7 seconds on two cores, and 3 the second time.
"""

from tools.cli.command import Command
from tools.preparation.settings import CheckDataSettings

main = Command("check_data", CheckDataSettings, "tools.preparation.check", __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
