"""A split of the source that the settings name; with bad images left out on request."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from data.datasets.image_set import ImageSet, one_sided_classes
from data.datasets.scan import ImageState, scan_images
from data.datasets.settings import DataSettings
from data.datasets.source import MOST, Source, too_thin
from data.datasets.sources import open_source
from data.json_files import read_json
from tools.cli.console import echo, saying, track, warn
from tools.files.atomic import write_atomically
from tools.inputs.settings import IMAGE_STATES


@dataclass(frozen=True, slots=True)
class _Shared:
    """What commands know of images together."""

    cache: Path
    named: set[Path] = field(default_factory=set)


_shared = list[_Shared]()


@contextmanager
def looking_once(cache: Path) -> Iterator[None]:
    """In here several commands look at an image once, and name it once if they leave it out.

    Args:
        cache: file with what is known of the images, instead of that in the working folder.
    """
    _shared.append(_Shared(cache))
    try:
        yield
    finally:
        _shared.pop()


def open_dataset(settings: DataSettings, split: str) -> ImageSet:
    """A split; says how many images it has, and when that is a part of the official number.

    Raises:
        FileNotFoundError: files are missing; names them.
        ValueError: files that are not what they should be; names them.
    """
    source = open_source(settings)
    bad = bad_images(source, source.ids(split)) if settings.on_bad == "skip" else {}
    with saying(f"reading labels and annotations of {split}"):
        opened = source.open(split, leave_out=bad)
    left_out = f", {len(bad)} bad ones left out" if bad else ""
    form = f"; {source.form}" if source.form else ""
    echo(f"{split}: {len(opened)} images{partial(source, split, len(opened))}{left_out}{form}")
    if not opened.weights.any():
        for remark in source.remarks():
            warn(remark)
    return opened


def partial(source: Source, split: str, count: int) -> str:
    """That so many images are a part of a published split, in words; empty if they are not."""
    official = source.official_count(split)
    return "" if official in (None, count) else f" (partial: {count} of {official})"


def has_split(source: Source, split: str) -> bool:
    """Whether the source has a split of that name."""
    try:
        return bool(source.ids(split))
    except (FileNotFoundError, ValueError):
        return False


def warn_of_one_sided_classes(dataset: ImageSet) -> None:
    """Name the classes of which nothing can be learned."""
    for name, what in one_sided_classes(dataset.classes, dataset.targets, dataset.weights):
        warn(f"{dataset.split}: class {name!r} has {what} to learn from")


def bad_images(
    source: Source, image_ids: Sequence[str], *, annotated: bool = True
) -> dict[Path, str]:
    """Images that cannot be used, with the reason, named as ``name_left_out`` does.

    Args:
        source: of the images.
        image_ids: which of them.
        annotated: whether their annotations are used, too.
    """
    paths = {source.path(image_id): image_id for image_id in image_ids}
    bad = {}
    cache = _shared[-1].cache if _shared else IMAGE_STATES
    for path, state in scan_with_progress(list(paths), cache).items():
        problem = state.problem or too_thin((state.height, state.width))
        if annotated and not problem:
            problem = _annotation_problem(source, paths[path])
        if problem:
            bad[path] = problem
    name_left_out(bad)
    return bad


def name_left_out(bad: Mapping[Path, str]) -> None:
    """Name the first twenty of these images in warnings, with the reason."""
    named = _shared[-1].named if _shared else set[Path]()
    for path in [path for path in bad if path.absolute() not in named][:MOST]:
        warn(f"{path}: left out: {bad[path]}")
    named.update(path.absolute() for path in bad)


def _annotation_problem(source: Source, image_id: str) -> str:
    try:
        source.annotation(image_id)
    except (ValueError, OSError) as error:
        return str(error)
    return ""


def scan_with_progress(paths: Sequence[Path], cache: Path) -> dict[Path, ImageState]:
    """Decode images, or look up those that have not changed since an earlier scan.

    Args:
        paths: of the images.
        cache: file with what is known; written anew with these images in it. A place where that
            is not possible costs one warning.
    """
    known = read_states(cache)
    states = dict(track(scan_images(paths, known), "reading images", total=len(paths)))
    merged = known | {str(path.absolute()): state for path, state in states.items()}
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(cache, json.dumps(merged).encode())
    except OSError as error:
        warn(f"{error} (so images are read again the next time)")
    return states


def read_states(cache: Path) -> dict[str, ImageState]:
    """What earlier scans found by absolute path; nothing when the file is missing or damaged."""
    try:
        content = read_json(cache, description="states of images")
        return {path: ImageState(*state) for path, state in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
