"""A split of the source that the settings name; with bad images left out on request."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from data.datasets.image_set import ImageSet
from data.datasets.scan import ImageState, scan_images
from data.datasets.settings import DataSettings
from data.datasets.source import Source
from data.datasets.sources import open_source
from tools.cli.console import echo, track, warn
from tools.files.atomic import write_atomically
from tools.inputs.settings import IMAGE_STATES


def open_dataset(settings: DataSettings, split: str) -> ImageSet:
    """A split; says how many images it has, and when that is a part of the official number.

    Raises:
        FileNotFoundError: files are missing; names them.
        ValueError: files that are not what they should be; names them.
    """
    source = open_source(settings)
    bad = _bad_images(source, split) if settings.on_bad == "skip" else {}
    for path, problem in list(bad.items())[:20]:
        warn(f"{path}: left out: {problem}")
    opened = source.open(split, leave_out=bad)
    official = source.official_count(split)
    partial = "" if official in (None, len(opened)) else f" (partial: {len(opened)} of {official})"
    left_out = f", {len(bad)} bad ones left out" if bad else ""
    echo(f"{split}: {len(opened)} images{partial}{left_out}")
    return opened


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
        content = json.loads(cache.read_text())
        return {path: ImageState(*state) for path, state in content.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _bad_images(source: Source, split: str) -> Mapping[Path, str]:
    paths = [source.path(image_id) for image_id in source.ids(split)]
    states = scan_with_progress(paths, IMAGE_STATES)
    return {path: state.problem for path, state in states.items() if state.problem}
