"""The source that settings name: the one place that asks where images come from."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TypeVar

from data.datasets.folder import FolderSource
from data.datasets.joined import JoinedSource
from data.datasets.rainforest import RainforestSource
from data.datasets.settings import (
    AddedImageSettings,
    DataSettings,
    ImageSettings,
    default_voc_root,
)
from data.datasets.source import Source
from data.datasets.voc import VOCSource

Data = TypeVar("Data", bound=AddedImageSettings)

# Each gives None for settings that do not name a source of its kind.
SOURCES: dict[str, Callable[[DataSettings], Source | None]] = {
    "rainforest": RainforestSource.from_settings,  # a folder too, known by its file of labels
    "folder": FolderSource.from_settings,
    "voc": VOCSource.from_settings,
}


def open_source(settings: ImageSettings) -> Source:
    """Where the images are, with those that are added to learn from.

    Args:
        settings: at least where the images are; classes and splits as in ``DataSettings`` if not
            given.

    Raises:
        FileNotFoundError: the folder or the file of labels is missing.
        ValueError: nothing is named.
    """
    known = {field.name for field in fields(DataSettings)}
    every = DataSettings(**{name: v for name, v in vars(settings).items() if name in known})
    first = _open_one(every)
    if not every.also_images:
        return first
    places = zip(every.also_images, every.also_labels, strict=True)
    added = [
        _open_one(replace(without_added(every), images=images, labels=labels, classes=()))
        for images, labels in places
    ]
    return JoinedSource(first, dict(zip(_short_names(every.also_images), added, strict=True)))


def without_added(settings: Data) -> Data:
    """The same settings without the images that are added to learn from."""
    return replace(settings, also_images=(), also_labels=())


def _short_names(folders: Sequence[Path]) -> list[str]:
    """The last two parts of each path, numbered where several have the same."""
    names = [Path(*folder.resolve().parts[1:][-2:]).as_posix() for folder in folders]
    return [n if names.count(n) == 1 else f"{n} ({k})" for k, n in enumerate(names, 1)]


def _open_one(settings: DataSettings) -> Source:
    for open_kind in SOURCES.values():
        source = open_kind(settings)
        if source is not None:
            return source
    if settings.images is not None:
        raise ValueError(f"{settings.images}: not an image or a folder of images")
    raise ValueError("--voc-root: no data (name the folder that holds VOC2007, or set $VOC_ROOT)")


def chosen_split(named: str, validation: str | None = "", source: Source | None = None) -> str:
    """Which split a command takes: the one place that says so.

    Args:
        named: ``--split``; empty when it was not given.
        validation: the validation split of the run; empty or None without one.
        source: of the images; None where they need not be there.

    Returns:
        The one that is named. Else the only one that the images have, such as ``all`` without
        labels; else the validation split of the run if they have it, else ``val``.
    """
    if named:
        return named
    wanted = validation or "val"
    names = source.split_names if source is not None else (wanted,)
    if len(names) == 1:
        return names[0]
    return wanted if wanted in names else "val"


def training_splits(split: str, val_split: str | None, source: Source) -> tuple[str, str]:
    """The splits that a training learns from and validates on; the second is empty without any.

    Args:
        split: ``--split``; empty when it was not given.
        val_split: ``--val-split``; empty or ``none`` for no validation, None when it was not given.
            Where neither was given the source decides; beside ``--split`` there is then none.
        source: of the images.

    Raises:
        ValueError: the images have no split to validate on, and none was asked for.
    """
    learned, held_out = source.learned
    if val_split is None and not split:
        names = source.split_names if held_out else ()
        if learned in names and held_out not in names:
            raise ValueError(
                f"{source.root}: no split {held_out!r} to validate on; there are "
                f"{', '.join(names)} (--val-split none trains without one)"
            )
        return learned, held_out
    chosen = "" if val_split in (None, "none") else val_split
    return split or (learned if chosen else "trainval"), chosen or ""


def given_or_trained(
    given: ImageSettings, trained: DataSettings | None, classes: tuple[str, ...]
) -> DataSettings:
    """Where the images are: as given, or else where a run learned from, without added ones.

    Args:
        given: by the command.
        trained: settings of the run; None where it is unknown.
        classes: of the run.
    """
    names = [field.name for field in fields(DataSettings)]
    chosen = {name: getattr(trained, name) for name in names} if trained else {}
    if given.images is not None:
        chosen |= {"images": given.images, "labels": given.labels}
    elif given.voc_root not in (None, default_voc_root()):  # by hand, not by $VOC_ROOT
        chosen |= {"images": None, "labels": None}
    if given.first_pixel is not None:
        chosen["first_pixel"] = given.first_pixel
    if getattr(given, "on_bad", "refuse") != "refuse":
        chosen["on_bad"] = "skip"
    chosen |= {"also_images": (), "also_labels": ()}
    return DataSettings(**chosen | {"classes": classes, "voc_root": given.voc_root})
