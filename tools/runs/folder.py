"""A run's folder: who may write in it, its settings, where its evaluations lie."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from data.datasets.settings import ImageSettings
from data.datasets.sources import chosen_split, given_or_trained, open_source
from tools.cli import console
from tools.cli.command import read_yaml, settings_from
from tools.cli.settings import to_dict
from tools.files.atomic import locked, shortened, write_atomically
from tools.models.ranks import is_first
from tools.runs.kinds import KINDS
from tools.runs.settings import TrainSettings


@contextmanager
def locked_run(run_dir: Path) -> Iterator[None]:
    """Be the only command that writes in a folder; what is printed goes to its ``log.txt`` too.

    Of several ranks the first one writes.

    Raises:
        FileExistsError: another process writes there.
    """
    if not is_first():
        yield
        return
    log = run_dir / "log.txt"
    with locked(log), console.also_to(log):
        yield


def free_folder(folder: Path) -> Path:
    """A folder that does not exist: this one, or one with a number behind its name."""
    numbered = (folder.with_name(f"{folder.name}_{number}") for number in count(2))
    return next(path for path in chain([folder], numbered) if not path.exists())


def evaluation_folder(run_dir: Path, name: str) -> Path:
    """Where an evaluation keeps its files.

    Args:
        run_dir: of the evaluated run.
        name: the split, or what ``--name`` says; characters that a file name cannot hold are
            written as %XX.

    Raises:
        ValueError: a name that no folder can have.
    """
    if name in ("", ".", ".."):
        raise ValueError(f"--name {name!r}: not a name of an evaluation")
    return run_dir / "evaluations" / shortened(quote(name, safe=" ", errors="surrogateescape"))


def write_settings(run_dir: Path, settings: TrainSettings) -> None:
    """``settings.yaml``, valid for ``--config``; ``resume`` is left to each command."""
    text = yaml.safe_dump({**to_dict(settings), "resume": ""}, sort_keys=False)
    write_atomically(run_dir / "settings.yaml", text.encode())


def read_settings(run_dir: Path) -> TrainSettings:
    """The settings of a run; ``kind`` tells which.

    Raises:
        FileNotFoundError: the folder holds no run.
        ValueError: the file does not hold settings, or invalid ones.
    """
    path = run_dir / "settings.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no run in this folder (train one with --run-dir)")
    try:
        content = read_yaml(path)
        return settings_from(KINDS[kind_of(content)], content)
    except (ValueError, KeyError, RecursionError) as error:
        raise ValueError(f"{path}: not settings of a run ({error})") from error


def split_of_run(named: str, run_dir: Path, images: ImageSettings) -> str:
    """Which split of a run's images, or of those that are given instead, see ``chosen_split``.

    Warns where nobody has named a split and the run has learned from its images.

    Args:
        named: ``--split``; nothing is opened where it was given.
        run_dir: of the run.
        images: as given by the command.

    Raises:
        FileNotFoundError: no run, or no images.
        ValueError: invalid settings or labels.
    """
    if named:
        return named
    trained = read_settings(run_dir)
    source = open_source(given_or_trained(images, trained, trained.classes))
    split = chosen_split("", trained.val_split, source)
    if images.images is None and trained.split in source.split_names:
        ids = source.ids(split)
        learned = set(source.ids(trained.split)) & set(ids)
        if learned:
            console.warn(
                f"{split}: the run has learned from {len(learned)} of its {len(ids)} images "
                "(--split names others)"
            )
    return split


def kind_of(settings: Mapping[str, Any]) -> str:
    """The kind of plain settings; those of earlier versions do not tell it."""
    return str(settings.get("kind", "detector" if "proposals" in settings else "localizer"))
