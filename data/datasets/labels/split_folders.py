"""A file of labels in the folder of each split, as Roboflow and Hugging Face write them."""

from dataclasses import replace

from data.datasets.labels.box_rows import read_box_rows
from data.datasets.labels.coco import read_coco
from data.datasets.labels.content import SPLITS, ImageLabels, Labels
from data.datasets.labels.one_hot import read_one_hot
from data.datasets.labels.place import LabelsPlace
from data.datasets.labels.rows import read_rows
from data.datasets.source import Problem

FILES = ("_classes.csv", "_annotations.coco.json", "_annotations.csv", "metadata.csv")
READERS = (read_coco, read_box_rows, read_rows, read_one_hot)


def read_split_folders(place: LabelsPlace) -> Labels | None:
    """``train/_classes.csv``, ``valid/_classes.csv`` and the like; None for any other folder.

    Names in a file are those below its folder, and its split is the folder.
    """
    if place.folder is None:
        return None
    below = sorted(path for path in place.folder.iterdir() if path.name.lower() in SPLITS)
    files = [path / name for path in below for name in FILES if (path / name).is_file()]
    rows, problems, classes, forms = dict[str, ImageLabels](), list[Problem](), set[str](), {""}
    for file in files:
        part = replace(place, named=file)
        labels = next(labels for read in READERS if (labels := read(part)) is not None)
        folder = file.parent.name
        split = SPLITS[folder.lower()]
        named = {f"{folder}/{name}": replace(row, split=split) for name, row in labels.rows.items()}
        if shared := named.keys() & rows.keys():
            problems.append(Problem(file, f"{min(shared)} is in another file", "keep one file"))
        rows |= named
        problems += labels.problems
        classes |= {*labels.classes}
        forms.add(f"{file.name} in folders of splits, {labels.form}")
    form = "; ".join(sorted(forms - {""}))
    return Labels(form, rows, tuple(problems), tuple(sorted(classes))) if files else None
