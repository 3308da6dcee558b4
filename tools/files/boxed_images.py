"""Images with their boxes, as the writers of other tools' formats take them."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from data.datasets.image_set import ImageSet
from data.types import Annotation, Detections
from tools.files.atomic import naming, shortened

LONGEST_STEM = 235  # bytes; two endings, such as .jpeg.json, still fit a file name


@dataclass(frozen=True, slots=True)
class BoxedImage:
    """One image.

    Attributes:
        path: its file.
        file: name of that file below the folder of images, with slashes.
        stem: the same without its ending, made longer where another image has that name.
        size: (height, width) in pixels.
        detections: in pixels of the image; maybe none.
    """

    path: Path
    file: str
    stem: str
    size: tuple[int, int]
    detections: Detections

    @property
    def linked(self) -> str:
        """Name of the image in a folder where names without endings must differ."""
        return f"{self.stem}{self.path.suffix}"


@dataclass(frozen=True, slots=True)
class BoxedImages:
    """Images of one split.

    Attributes:
        classes: names in the order of the labels.
        images: in the order of the split; their files differ.
        split: its name.
        model: name of what found the boxes.
        info: how they were chosen; ``description`` says it in words.
        image_url: what stands before an image's name in a list of addresses.
        known: objects of the same images, which COCO's data set then holds instead of detections.
    """

    classes: tuple[str, ...]
    images: Sequence[BoxedImage]
    split: str
    model: str
    info: Mapping[str, Any]
    image_url: str = ""
    known: Sequence[Annotation] = ()


def name_images(dataset: ImageSet, detections: Mapping[str, Detections]) -> list[BoxedImage]:
    """The images of a split with their detections, by id, and the names that files give them."""
    named, taken = list[BoxedImage](), set[str]()
    for image_id, path, annotation in zip(
        dataset.ids, dataset.paths, dataset.annotations, strict=True
    ):
        file = PurePosixPath(image_id).with_name(path.name)
        stem = str(file.with_name(shortened(file.stem, LONGEST_STEM)))
        while stem in taken:  # cat.jpg and cat.png
            stem += path.suffix or "_"
        taken.add(stem)
        size = annotation.image_size
        named.append(BoxedImage(path, str(file), stem, size, detections[image_id]))
    return named


def link_image(place: Path, image: Path) -> None:
    """Put an image there: as a second name of the same file, or as a copy on another disk.

    Readers refuse symbolic links that lead out of their folder.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        place.hardlink_to(image.resolve())
    except OSError:
        with naming(place):
            shutil.copyfile(image, place)
