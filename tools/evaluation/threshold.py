"""The heatmap threshold of a localizer's boxes, chosen by images whose boxes are known.

It is the one of the highest CorLoc: the mean over the classes of how often the top-scoring box of a
present class hits. Box AP also depends on how boxes are ordered, which no threshold changes much,
and is less certain for it. Halves of 314 images of VOC 2007 val, drawn 20 times, chose .34
(deviation .02) by CorLoc and .32 (.03) by AP, and on the other half those of CorLoc had the higher
CorLoc, .450 against .441, and no lower AP, .261 against .260.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from data.datasets.sources import given_or_trained, open_source
from tools.cli.console import echo
from tools.evaluation.settings import EvaluateSettings
from tools.evaluation.split import evaluate_corloc
from tools.models.device import Device
from tools.models.ranks import is_first
from tools.prediction.opening import open_localizer, open_split
from tools.runs.checkpoint import weights_sha256
from tools.runs.saved import SavedRun
from tools.runs.threshold import ChosenThreshold, read_threshold, write_threshold

# Chosen on VOC 2007 val with EfficientNet-Lite0, see tools/configs/localizer_lite0.yaml, and for
# pooling max, whose heatmaps are hot in fewer cells, tools/configs/results.yaml.
VOC_THRESHOLD, VOC_THRESHOLD_OF_MAX = 0.3, 0.45


def choose_thresholds(
    runs: Sequence[SavedRun], settings: EvaluateSettings, device: Device
) -> list[SavedRun]:
    """The runs with the threshold of their boxes that is best; it is kept in their folders.

    Args:
        runs: a detector stays as it is.
        settings: say where the images are.
        device: computes.

    Raises:
        ValueError: none has heatmaps, or the images to choose by are those of test.
    """
    splits = ["" if run.takes_proposals else split_to_choose_by(run, settings) for run in runs]
    if not any(splits):
        raise ValueError("--choose-threshold: none of the runs has heatmaps")
    return [
        _choose(run, split, settings, device) if split else run
        for run, split in zip(runs, splits, strict=True)
    ]


def settings_to_repeat(settings: EvaluateSettings, runs: Sequence[SavedRun]) -> EvaluateSettings:
    """The settings with a threshold that a run keeps, since another one may be chosen later.

    Runs that keep several thresholds are left to keep them: no option names one of each.
    """
    localizers = [run for run in runs if not run.takes_proposals]
    boxes = {run.localizer()[1].boxes for run in localizers}
    is_kept = any(read_threshold(run.run_dir) for run in localizers)
    if settings.choose_threshold or not is_kept or len(boxes) > 1:
        return settings
    return replace(settings, boxes=boxes.pop())


def split_to_choose_by(saved: SavedRun, settings: EvaluateSettings) -> str:
    """The run's validation split; that of the evaluation without one, and for other images.

    Raises:
        ValueError: it is test.
    """
    split = (_learned_ids(saved, settings) and saved.settings.val_split) or settings.split
    if split.lower() == "test":
        raise ValueError(
            f"--choose-threshold: {saved.run_dir} leaves {split} to choose by, whose numbers would "
            "be too good then (train with --val-split, or name other images with --split)"
        )
    return split


def _learned_ids(saved: SavedRun, settings: EvaluateSettings) -> set[str]:
    """The images that the run learned from; none where those of the evaluation lie elsewhere."""
    trained = saved.settings
    seen = given_or_trained(settings, trained, trained.classes)
    if (seen.images and seen.images.absolute()) != trained.images:
        return set()
    return set(open_source(seen).ids(trained.split))


def _choose(saved: SavedRun, split: str, settings: EvaluateSettings, device: Device) -> SavedRun:
    digest = weights_sha256(saved.model.state_dict())
    dataset = open_split(saved, settings, split)
    curve: dict[float, float] = {}
    if any(len(annotation.boxes) for annotation in dataset.annotations):
        predictions = open_localizer(saved, dataset, device, cached=True)
        description = f"threshold of {saved.settings.name} on {split}"
        every = evaluate_corloc(predictions, description=description)[1]
        curve = {threshold: value for threshold, value in every.items() if not math.isnan(value)}
    images = f"{split} ({len(dataset)} images)"
    if curve:
        threshold = max(curve, key=lambda each: curve[each])  # of equal ones the lowest
        learned = len(_learned_ids(saved, settings) & set(dataset.ids))
        chosen_on = f"{images}, {learned} of which it learned from" if learned else images
        chosen = ChosenThreshold(threshold, digest, chosen_on, "corloc", curve)
        reason = f"highest CorLoc, {curve[threshold]:.3f}, on {chosen_on}"
    else:
        chosen = _without_boxes(saved, digest)
        reason = f"that of {chosen.chosen_on}; no boxes of {images} are known to choose by"
    if is_first():
        write_threshold(saved.run_dir, chosen)
    echo(f"{saved.settings.name}: threshold of boxes {chosen.threshold:g}: {reason}")
    return saved.with_threshold(chosen.threshold)


def _without_boxes(saved: SavedRun, digest: str) -> ChosenThreshold:
    """The one that boxes have chosen for these weights before, or else that of VOC."""
    kept = read_threshold(saved.run_dir)
    if kept is not None and kept.curve and kept.weights_sha256 == digest:
        return kept
    is_max = saved.localizer()[1].model.pooling == "max"
    threshold = VOC_THRESHOLD_OF_MAX if is_max else VOC_THRESHOLD
    return ChosenThreshold(threshold, digest, "VOC 2007 val", "", {})
