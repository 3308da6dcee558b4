"""A data set's table of classes and its problems."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from data.datasets.folder import list_images, splits_of
from data.datasets.scan import (
    ImageState,
    Problem,
    image_problems,
    same_images,
    scan_proposals,
    scan_voc,
)
from data.datasets.settings import require_voc_root
from data.datasets.voc import VOC_CLASSES, annotation_path, image_path
from tools.cli.console import echo
from tools.inputs.datasets import check_images_exist, scan_with_progress
from tools.preparation.settings import CheckDataSettings

UNKNOWN_CURE = "correct the labels file, or name the class with --classes"
LEARNED, TESTED = ("train", "val", "trainval"), ("test",)


def run(settings: CheckDataSettings) -> None:
    """Print a table of the data set and its problems.

    Raises:
        ValueError: there are problems; each of them has been printed.
    """
    check_images_exist(settings)
    if settings.images is not None:
        where, count, problems = settings.images, *_check_folder(settings, settings.images)
    else:
        where = require_voc_root(settings.voc_root)
        count, problems = _check_voc(settings, where)
    for problem in problems:
        echo(f"{problem.where}: {problem.what} ({problem.cure})")
    if problems:
        raise ValueError(f"{where}: {len(problems)} problems in {count} images (listed above)")
    echo(f"{where}: {count} images, no problems")


def _check_voc(settings: CheckDataSettings, root: Path) -> tuple[int, list[Problem]]:
    classes = settings.classes or VOC_CLASSES
    scan = scan_voc(root, classes)
    paths = {name: image_path(root, name) for names in scan.splits.values() for name in names}
    states = scan_with_progress(list(paths.values()), settings.cache)
    counts = {
        name: Counter(
            (classes[label], bool(difficult))
            for label, difficult in zip(annotation.labels, annotation.difficult, strict=True)
        )
        for name, annotation in scan.annotations.items()
    }
    _say_table(classes, scan.splits, counts)
    sizes = {paths[name]: annotation.image_size for name, annotation in scan.annotations.items()}
    by_split = {split: [paths[name] for name in names] for split, names in scan.splits.items()}
    problems = scan.problems + image_problems(states, sizes) + _shared(states, by_split)
    problems += _of_proposals(settings, scan.splits, paths, states)
    return len(paths), _sorted(problems, annotation_path(root, "").parent)


def _check_folder(settings: CheckDataSettings, folder: Path) -> tuple[int, list[Problem]]:
    rows = list_images(folder, settings.labels)
    paths = {row.image: folder / row.image for row in rows}
    states = scan_with_progress(list(paths.values()), settings.cache)
    named = sorted({name for row in rows for name in row.labels})
    splits = splits_of(rows, val_fraction=settings.val_fraction, seed=settings.split_seed)
    by_split = {split: [row.image for row in members] for split, members in splits.items()}
    classes = settings.classes or named
    counts = {row.image: Counter((name, False) for name in row.labels) for row in rows}
    _say_table(classes, by_split, counts)
    known = ", ".join(classes)
    unknown = [
        Problem(paths[row.image], f"class {name!r} is not one of {known}", UNKNOWN_CURE)
        for row in rows
        for name in row.labels
        if name not in classes
    ]
    places = {split: [paths[image] for image in images] for split, images in by_split.items()}
    problems = unknown + image_problems(states, {}) + _shared(states, places)
    problems += _of_proposals(settings, by_split, paths, states)
    return len(paths), _sorted(problems, folder)


def _of_proposals(
    settings: CheckDataSettings,
    splits: Mapping[str, Sequence[str]],
    places: Mapping[str, Path],
    states: Mapping[Path, ImageState],
) -> list[Problem]:
    """Print which splits have proposals, and return the problems of the proposals."""
    if settings.proposals is None:
        return []
    scan = scan_proposals(settings.proposals, splits, places, states)
    echo(f"proposals of all images of: {', '.join(scan.splits) or 'no split'}")
    return scan.problems


def _shared(
    states: Mapping[Path, ImageState], by_split: Mapping[str, Sequence[Path]]
) -> list[Problem]:
    learned, tested = (
        list(dict.fromkeys(path for split in splits for path in by_split.get(split, ())))
        for splits in (LEARNED, TESTED)
    )
    return same_images(states, learned, tested)


def _sorted(problems: list[Problem], last: Path) -> list[Problem]:
    """By file, those of single images and annotations after those of lists."""
    return sorted(problems, key=lambda problem: (problem.where.is_relative_to(last), problem.where))


def _say_table(
    classes: Sequence[str],
    splits: Mapping[str, Sequence[str]],
    counts: Mapping[str, Counter[tuple[str, bool]]],
) -> None:
    """Images and objects of each class in each split.

    Args:
        classes: one a line.
        splits: names of images, one a column.
        counts: by image, how often it holds (class, difficult).
    """
    echo("images with a class / its objects (+ difficult ones)")
    echo(_line("class", [f"{split} ({len(names)})" for split, names in splits.items()]))
    for name in classes:
        cells = []
        for members in splits.values():
            of_images = [counts.get(image, Counter()) for image in members]
            countable = [count[name, False] for count in of_images if count[name, False]]
            difficult = sum(count[name, True] for count in of_images)
            cell = f"{len(countable)} / {sum(countable)}"
            cells.append(cell + (f" (+{difficult})" if difficult else ""))
        echo(_line(name, cells))


def _line(head: str, cells: Sequence[str]) -> str:
    return f"{head:16}" + "".join(f"{cell:>20}" for cell in cells)
