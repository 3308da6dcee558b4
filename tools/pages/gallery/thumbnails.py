"""Thumbnails that are kept while their source is unchanged.

The name of a thumbnail is a digest of its source, its size, and the sizes and times of the files
that the source reads: a changed image has another one, so an older page is right until a new one
replaces it.
"""

import re
from collections.abc import Collection, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data.images import read_image
from data.parallel import map_parallel, usable_cores
from tools.cli.console import echo, track
from tools.files.atomic import write_atomically
from tools.pages.draw import encode_jpeg

REVISION = 1  # of how thumbnails are made; a new one makes all of them again
NAME = r"[0-9a-f]{24}\.jpg"


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
        return _reduced(read_image(self.path, size=self.image_size), longest_side)


def make_thumbnails(
    folder: Path, sources: Sequence[Source], *, longest_side: int, processes: int
) -> dict[Source, str]:
    """Write the thumbnails that do not exist yet.

    Args:
        folder: gets the JPEG files; is made if it is missing. Other files in it are kept.
        sources: each different from all others.
        longest_side: of a thumbnail in pixels; smaller images are not enlarged.
        processes: working in parallel, 0 for one a core.

    Returns:
        The file name of each source's thumbnail.

    Raises:
        FileNotFoundError: a file of a source is missing.
        ValueError: a source does not decode or has another size; the message names it.
        Interrupted: by a signal; finished thumbnails are kept.
    """
    names = {source: _name(source, longest_side) for source in sources}
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(source, folder / name) for source, name in names.items()]
    missing = [(source, path) for source, path in jobs if not path.is_file()]
    made = map_parallel(
        partial(_make, longest_side), missing, processes=processes or usable_cores()
    )
    done = len(sources) - len(missing)
    if done:
        echo(f"{done} of {len(sources)} thumbnails exist already")
    for _ in track(made, "thumbnails", total=len(sources), done=done):
        pass  # each is written where it is made
    return names


def remove_thumbnails(folder: Path, *, keep: Collection[str]) -> None:
    """Remove thumbnails of other names and partial files; other files are kept."""
    kept = set(keep)
    for path in folder.iterdir():
        if re.fullmatch(rf"{NAME}((\.\d+)?\.tmp)?", path.name) and path.name not in kept:
            path.unlink(missing_ok=True)


def _name(source: Source, longest_side: int) -> str:
    identity: list[object] = [REVISION, longest_side, repr(source)]
    for path in source.paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
        status = path.stat()
        identity += [status.st_size, status.st_mtime_ns]
    return f"{sha256(repr(identity).encode()).hexdigest()[:24]}.jpg"


def _make(longest_side: int, job: tuple[Source, Path]) -> int:
    """Write one thumbnail, complete or not at all; returns its size in bytes."""
    source, path = job
    content = encode_jpeg(source.draw(longest_side))
    write_atomically(path, content)
    return len(content)


def _reduced(image: Tensor, longest_side: int) -> Tensor:
    """An image whose longer side is at most this, in its proportions."""
    pixels = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    pixels.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS, reducing_gap=None)
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)
