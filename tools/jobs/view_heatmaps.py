"""Heatmaps of some pictures to visdom, TensorBoard or files."""

from pathlib import Path

from tools.engine.device import choose_device
from tools.engine.draw import write_jpeg
from tools.engine.heat_pictures import chosen_pictures, heat_row
from tools.engine.heat_strips import strip_path
from tools.engine.interrupts import check_interrupted
from tools.engine.log_backend import Backend
from tools.engine.progress import say, track
from tools.engine.saved_runs import load_run, open_run_on
from tools.view_heatmaps import ViewHeatmapsSettings


def run(settings: ViewHeatmapsSettings) -> None:
    """Draw and send; a visdom that cannot be reached is an error here, not a warning."""
    saved = load_run(settings.run_dir, settings.checkpoint)
    device = choose_device(settings.device, saved.uncached_amp(settings.amp))
    # A few pictures are quicker computed than a cache filled.
    dataset, scales, fed = open_run_on(saved, settings, settings.split, device, cached=False)
    folder = settings.run_dir / "heatmaps"
    backend = _open_backend(settings, folder)
    chosen = chosen_pictures(dataset, settings.count)
    for index in track(chosen, "heatmaps", total=len(chosen)):
        check_interrupted()
        row = heat_row(fed, scales, dataset, index, device)
        path = strip_path(folder, settings.split, dataset.ids[index])
        if backend is None:
            write_jpeg(path, row)
        else:
            backend.image(path.stem, row, saved.step, window=path.stem)
    if backend is not None:
        backend.close()
    where = (
        f"{settings.visdom.server}:{settings.visdom.port}" if settings.to == "visdom" else folder
    )
    say(f"{len(chosen)} pictures in {where}")


def _open_backend(settings: ViewHeatmapsSettings, folder: Path) -> Backend | None:
    """A backend for servers and events; None for files."""
    if settings.to == "visdom":
        from tools.engine.visdom_windows import VisdomWindows

        return VisdomWindows(settings.visdom)
    folder.mkdir(parents=True, exist_ok=True)
    if settings.to == "tensorboard":
        from tools.engine.tensorboard_events import TensorBoardEvents

        return TensorBoardEvents(folder)
    return None
