"""Images of a folder, and which of them a name means."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from data.datasets.labels.content import SPLITS, ImageLabels, Labels
from data.datasets.source import Problem
from data.images import optional_formats

SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"),
    *optional_formats(),
)


def find_images(folder: Path) -> list[str]:
    """The path below a folder of every image, known by its ending, sorted, with slashes.

    Raises:
        FileNotFoundError: no image is in it.
    """
    paths = _images(folder)
    if not paths:
        raise FileNotFoundError(f"{folder}: no images in it ({', '.join(SUFFIXES)})")
    return paths


def resolve_names(labels: Labels, where: Path, images: Path) -> Labels:
    """The labels by the files that their names mean.

    A name that is no file may be one in other letters, without its ending or with another one. A
    name that several files fit, and a file that two names mean, are problems, and so are names that
    begin in another folder. One that no file fits stays as it is: its image is missing.

    Args:
        labels: by names.
        where: file or folder of the labels, for the problems.
        images: folder of the images.
    """
    if all((images / name).exists() for name in labels.rows):
        return labels
    index = _Index(images)
    rows, meant = dict[str, ImageLabels](), dict[str, str]()
    problems = index.elsewhere(labels.rows, where)
    for name, row in labels.rows.items():
        files = [name] if (images / name).exists() else index.files(name)
        if len(files) > 1:
            what = f"{name!r} may be {' or '.join(files)}"
            problems.append(Problem(where, what, "write the name of the file with its ending"))
        elif files and files[0] in meant:
            what = f"{name!r} and {meant[files[0]]!r} are both {files[0]}"
            problems.append(Problem(where, what, "list an image once"))
        else:
            file = files[0] if files else name
            rows[file], meant[file] = row, name
    return Labels(labels.form, rows, (*labels.problems, *problems), labels.classes)


def split_of(images: Iterable[str]) -> dict[str, str]:
    """The split of each image where all lie in folders with names of splits, else none of any."""
    paths = {name: PurePosixPath(name).parts for name in images}
    if all(len(parts) > 1 and parts[0].lower() in SPLITS for parts in paths.values()):
        return {name: SPLITS[parts[0].lower()] for name, parts in paths.items()}
    return dict.fromkeys(paths, "")


def without_suffix(name: str) -> str:
    """The name without the ending of an image."""
    path = PurePosixPath(name)
    return path.with_suffix("").as_posix() if path.suffix.lower() in SUFFIXES else name


class _Index:
    """The images of a folder in small letters, with and without their endings."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._whole, self._stems = dict[str, list[str]](), dict[str, list[str]]()
        self._last = dict[str, list[str]]()
        for name in _images(folder):
            self._whole.setdefault(name.casefold(), []).append(name)
            self._stems.setdefault(without_suffix(name).casefold(), []).append(name)
            self._last.setdefault(PurePosixPath(name).name.casefold(), []).append(name)

    def files(self, name: str) -> list[str]:
        """Those that the name may mean."""
        small = name.casefold()
        whole, stems = self._whole.get(small), self._stems
        return whole or stems.get(small) or stems.get(without_suffix(name).casefold(), [])

    def elsewhere(self, names: Iterable[str], where: Path) -> list[Problem]:
        """One problem for all names from the folder above, and one for those from one below."""
        missing = [n for n in names if not (self._folder / n).exists() and not self.files(n)]
        above = [n for n in missing if (self._folder.parent / n).exists()]
        below = {n: self._last.get(PurePosixPath(n).name.casefold(), []) for n in missing}
        lying = {n: files[0] for n, files in below.items() if files and n not in above}
        problems = []
        if above:
            what = f"{len(above)} images are named from the folder above, such as {above[0]}"
            problems.append(Problem(where, what, f"--images {self._folder.parent}"))
        if lying:
            name, file = next(iter(lying.items()))
            what = f"{len(lying)} images lie in other folders, such as {file} for {name}"
            cure = "write their paths below the folder of --images"
            problems.append(Problem(where, what, cure))
        return problems


def _images(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.is_dir()  # a pipe is refused by its reader
    )
