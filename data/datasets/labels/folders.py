"""A folder for each class: cat/1.jpg, dog/2.jpg; or below folders of splits, train/cat/1.jpg."""

from pathlib import PurePosixPath

from data.datasets.labels.content import SPLITS, ImageLabels, Labels
from data.datasets.labels.names import find_images, split_of
from data.datasets.labels.place import LabelsPlace
from data.datasets.source import Problem

CURE = "CLASS/IMAGE or SPLIT/CLASS/IMAGE; other labels are in a file"


def read_folders(place: LabelsPlace) -> Labels | None:
    """The names of the images' folders, if ``--labels folders`` asks for them.

    An image holds the class of its folder and none of the others.

    Raises:
        FileNotFoundError: no image is there.
    """
    if place.named != "folders":
        return None
    splits = split_of(find_images(place.images))
    rows, problems = dict[str, ImageLabels](), list[Problem]()
    for image, split in splits.items():
        folders = PurePosixPath(image).parts[bool(split) : -1]
        if len(folders) == 1 and folders[0].lower() not in SPLITS:
            rows[image] = ImageLabels((folders[0],), split)
        else:
            what = f"lies in {'/'.join(folders)}" if folders else "lies in no folder of a class"
            problems.append(Problem(place.images / image, what, CURE))
    by_split = " in folders of splits" if any(splits.values()) else ""
    return Labels(f"a folder for each class{by_split}", rows, tuple(problems))
