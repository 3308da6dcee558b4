"""A split of the source that the settings name; with bad images left out on request."""

import json
from collections.abc import Sequence
from pathlib import Path

from data.datasets.image_set import ImageSet, one_sided_classes
from data.datasets.scan import ImageState, scan_images
from data.datasets.settings import DataSettings
from data.datasets.source import MOST, Source, too_thin
from data.datasets.sources import open_source
from tools.cli.console import echo, saying, track, warn
from tools.files.atomic import write_atomically
from tools.inputs.settings import IMAGE_STATES


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
    """Images that cannot be used, with the reason; the first twenty are named in warnings.

    Args:
        source: of the images.
        image_ids: which of them.
        annotated: whether their annotations are used, too.
    """
    paths = {source.path(image_id): image_id for image_id in image_ids}
    bad = {}
    for path, state in scan_with_progress(list(paths), IMAGE_STATES).items():
        problem = state.problem or too_thin((state.height, state.width))
        if annotated and not problem:
            problem = _annotation_problem(source, paths[path])
        if problem:
            bad[path] = problem
    for path, problem in list(bad.items())[:MOST]:
        warn(f"{path}: left out: {problem}")
    return bad


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
        cache: file with what is known; written anew with these images in it.
    """
    known = read_states(cache)
    states = dict(track(scan_images(paths, known), "reading images", total=len(paths)))
    merged = known | {str(path.absolute()): state for path, state in states.items()}
    cache.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(cache, json.dumps(merged).encode())
    return states


def read_states(cache: Path) -> dict[str, ImageState]:
    """What earlier scans found by absolute path; nothing when the file is missing or damaged."""
    try:
        content = json.loads(cache.read_text(encoding="utf-8"))
        return {path: ImageState(*state) for path, state in content.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
