"""A split of VOC or of a folder, as the settings say; with bad images left out on request."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from data.datasets.folder import FolderDataset, list_images, splits_of
from data.datasets.image_set import ImageSet
from data.datasets.scan import ImageState, scan_images
from data.datasets.settings import DataSettings, ImageSettings, LabelSettings, require_voc_root
from data.datasets.voc import OFFICIAL_COUNTS, VOC_CLASSES, VOCDataset, image_ids, image_path
from tools.cli.console import echo, track, warn
from tools.cli.signals import check_interrupted
from tools.files.atomic import write_atomically
from tools.inputs.settings import IMAGE_STATES


def open_dataset(settings: DataSettings, split: str) -> ImageSet:
    """A split; says how many images it has, and when that is a part of the official number.

    Raises:
        FileNotFoundError: files are missing; names them.
        ValueError: files that are not what they should be; names them.
    """
    bad = _bad_images(settings, split) if settings.on_bad == "skip" else {}
    for path, problem in list(bad.items())[:20]:
        warn(f"{path}: left out: {problem}")
    opened: ImageSet
    if settings.images is not None:
        opened = FolderDataset(
            settings.images,
            settings.labels,
            split,
            classes=settings.classes,
            val_fraction=settings.val_fraction,
            seed=settings.split_seed,
            leave_out=bad,
        )
    else:
        opened = VOCDataset(
            require_voc_root(settings.voc_root),
            split,
            classes=settings.classes or VOC_CLASSES,
            difficult=settings.difficult,
            leave_out=bad,
        )
    is_voc = settings.images is None and opened.classes == VOC_CLASSES
    official = OFFICIAL_COUNTS.get(split) if is_voc else None
    partial = "" if official in (None, len(opened)) else f" (partial: {len(opened)} of {official})"
    left_out = f", {len(bad)} bad ones left out" if bad else ""
    echo(f"{split}: {len(opened)} images{partial}{left_out}")
    return opened


def check_images_exist(settings: ImageSettings) -> None:
    """Refuse settings that name no images, before anything is made.

    Raises:
        FileNotFoundError: the folder or the file of labels is missing.
        ValueError: nothing is named.
    """
    if settings.images is None:
        require_voc_root(settings.voc_root)
    elif not settings.images.is_dir():
        raise FileNotFoundError(f"{settings.images}: no such folder of images")
    elif settings.labels is not None and not settings.labels.is_file():
        raise FileNotFoundError(f"{settings.labels}: no such file of labels")


def scan_with_progress(paths: Sequence[Path], cache: Path) -> dict[Path, ImageState]:
    """Decode images, or look up those that have not changed since an earlier scan.

    Args:
        paths: of the images.
        cache: file with what is known; written anew with these images in it.
    """
    known = read_states(cache)
    states = {}
    for path, state in track(scan_images(paths, known), "reading images", total=len(paths)):
        check_interrupted()
        states[path] = state
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


def image_paths(settings: LabelSettings, split: str) -> list[Path]:
    """Every image of a split, the bad ones too; none of a folder without that split."""
    if settings.images is not None:
        rows = list_images(settings.images, settings.labels)
        splits = splits_of(rows, val_fraction=settings.val_fraction, seed=settings.split_seed)
        return [settings.images / row.image for row in splits.get(split, ())]
    root = require_voc_root(settings.voc_root)
    return [image_path(root, image_id) for image_id in image_ids(root, split)]


def _bad_images(settings: DataSettings, split: str) -> Mapping[Path, str]:
    states = scan_with_progress(image_paths(settings, split), IMAGE_STATES)
    return {path: state.problem for path, state in states.items() if state.problem}
