"""A data set's table and its problems."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from data.datasets.folder import list_pictures, splits_of
from data.datasets.scan import (
    PictureState,
    Problem,
    picture_problems,
    same_pictures,
    scan_proposals,
    scan_voc,
)
from data.datasets.voc import VOC_CLASSES, annotation_path, image_path
from tools.cli.console import say
from tools.inputs.datasets import check_pictures_exist, scan_with_progress
from tools.inputs.settings import require_voc_root
from tools.preparation.settings import CheckDataSettings

UNKNOWN_CURE = "correct the labels file, or name the class with --classes"
LEARNED, TESTED = ("train", "val", "trainval"), ("test",)


def run(settings: CheckDataSettings) -> None:
    """Print what there is and what is wrong with it.

    Raises:
        ValueError: something is wrong; each problem has been printed.
    """
    check_pictures_exist(settings)
    if settings.images is not None:
        where, count, problems = settings.images, *_check_folder(settings, settings.images)
    else:
        where = require_voc_root(settings.voc_root)
        count, problems = _check_voc(settings, where)
    for problem in problems:
        say(f"{problem.where}: {problem.what} ({problem.cure})")
    if problems:
        raise ValueError(f"{where}: {len(problems)} problems in {count} pictures (listed above)")
    say(f"{where}: {count} pictures, no problems")


def _check_voc(settings: CheckDataSettings, root: Path) -> tuple[int, list[Problem]]:
    classes = settings.classes or VOC_CLASSES
    scan = scan_voc(root, classes)
    paths = {name: image_path(root, name) for names in scan.splits.values() for name in names}
    states = scan_with_progress(list(paths.values()), settings.cache)
    counts = {
        name: Counter(
            (classes[label], bool(difficult))
            for label, difficult in zip(found.labels, found.difficult, strict=True)
        )
        for name, found in scan.annotations.items()
    }
    _say_table(classes, scan.splits, counts)
    sizes = {paths[name]: found.image_size for name, found in scan.annotations.items()}
    by_split = {split: [paths[name] for name in names] for split, names in scan.splits.items()}
    problems = scan.problems + picture_problems(states, sizes) + _shared(states, by_split)
    problems += _of_proposals(settings, scan.splits, paths, states)
    return len(paths), _sorted(problems, annotation_path(root, "").parent)


def _check_folder(settings: CheckDataSettings, folder: Path) -> tuple[int, list[Problem]]:
    rows = list_pictures(folder, settings.labels)
    paths = {row.image: folder / row.image for row in rows}
    states = scan_with_progress(list(paths.values()), settings.cache)
    named = sorted({name for row in rows for name in row.labels})
    splits = splits_of(rows, val_share=settings.val_share, seed=settings.split_seed)
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
    problems = unknown + picture_problems(states, {}) + _shared(states, places)
    problems += _of_proposals(settings, by_split, paths, states)
    return len(paths), _sorted(problems, folder)


def _of_proposals(
    settings: CheckDataSettings,
    splits: Mapping[str, Sequence[str]],
    places: Mapping[str, Path],
    states: Mapping[Path, PictureState],
) -> list[Problem]:
    """Say which splits have proposals, and what is wrong with them."""
    if settings.proposals is None:
        return []
    scan = scan_proposals(settings.proposals, splits, places, states)
    say(f"proposals of all pictures of: {', '.join(scan.splits) or 'no split'}")
    return scan.problems


def _shared(
    states: Mapping[Path, PictureState], by_split: Mapping[str, Sequence[Path]]
) -> list[Problem]:
    learned, tested = (
        list(dict.fromkeys(path for split in splits for path in by_split.get(split, ())))
        for splits in (LEARNED, TESTED)
    )
    return same_pictures(states, learned, tested)


def _sorted(problems: list[Problem], last: Path) -> list[Problem]:
    """By file, those of single pictures and annotations after those of lists."""
    return sorted(problems, key=lambda problem: (problem.where.is_relative_to(last), problem.where))


def _say_table(
    classes: Sequence[str],
    splits: Mapping[str, Sequence[str]],
    counts: Mapping[str, Counter[tuple[str, bool]]],
) -> None:
    """Pictures and objects of each class in each split.

    Args:
        classes: one a line.
        splits: names of pictures, one a column.
        counts: by picture, how often it holds (class, difficult).
    """
    say("pictures with a class / its objects (+ difficult ones)")
    say(_line("class", [f"{split} ({len(names)})" for split, names in splits.items()]))
    for name in classes:
        cells = []
        for members in splits.values():
            held = [counts.get(picture, Counter()) for picture in members]
            sure = [found[name, False] for found in held if found[name, False]]
            difficult = sum(found[name, True] for found in held)
            cells.append(f"{len(sure)} / {sum(sure)}" + (f" (+{difficult})" if difficult else ""))
        say(_line(name, cells))


def _line(head: str, cells: Sequence[str]) -> str:
    return f"{head:16}" + "".join(f"{cell:>20}" for cell in cells)
