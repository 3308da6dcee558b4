"""Problems of images and proposals, all at once; lists and labels are their source's.

Images are decoded in parallel. States of images may be kept: passed in again, they save reading
files whose size and time are the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from data.checks import check_proposals, without_path
from data.datasets.source import Problem, too_thin
from data.images import describe_other_size, gray_range, read_image, read_stored_size
from data.parallel import map_parallel, usable_cores
from data.proposals.files import read_unchecked

NO_FILE = (-1, -1)
SERIAL_BELOW = 64  # fewer images are read before another process would have started


class ImageState(NamedTuple):
    """What is known of an image file.

    Attributes:
        bytes: of the file, -1 if there is none.
        changed: time of its last change in nanoseconds, -1 if there is none.
        problem: why it cannot be used, empty if it can.
        height: in pixels of the upright image, 0 with a problem.
        width: in pixels, 0 with a problem.
        orientation: by which it is turned upright, 1 with a problem.
        range: see ``data.images.gray_range``, 1 with a problem.
        digest: sha256 of the file, empty with a problem.
    """

    bytes: int
    changed: int
    problem: str
    height: int
    width: int
    orientation: int
    range: float
    digest: str


def scan_images(
    paths: Sequence[Path],
    known: Mapping[str, ImageState],
    *,
    processes: int | None = None,
    serial_below: int = SERIAL_BELOW,
) -> Iterator[tuple[Path, ImageState]]:
    """Decode images.

    Args:
        paths: files, in any number of folders.
        known: by absolute path, from an earlier scan; used where size and time of the file are
            the same.
        processes: that read, None for one per usable core.
        serial_below: fewer images than this are read by this process.

    Yields:
        Every path, in the given order, with its state.
    """
    count = usable_cores() if processes is None else processes
    count = 0 if len(paths) < serial_below else count
    states = map_parallel(partial(_state, known), paths, processes=count)
    yield from zip(paths, states, strict=True)


def image_problems(
    states: Mapping[Path, ImageState], sizes: Mapping[Path, tuple[int, int]]
) -> list[Problem]:
    """Images that cannot be used, and those of another size than their annotation says."""
    problems = []
    for path, state in states.items():
        expected = sizes.get(path)
        if state.problem:
            cure = "restore the file, or leave it out with --on-bad skip"
            problems.append(Problem(path, state.problem, cure, path))
        elif thin := too_thin((state.height, state.width)):
            problems.append(Problem(path, thin, "leave it out with --on-bad skip", path))
        elif expected and expected != (state.height, state.width):
            what = describe_other_size((state.height, state.width), expected)
            cure = "restore the image that was annotated, or annotate it again"
            problems.append(Problem(path, what, cure))
    return problems


def same_images(
    states: Mapping[Path, ImageState], learned: Sequence[Path], tested: Sequence[Path]
) -> list[Problem]:
    """Test images whose file equals, byte by byte, one of the images learned from."""
    by_digest = {states[path].digest: path for path in learned if states[path].digest}
    return [
        Problem(
            path,
            f"the same file as {by_digest[states[path].digest]}, which is learned from",
            "take one of the two off its list",
        )
        for path in tested
        if states[path].digest in by_digest and by_digest[states[path].digest] != path
    ]


def scan_proposals(
    path: Path,
    splits: Mapping[str, Sequence[str]],
    places: Mapping[str, Path],
    states: Mapping[Path, ImageState],
) -> tuple[list[str], list[Problem]]:
    """Compare a file of proposals with the images, and each box with the size of its image.

    Files are made of one list: a split without any image in the file is not a problem.

    Args:
        path: of the file.
        splits: ids of the images that it must have, by split.
        places: images by image id, maybe more of them.
        states: of these images, from ``scan_images``.

    Returns:
        The splits whose images all have an entry in the file, maybe without boxes; and what is
        wrong with the file.
    """
    try:
        proposals = read_unchecked(path)
    except (ValueError, OSError) as error:
        return [], [Problem(path, without_path(path, error), "restore it or make it again")]
    present = [name for name in proposals if name in places]
    absent_splits = [ids for ids in splits.values() if present and not set(ids) & set(present)]
    not_expected = {name for ids in absent_splits for name in ids}
    expected = dict.fromkeys(name for ids in splits.values() for name in ids)
    missing = [name for name in expected if name not in proposals and name not in not_expected]
    unknown = [name for name in proposals if name not in places]
    empty = [name for name in present if not len(proposals[name].boxes)]
    problems = [
        Problem(path, f"{len(names)} images {what}, such as {names[0]}", cure)
        for names, what, cure in (
            (missing, "have no proposals in it", "make it again for the whole list"),
            (unknown, "in it are not in the data set", "make it again for these images"),
            (empty, "have zero proposals in it", "make more with a lower --min-score"),
        )
        if names
    ]
    for name in present:
        state = states[places[name]]
        size = None if state.problem else (state.height, state.width)
        try:
            check_proposals(proposals[name], size, context=f"image {name}")
        except ValueError as error:
            cure = "boxes are x1 y1 x2 y2 from 0; those of .mat files are converted with --from-mat"
            problems.append(Problem(path, str(error), cure))
    complete = [split for split, ids in splits.items() if all(name in proposals for name in ids)]
    return complete, problems


def _state(known: Mapping[str, ImageState], path: Path) -> ImageState:
    stamp = _stamp(path)
    before = known.get(str(path.absolute()))
    if before is not None and before[:2] == stamp != NO_FILE:
        return before
    try:
        height, width = read_image(path).shape[1:]
        _, orientation = read_stored_size(path)
        digest = sha256(path.read_bytes()).hexdigest()
        return ImageState(*stamp, "", height, width, orientation, gray_range(path), digest)
    except (ValueError, OSError) as error:
        return ImageState(*stamp, without_path(path, error), 0, 0, 1, 1.0, "")


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return NO_FILE
    return status.st_size, status.st_mtime_ns
