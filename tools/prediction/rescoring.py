"""A localizer's second opinion on the proposals of a detector."""

from pathlib import Path

from torch import Tensor

from data.datasets.image_set import ImageSet
from localizer.localize import heatmap_overlap
from tools.models.device import Device
from tools.prediction.detector import Rescoring
from tools.prediction.localizer import heatmaps_of
from tools.prediction.opening import localizer_inputs
from tools.runs.saved import SavedRun, load_run


def open_rescoring(
    localizer: Path | None,
    detector: SavedRun,
    dataset: ImageSet,
    device: Device,
    *,
    cached: bool,
) -> Rescoring | None:
    """How far proposals and the heatmap of each class cover each other, by a localizer's run.

    Raises:
        ValueError: the run is a detector's, or it knows other classes.
    """
    if localizer is None:
        return None
    saved = load_run(localizer)
    if saved.settings["classes"] != detector.settings["classes"]:
        raise ValueError(
            f"{localizer}: knows other classes than {detector.run_dir}: "
            f"{', '.join(saved.settings['classes'])}"
        )
    inputs, module = localizer_inputs(saved, dataset, device, cached=cached)

    def overlap(index: int, boxes: Tensor) -> Tensor:
        return heatmap_overlap(heatmaps_of(module, inputs, dataset, index, device), boxes)

    return overlap
