"""Numbered thumbnails that are kept while their source is unchanged.

The JPEG comment of a thumbnail is its mark: a digest of its source, its size, and the sizes and
times of the files that the source reads.
The number of a thumbnail that a page shows is never given to another image, so an older page is
right until a new one replaces it.
"""

import io
import re
import warnings
from collections.abc import Collection, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data.images import describe_other_size, read_image
from data.parallel import map_parallel, usable_cores
from tools.cli.console import echo, track
from tools.cli.signals import check_interrupted
from tools.files.atomic import write_atomically

REVISION = 1  # of how thumbnails are made; a new one makes all of them again
MARK = "thumbnail "
QUALITY = 85


class Source(Protocol):
    """The source of a thumbnail; its ``repr`` tells all that the thumbnail shows."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files to read."""
        ...

    def draw(self, longest_side: int) -> Tensor:
        """``[3, H, W]`` uint8, no side longer than this."""
        ...


class OriginalImage(NamedTuple):
    """An image of a data set.

    Attributes:
        path: of the file, absolute.
        image_size: (height, width) in its annotation.
    """

    path: Path
    image_size: tuple[int, int]

    @property
    def paths(self) -> tuple[Path, ...]:
        """Its own file."""
        return (self.path,)

    def draw(self, longest_side: int) -> Tensor:
        """The image, reduced if it is larger.

        Raises:
            ValueError: it does not decode, or has another size.
        """
        image = read_image(self.path)
        if tuple(image.shape[1:]) != self.image_size:
            difference = describe_other_size(image.shape[1:], self.image_size)
            raise ValueError(f"{self.path}: {difference}")
        return _reduced(image, longest_side)


def thumbnail_path(folder: Path, number: int) -> Path:
    """Path of a thumbnail; its name is the number alone."""
    return folder / f"{number:06d}.jpg"


def make_thumbnails(
    folder: Path, sources: Sequence[Source], *, longest_side: int, processes: int
) -> dict[Source, int]:
    """Write the thumbnails that do not exist yet.

    Args:
        folder: gets the JPEG files; is made if it is missing. Other files in it are kept.
        sources: each different from all others.
        longest_side: of a thumbnail in pixels; smaller images are not enlarged.
        processes: working in parallel, 0 for one a core.

    Returns:
        The number of each source's thumbnail.

    Raises:
        FileNotFoundError: a file of a source is missing.
        ValueError: a source does not decode or has another size; the message names it.
        Interrupted: by a signal; finished thumbnails are kept.
    """
    marks = [_mark(source, longest_side) for source in sources]
    folder.mkdir(parents=True, exist_ok=True)
    known, taken = _known(folder)
    free = (number for number in range(len(taken) + len(marks)) if number not in taken)
    numbers = [known[mark] if mark in known else next(free) for mark in marks]
    missing = [
        (source, thumbnail_path(folder, number), mark)
        for source, number, mark in zip(sources, numbers, marks, strict=True)
        if mark not in known
    ]
    made = map_parallel(
        partial(_make, longest_side), missing, processes=processes or usable_cores()
    )
    done = len(sources) - len(missing)
    if done:
        echo(f"{done} of {len(sources)} thumbnails exist already")
    for _ in track(made, "thumbnails", total=len(sources), done=done):
        check_interrupted()
    return dict(zip(sources, numbers, strict=True))


def remove_thumbnails(folder: Path, *, keep: Collection[int]) -> None:
    """Remove our thumbnails of other numbers and partial files; other files are kept."""
    known, _ = _known(folder)
    for number in set(known.values()) - set(keep):
        thumbnail_path(folder, number).unlink(missing_ok=True)
    for path in folder.glob("*.jpg.tmp"):
        if re.fullmatch(r"\d{6,}\.jpg\.tmp", path.name):
            path.unlink(missing_ok=True)


def _known(folder: Path) -> tuple[dict[str, int], set[int]]:
    """Numbers by mark, and all numbers in use, also those of other files."""
    known, taken = {}, set()
    for path in folder.iterdir():
        if re.fullmatch(r"\d{6,}\.jpg", path.name):
            number = int(path.stem)
            taken.add(number)
            mark = _mark_of(path) if thumbnail_path(folder, number) == path else ""
            if mark.startswith(MARK):
                known[mark] = number
    return known, taken


def _mark_of(path: Path) -> str:
    """The comment in a JPEG file; empty if there is none."""
    if path.is_symlink() or not path.is_file():
        return ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is large, for example
            with Image.open(path, formats=("JPEG",)) as image:
                return bytes(image.info.get("comment", b"")).decode("ascii", "replace")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""  # not one of our thumbnails


def _mark(source: Source, longest_side: int) -> str:
    identity: list[object] = [REVISION, longest_side, repr(source)]
    for path in source.paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
        status = path.stat()
        identity += [status.st_size, status.st_mtime_ns]
    return MARK + sha256(repr(tuple(identity)).encode()).hexdigest()


def _make(longest_side: int, job: tuple[Source, Path, str]) -> int:
    """Write one thumbnail, complete or not at all; returns its size in bytes."""
    source, path, mark = job
    image = Image.fromarray(source.draw(longest_side).permute(1, 2, 0).contiguous().numpy())
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY, optimize=True, comment=mark.encode())
    write_atomically(path, file.getvalue())
    return file.tell()


def _reduced(image: Tensor, longest_side: int) -> Tensor:
    """An image whose longer side is at most this, in its proportions."""
    height, width = image.shape[1:]
    fraction = longest_side / max(height, width)
    if fraction >= 1:
        return image
    size = max(1, round(width * fraction)), max(1, round(height * fraction))
    whole = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    pixels = np.array(whole.resize(size, Image.Resampling.LANCZOS))
    return torch.from_numpy(pixels).permute(2, 0, 1)
