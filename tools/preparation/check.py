"""A data set's table of classes and its problems."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path

import torch

from data.checks import name_first
from data.datasets.image_set import one_sided_classes
from data.datasets.scan import ImageState, image_problems, same_images, scan_proposals
from data.datasets.source import MOST, Problem, Scan, Source
from data.datasets.sources import open_source
from tools.cli.console import echo, saying, table, warn
from tools.inputs.datasets import name_left_out, partial, scan_with_progress
from tools.preparation.settings import CheckDataSettings
from tools.preparation.training_command import suggest_training

LEARNED = ("train", "val", "trainval")
NARROW = 0.1  # of the range of 16-bit gray


def run(settings: CheckDataSettings) -> None:
    """Print a table of the data set and its problems.

    With ``--on-bad skip`` images that can be left out are named and no problem.

    Raises:
        ValueError: there are problems; each of them has been printed.
    """
    source = open_source(settings)
    with saying("reading labels and annotations"):
        scan = source.scan()
    _print_table(scan)
    for split, names in scan.splits.items():
        if part := partial(source, split, len(names)):
            echo(f"{split}: {len(names)} images{part}")
    if source.form:
        echo(f"labels: {source.form}")
    for remark in (*source.remarks(), *_one_sided(source, scan)):
        warn(remark)
    paths = {name: source.path(name) for names in scan.splits.values() for name in names}
    added = [split for split in scan.splits if split not in source.split_names]
    problems, bad = _problems(scan, paths, settings, added)
    for where, of_file in itertools.groupby(problems, key=attrgetter("where")):
        listed = list(of_file)
        for problem in listed[:MOST]:
            echo(f"{where}: {problem.what} ({problem.cure})")
        if len(listed) > MOST:
            echo(f"{where}: {len(listed) - MOST} more problems")
    if problems:
        raise ValueError(
            f"{source.root}: {len(problems)} problems in {len(paths)} images (listed above)"
        )
    left_out = f", {len(bad)} bad ones left out" if bad else ""
    echo(f"{source.root}: {len(paths)} images{left_out}, no problems")
    suggest_training(
        *("train_localizer", "--config", "localizer_lite0"),
        name="lite0",
        settings=settings,
        source=source,
    )


def _problems(
    scan: Scan, paths: Mapping[str, Path], settings: CheckDataSettings, added: Sequence[str]
) -> tuple[list[Problem], dict[Path, str]]:
    """Every problem by its file, and the images that are left out instead, with the reason.

    Args:
        scan: of the source.
        paths: of its images by id.
        settings: of the check.
        added: splits that every training learns from.
    """
    states = scan_with_progress(list(paths.values()), settings.cache)
    sizes = {paths[name]: size for name, size in scan.sizes.items()}
    test, val, more, learned = (
        [paths[name] for split in splits for name in scan.splits.get(split, ())]
        for splits in (("test",), ("val",), added, (*LEARNED, *added))
    )
    _print_kinds(states)
    of_files = image_problems(states, sizes)
    of_files += same_images(states, learned, test) + same_images(states, more, val)
    every = [*scan.problems, *of_files]
    bad = {one.image: one.what for one in every if one.image} if settings.on_bad == "skip" else {}
    name_left_out(bad)
    if settings.proposals is not None:
        used = {
            split: [name for name in names if paths[name] not in bad]
            for split, names in scan.splits.items()
        }
        complete, of_proposals = scan_proposals(settings.proposals, used, paths, states)
        echo(f"proposals of all images of: {', '.join(complete) or 'no split'}")
        of_files += of_proposals
    problems = scan.problems + sorted(of_files, key=attrgetter("where"))
    return [problem for problem in problems if problem.image not in bad], bad


def _print_kinds(states: Mapping[Path, ImageState]) -> None:
    """What is no problem, and yet good to know."""
    turned = sum(state.orientation != 1 for state in states.values())
    if turned:
        echo(f"{turned} images are turned upright, as their EXIF orientation says")
    narrow = [str(path) for path, state in states.items() if state.range < NARROW]
    if narrow:
        warn(
            f"{len(narrow)} images of 16-bit gray take less than a tenth of its range and become "
            f"nearly one gray (stretch all images by the same factor): {name_first(narrow)}"
        )


def _one_sided(source: Source, scan: Scan) -> Iterator[str]:
    """Classes of which nothing can be learned."""
    split = next((name for name in ("train", "trainval", "all") if name in scan.splits), "")
    if scan.problems or not split:
        return
    ids = [name for name in source.ids(split) if name in scan.objects]
    if not ids:
        return
    targets, weights = map(torch.stack, zip(*map(source.labels, ids), strict=True))
    for name, what in one_sided_classes(source.classes, targets, weights):
        yield f"{split}: class {name!r} has {what} to learn from"


def _print_table(scan: Scan) -> None:
    """Images and objects of each class in each split."""
    echo("images with a class / its objects + difficult ones")
    heads = ["class", *(f"{split} ({len(names)})" for split, names in scan.splits.items())]
    rows = []
    for name in scan.classes:
        cells = [name]
        for members in scan.splits.values():
            of_images = [scan.objects.get(image, Counter()) for image in members]
            countable = [count[name, False] for count in of_images if count[name, False]]
            difficult = sum(count[name, True] for count in of_images)
            cell = f"{len(countable)}/{sum(countable)}"
            cells.append(cell + (f" +{difficult}" if difficult else ""))
        rows.append(cells)
    echo(*table(heads, *rows))
