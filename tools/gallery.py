"""A gallery of a run in the browser: the images that score highest and lowest for any class.

python -m tools.gallery --run-dir runs/lite0 --split test
python -m tools.gallery --run-dir runs/wsddn --split test --proposals proposals/test.npz --serve

Made from what evaluate has saved, scores.npz and detections.json; no model is loaded. The result is
a folder with index.html and thumbnails, RUN/evaluations/SPLIT/gallery, that opens from disk without
a network: the k highest and k lowest images of a class with score and truth, boxes (annotated,
detected, proposed), the heatmaps that view_heatmaps wrote with --to files, and a filter for what is
right or wrong. Boxes are accepted, rejected and relabeled by keys (? lists them); the marks stay in
the browser and are saved as CSV, for tools.boxes and tools.detect with --reviewed, or as COCO.
--serve [PORT] shows it on http://127.0.0.1:8000 until it is stopped. 5000 images take a minute on
one core; thumbnails of images that have not changed are kept.
"""

from tools.cli.command import Command
from tools.pages.settings import GallerySettings

main = Command("gallery", GallerySettings, "tools.pages.gallery.build", __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
