"""Labels of images, corrected by what a person has marked in a gallery, as a file of labels."""

import csv
import io
from pathlib import Path

from data.datasets.labels.table import LABEL, SPLIT
from data.datasets.source import Source
from tools.files.atomic import write_atomically
from tools.files.reviewed import Reviewed
from tools.prediction.reviewed import review_images

IMAGE = "file_name"  # the column of images, whatever else is named so
DRAWN = ("all", "trainval")  # splits that follow from the others


def write_corrected_labels(path: Path, source: Source, reviewed: Reviewed) -> str:
    """Write a column for each class: 1 present, 0 absent, nothing unknown.

    A file with this content is left as it is.

    Args:
        path: of the file; its folder exists.
        source: of the images and their labels.
        reviewed: what a person has said of some of them.

    Returns:
        What the file holds.

    Raises:
        ValueError: a name of a class that this form of labels has for something else; or as
            ``review_images``.
    """
    taken = [name for name in source.classes if name.lower() in (IMAGE, *LABEL, *SPLIT)]
    if taken:
        raise ValueError(
            f"{source.where}: no corrected labels for a class named {taken[0]!r}, which a table of "
            "labels has a column for (rename the class)"
        )
    ids = source.ids("all")
    sizes = {name: source.annotation(name).image_size for name in ids if name in reviewed.boxes}
    marks = review_images(reviewed, sizes, source.classes)
    splits = [name for name in source.split_names if name not in DRAWN]
    split_of = {image: name for name in splits for image in source.ids(name)}
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([IMAGE, *(["split"] if splits else []), *source.classes])
    for image in ids:
        labels = source.labels(image)
        targets, weights = marks[image].correct(*labels) if image in marks else labels
        known = zip(targets.tolist(), weights.tolist(), strict=True)
        cells = ["" if weight == 0 else f"{target:.0f}" for target, weight in known]
        writer.writerow([image, *([split_of[image]] if splits else []), *cells])
    content = text.getvalue().encode()
    if not path.is_file() or path.read_bytes() != content:
        write_atomically(path, content)
    return text.getvalue()
