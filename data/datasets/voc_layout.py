"""VOC's layout: which folder holds it, and what its lists say."""

import re
from collections import Counter
from collections.abc import Iterable
from glob import escape
from pathlib import Path

from data.datasets.labels.class_lists import class_list
from data.datasets.labels.names import without_suffix

YEAR = "VOC2007"
HINT = f"--voc-root is the folder that holds {YEAR}"
_PARTS = ("Annotations", "ImageSets", "JPEGImages")


def image_path(voc_root: Path, image_id: str) -> Path:
    """Where the image lies below the folder that holds ``VOC2007``."""
    return voc_root / YEAR / "JPEGImages" / f"{image_id}.jpg"


def annotation_path(voc_root: Path, image_id: str) -> Path:
    """Where the annotation lies below the folder that holds ``VOC2007``."""
    return voc_root / YEAR / "Annotations" / f"{image_id}.xml"


def image_ids(voc_root: Path, split: str) -> list[str]:
    """Names of a split of ``VOC2007``, see ``read_list``."""
    return read_list(voc_root / YEAR, split)


def voc_folder(voc_root: Path) -> Path:
    """The folder of images, annotations and lists.

    Raises:
        FileNotFoundError: there is none.
        ValueError: there are several, none of them ``VOC2007``.
    """
    if (voc_root / YEAR).is_dir():
        return voc_root / YEAR
    if any((voc_root / part).is_dir() for part in _PARTS):
        return voc_root
    years = sorted(path for path in voc_root.glob("VOC[0-9][0-9][0-9][0-9]") if path.is_dir())
    if len(years) > 1:
        names = ", ".join(path.name for path in years)
        raise ValueError(f"{voc_root}: which of {names}? (--voc-root {years[-1]})")
    if not years:
        xml = " (XML beside images is --images DIR --labels DIR)"
        hint = xml if next(voc_root.glob("*/*.xml"), None) else f" ({HINT})"
        raise FileNotFoundError(f"{voc_root}: no {YEAR} in it{hint}")
    return years[0]


def read_list(folder: Path, split: str) -> list[str]:
    """Names of a split in the order of its list; blank lines, a BOM and CRLF are fine.

    Where there is no such list, the names are those in the lists of the classes, as VoTT writes
    them. The ending of an image is taken off.

    Args:
        folder: that holds ``ImageSets``.
        split: name of the list.

    Raises:
        FileNotFoundError: there is no such list.
        ValueError: an empty list, a name twice, a name that is not a plain file name, or the list
            of a class.
    """
    main = folder / "ImageSets" / "Main"
    path = main / f"{split}.txt"
    if path.is_file():
        ids = _lines(path)
        repeated = sorted(name for name, count in Counter(ids).items() if count > 1)
        if repeated:
            raise ValueError(f"{path}: listed twice: {', '.join(repeated[:5])}")
    else:
        of_classes = [class_list(of_class) or () for of_class in _class_lists(main, split)]
        ids = list(dict.fromkeys(name for listed in of_classes for name, _ in listed))
    if not ids:
        existing = ", ".join(split_names(folder, ()))
        hint = f"there are {existing}; {HINT}" if existing else HINT
        raise FileNotFoundError(f"{path}: no list of split {split!r} ({hint}, as is $VOC_ROOT)")
    for name in ids:
        if name.startswith((".", "-")) or re.search(r"[/\\\x00-\x1f]", name):
            raise ValueError(f"{path}: {name!r} is not the name of an image")
    return [without_ending(folder, name) for name in ids]


def _lines(path: Path) -> list[str]:
    """The names of a list of images."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file in UTF-8 ({error})") from error
    ids = [line.strip() for line in text.splitlines() if line.strip()]
    if not ids:
        raise ValueError(f"{path}: the list is empty")
    if _is_class_list(path):
        name, _, of = path.stem.rpartition("_")
        hint = f"--split {of} lists images" if name else "a list of images has names alone"
        raise ValueError(f"{path}: which images hold a class, with 1, 0 or -1 ({hint})")
    return ids


def without_ending(folder: Path, name: str) -> str:
    """The name of an image without its ending, where a list names the file."""
    stem = without_suffix(name)
    return stem if stem != name and (folder / "JPEGImages" / name).exists() else name


def _class_lists(main: Path, split: str = "") -> list[Path]:
    """The lists of classes, of one split or of all."""
    paths = sorted(main.glob(f"*_{escape(split) or '*'}.txt"))
    return [path for path in paths if _is_class_list(path)]


def _is_class_list(path: Path) -> bool:
    """Whether its lines are images with values; ``frame 1`` may be the name of an image, too."""
    listed = class_list(path)
    if listed is None:
        return False
    whole = escape(f"{listed[0][0]} {listed[0][1]}")
    return not any((path.parents[2] / "JPEGImages").glob(f"{whole}.*"))


def split_names(folder: Path, first: Iterable[str]) -> list[str]:
    """Names of the lists of images, those of ``first`` before others."""
    main = folder / "ImageSets" / "Main"
    of_classes = _class_lists(main)
    names = {path.stem for path in main.glob("*.txt") if path not in of_classes}
    names |= {path.stem.rpartition("_")[2] for path in of_classes}
    return sorted(names, key=lambda name: ([*first, name].index(name), name))
