"""The forms of labels: the one place that asks which form ``--labels`` names."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from data.datasets.labels.box_rows import read_box_rows
from data.datasets.labels.class_lists import read_class_lists
from data.datasets.labels.coco import read_coco
from data.datasets.labels.content import Labels
from data.datasets.labels.folders import read_folders
from data.datasets.labels.names import resolve_names
from data.datasets.labels.near_misses import near_misses
from data.datasets.labels.one_hot import read_one_hot
from data.datasets.labels.place import TABLES, LabelsPlace
from data.datasets.labels.rows import read_rows
from data.datasets.labels.split_folders import read_split_folders
from data.datasets.labels.voc_xml import read_xml_folder

# Each gives None for what is not of its form; the first that does not is the one.
FORMS: dict[str, Callable[[LabelsPlace], Labels | None]] = {
    "folders": read_folders,
    "voc_xml": read_xml_folder,
    "class_lists": read_class_lists,
    "split_folders": read_split_folders,
    "coco": read_coco,
    "box_rows": read_box_rows,
    "rows": read_rows,
    "one_hot": read_one_hot,
}


def read_labels(place: LabelsPlace) -> Labels:
    """The labels of a folder of images, by the files that they mean.

    Raises:
        FileNotFoundError: there are no labels.
        ValueError: a file of another form. What is wrong with single lines is in the result.
    """
    where = place.named if isinstance(place.named, Path) else place.images
    if place.file is None and place.folder is None and place.named != "folders":
        raise FileNotFoundError(f"{where}: no such file or folder of labels")
    for read in FORMS.values():
        labels = read(place)
        if labels is not None:
            resolved = resolve_names(labels, where, place.images)
            problems = (*resolved.problems, *near_misses(place, resolved))
            return replace(resolved, problems=problems)
    if place.file is not None:
        raise ValueError(f"{where}: labels are a table ({', '.join(TABLES)}) or COCO's .json")
    raise ValueError(
        f"{where}: a folder without labels: no XML, no VOC's lists of classes, no file of labels "
        "in folders of splits (--labels folders takes the names of the images' folders)"
    )
