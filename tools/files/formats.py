"""The formats of other tools; a row here is all that one more needs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tools.files.boxed_images import BoxedImages
from tools.files.coco import write_coco
from tools.files.label_studio import write_label_studio
from tools.files.labelme import write_labelme
from tools.files.voc import write_voc
from tools.files.yolo import write_yolo


@dataclass(frozen=True, slots=True)
class Format:
    """How detections become files.

    Attributes:
        write: makes them in an existing folder that holds none of them yet.
        names: of the files and folders that it makes there.
    """

    write: Callable[[Path, BoxedImages], None]
    names: tuple[str, ...]


FORMATS = {
    "coco": Format(write_coco, ("coco.json", "coco_results.json")),
    "voc": Format(write_voc, ("voc",)),
    "yolo": Format(write_yolo, ("yolo",)),
    "labelme": Format(write_labelme, ("labelme",)),
    "label_studio": Format(write_label_studio, ("label_studio.json", "label_studio.xml")),
}


def check_formats(names: Iterable[str]) -> None:
    """Raise ``ValueError`` for a name that is not in ``FORMATS``."""
    for name in names:
        if name not in FORMATS:
            raise ValueError(f"--formats: {name!r} is not one of {', '.join(FORMATS)}")
