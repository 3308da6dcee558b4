"""The command that trains on the images that were prepared."""

from dataclasses import fields
from pathlib import Path

from data.datasets.settings import DataSettings, ImageSettings
from data.datasets.source import Source
from tools.cli.console import suggest
from tools.cli.settings import to_options
from tools.inputs.datasets import has_split
from tools.runs.folder import free_folder


def suggest_training(
    command: str, *options: str, name: str, settings: ImageSettings, source: Source, split: str = ""
) -> None:
    """Suggest a training where the prepared images have labels to learn from.

    Args:
        command: that trains.
        options: of it.
        name: of the run's folder, or its beginning where there is such a folder.
        settings: that name the images.
        source: the same images.
        split: that was prepared; empty or all for every image, of which the training takes its own.
    """
    learned = source.learned[0] if split in ("", "all") else split
    if learned not in ("train", "trainval") or not source.classes:
        return
    if not has_split(source, learned):
        return
    splits = [] if split in ("", "all") else ["--split", split]
    named = to_options(settings, DataSettings(), {field.name for field in fields(DataSettings)})
    run_dir = free_folder(Path("runs", name))
    suggest("python", "-m", f"tools.{command}", *options, *named, *splits, "--run-dir", run_dir)
