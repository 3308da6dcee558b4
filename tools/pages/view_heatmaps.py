"""Heatmaps of some images to visdom, TensorBoard, or files: a strip to look at, and arrays."""

from pathlib import Path

from tools.cli.console import echo, track
from tools.files.heatmaps import heatmaps_path, write_heatmaps
from tools.loggers.backend import Backend
from tools.models.device import choose_device
from tools.pages.draw import write_jpeg
from tools.pages.predictions import chosen_images, heatmap_row, shown_labels
from tools.pages.settings import ViewHeatmapsSettings
from tools.prediction.opening import open_localizer, open_split
from tools.runs.folder import evaluation_folder, split_of_run
from tools.runs.saved import load_run


def run(settings: ViewHeatmapsSettings) -> None:
    """Draw and send; a visdom that cannot be reached is an error here, not a warning."""
    split = split_of_run(settings.split, settings.run_dir, settings)
    saved = load_run(settings.run_dir, settings.checkpoint)
    dataset = open_split(saved, settings, split)
    # A few images are quicker computed than a cache filled.
    cached = settings.count >= len(dataset)
    amp = settings.amp if cached else saved.uncached_amp(settings.amp)
    device = choose_device(settings.device, amp, tf32=settings.tf32)
    predictions = open_localizer(saved, dataset, device, cached=cached)
    folder = evaluation_folder(settings.run_dir, settings.name or split) / "heatmaps"
    backend = _open_backend(settings, folder)
    chosen = chosen_images(dataset, settings.count)
    for index in track(chosen, "heatmaps", total=len(chosen)):
        heatmaps = predictions.heatmaps(index)
        row = heatmap_row(dataset, index, heatmaps)
        path = heatmaps_path(folder, split, dataset.ids[index])
        if backend is None:
            labels = shown_labels(dataset, index, heatmaps.image_logits.sigmoid())
            write_heatmaps(path, heatmaps, labels, dataset.classes)
            write_jpeg(path.with_suffix(".jpg"), row)
        else:
            backend.image(path.stem, row, saved.step)
    if backend is not None:
        backend.close()
    where = (
        f"{settings.visdom.server}:{settings.visdom.port}" if settings.to == "visdom" else folder
    )
    echo(f"{len(chosen)} images in {where}")


def _open_backend(settings: ViewHeatmapsSettings, folder: Path) -> Backend | None:
    """A backend for servers and events; None for files."""
    if settings.to == "visdom":
        from tools.loggers.visdom import VisdomWindows

        return VisdomWindows(settings.visdom.named_after(settings.run_dir))
    folder.mkdir(parents=True, exist_ok=True)
    if settings.to == "tensorboard":
        from tools.loggers.tensorboard import TensorBoardEvents

        return TensorBoardEvents(folder)
    return None
