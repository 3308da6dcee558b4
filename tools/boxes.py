"""From labeled images to boxes in one command.

python -m tools.boxes --images photographs --labels labels.csv --out boxed
python -m tools.boxes --images new_photographs --run-dir boxed --out boxed_new
python -m tools.boxes --images photographs --labels labels.csv --reviewed reviewed.csv --out boxed2

Checks the images and their labels, trains a localizer, makes proposals, trains a detector, boxes
every image (no class that its labels exclude, at least one box of each that they name), and makes a
gallery of the boxes. With --run-dir instead of --labels the models of an earlier --out, or of any
run, box images that have no labels. Everything lies in --out: boxes/ with the images drawn and the
files of --formats, gallery/index.html, runs/, proposals.npz. A command that was stopped continues
when it is typed again; what is finished is not made again. A bad image or annotation ends it; with
--on-bad skip it is named once and left out of every step. Images that have a single class get the
localizer's boxes, because a detector learns to tell classes apart; with --quality fast all do.

In the gallery boxes are marked by keys and saved as reviewed.csv. With --reviewed an accepted box
stays as it is, a relabeled one has its new class, a rejected one is not found again, and a class
that was marked absent has none. Where every box of a class in an image is marked and one stays,
no other of it is added. A class is taken out of an image's labels when it was marked absent or its
boxes were given other classes, and a class that keeps a box is added; a rejected box alone changes
no label. The trainings learn from these labels (OUT/corrected_labels.csv); where they differ from
those of an earlier training, --out is another folder.
"""

from tools.cli.command import Command
from tools.pipelines.settings import BoxesSettings

main = Command("boxes", BoxesSettings, "tools.pipelines.boxes", __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
