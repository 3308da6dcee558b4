"""VOC's XML, one file an image, as VOC, labelImg, CVAT, VoTT and Roboflow write it.

Fields that are not read may be there or not: parts, polygons, attributes, sources.
"""

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path, PurePosixPath

from data.checks import without_path
from data.datasets.labels.content import (
    Corners,
    ImageLabels,
    LabeledObject,
    Labels,
    number_of,
    of_objects,
    size_of,
)
from data.datasets.labels.names import SUFFIXES, split_of
from data.datasets.labels.place import LabelsPlace

FLAGS = {
    **dict.fromkeys(("1", "true", "yes"), True),
    **dict.fromkeys(("", "0", "false", "no", "unspecified"), False),
}


def read_xml(path: Path, first_pixel: int = 1) -> ImageLabels:
    """The objects of one image; ``<part>`` boxes inside of objects are not objects.

    Args:
        path: of the file.
        first_pixel: number of the first pixel in its corners.

    Returns:
        The size is None where the file says none, or 0.

    Raises:
        ValueError: not XML, a document type (entities can expand without bound), UTF-16, a missing
            field, or one that is no number.
    """
    return _parse(path, _root(path), first_pixel)


def read_xml_folder(place: LabelsPlace) -> Labels | None:
    """The annotations of a folder, by the name of each file or the one that stands in it.

    A file that cannot be read is a problem of its image. None for a folder without any.
    """
    files = sorted(place.folder.rglob("*.xml")) if place.folder is not None else []
    if place.folder is None or not files:
        return None
    rows = {}
    for path in files:
        name = path.relative_to(place.folder).with_suffix("").as_posix()
        try:
            root = _root(path)
            name = _image(name, root)
            rows[name] = _parse(path, root, place.first_pixel)
        except ValueError as error:
            rows[name] = ImageLabels(file=path, problem=without_path(path, error))
    splits = split_of(rows)
    by_split = {name: replace(row, split=splits[name]) for name, row in rows.items()}
    return Labels("VOC's XML, with boxes", by_split)


def _image(name: str, root: ET.Element) -> str:
    """The name with the ending that the file says, where it says one of the same name."""
    said = PurePosixPath((root.findtext("filename") or "").replace("\\", "/").strip())
    own = PurePosixPath(name)
    same = said.stem == own.name and said.suffix.lower() in SUFFIXES
    return own.with_name(said.name).as_posix() if same else name


def _root(path: Path) -> ET.Element:
    text = path.read_bytes()
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise ValueError(f"{path}: a document type is not accepted in an annotation")
    if b"\0" in text:  # it could hide a document type
        raise ValueError(f"{path}: UTF-16 is not accepted in an annotation")
    try:
        return ET.fromstring(text)
    except (ET.ParseError, LookupError, ValueError) as error:  # LookupError: its encoding
        raise ValueError(f"{path}: {error}") from error


def _parse(path: Path, root: ET.Element, first_pixel: int) -> ImageLabels:
    try:
        size = _size(root)
        objects = [_object(item, first_pixel) for item in root.findall("object")]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return of_objects(objects, size=size, file=path)


def _size(root: ET.Element) -> tuple[int, int] | None:
    """(height, width); labelImg writes 0 for images that it could not open."""
    if root.find("size") is None:
        return None
    return size_of(*(number_of(_text(root, f"size/{side}")) for side in ("height", "width")))


def _object(item: ET.Element, first_pixel: int) -> LabeledObject:
    xmin, ymin, xmax, ymax = (
        number_of(_text(item, f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")
    )
    corners: Corners = (xmin, ymin, xmax, ymax)
    difficult, truncated = (
        (item.findtext(name) or "").strip().lower() for name in ("difficult", "truncated")
    )
    if difficult not in FLAGS:
        raise ValueError(f"difficult is 1 or 0, got {difficult!r}")
    flags = FLAGS[difficult], FLAGS.get(truncated, False)
    return LabeledObject(_text(item, "name"), corners, first_pixel, *flags)


def _text(element: ET.Element, path: str) -> str:
    text = element.findtext(path)
    if text is None or not text.strip():
        raise ValueError(f"<{element.tag}> lacks {path}")
    return text.strip()
