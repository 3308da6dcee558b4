"""A stored evaluation made once more with the code of ``evaluate``, and compared.

Nothing is written but features of frozen backbones and scores of proposals, in a temporary folder:
those of the cache would hide that the way from image to scores has changed.
"""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from data.checks import name_first
from data.datasets.image_set import ImageSet
from data.evaluation.metrics import METRICS
from data.types import Detections
from localizer.settings import BoxSettings
from tools.cli.command import parse_settings, settings_from
from tools.cli.console import echo, warn
from tools.evaluation.differences import (
    Difference,
    largest_of_detections,
    largest_of_scores,
    short,
)
from tools.evaluation.evaluate import open_runs, predictions_of
from tools.evaluation.settings import CheckReproductionSettings, EvaluateSettings
from tools.evaluation.split import evaluate
from tools.files.detections import read_detections
from tools.files.scores import SavedScores, read_scores
from tools.models.device import choose_device
from tools.pages.numbers import models_of, read_report
from tools.prediction.predictions import Predictions
from tools.runs.checkpoint import weights_sha256
from tools.runs.environment import environment
from tools.runs.folder import evaluation_folder, split_of_run
from tools.runs.saved import SavedRun

APS = ("image_map", "box_map_11point", "box_map_area")
# Settings of an evaluation that may be others now: where things are, and what computes.
CHANGEABLE = (
    *("voc_root", "images", "labels", "first_pixel", "proposals", "also_runs", "rescore_from"),
    *("device", "amp"),
)


@dataclass(frozen=True, slots=True)
class Stored:
    """What an evaluation has stored of a model, and the model once more.

    Attributes:
        model: its name in the report.
        numbers: of the report.
        scores: in the order of the images.
        detections: by image id; None without a file.
        predictions: of the same images, not yet computed.
    """

    model: str
    numbers: Mapping[str, Any]
    scores: SavedScores
    detections: Mapping[str, Detections] | None
    predictions: Predictions


def run(settings: CheckReproductionSettings) -> None:
    """Score again and compare.

    Raises:
        FileNotFoundError: no such evaluation.
        ValueError: images or classes are others.
        RuntimeError: the largest difference is beyond the tolerance; names image and class.
    """
    name = settings.name or split_of_run(settings.split, settings.run_dir, settings)
    folder = evaluation_folder(settings.run_dir, name)
    report = read_report(folder)
    again = _settings_again(settings, report, folder)
    device = choose_device(again.device, again.amp, tf32=again.tf32)
    torch.seed()  # torch begins every process with one seed: what is drawn would be drawn again
    found: list[Difference] = []
    with TemporaryDirectory(prefix="features-") as features:
        runs = [
            saved.evaluated_with(feature_cache=Path(features), boxes=_boxes(saved, report, folder))
            for saved in open_runs(again)
        ]
        opened = [
            _read(saved, predictions_of(saved, again, again.split, device), name, report)
            for saved in runs
        ]
        for stored in opened:
            found += _compare(stored)
    worst = max(found, key=lambda difference: difference.value)
    if worst.value > settings.tolerance:
        computed = {"device": device.kind, "amp": device.amp}
        for saved in runs:
            echo(*_changes(saved, report, computed))
        raise RuntimeError(
            f"{folder}: scores differ by {short(worst.value)}, more than {settings.tolerance:g}: "
            f"{worst.where}"
        )
    echo(f"reproduced: scores differ by {short(worst.value)} at most")


def _settings_again(
    settings: CheckReproductionSettings, report: Mapping[str, Any], folder: Path
) -> EvaluateSettings:
    """Those of the evaluation, with what the check was given instead."""
    try:
        _, _, module, *words = shlex.split(str(report["command"]))
        if module != "tools.evaluate":
            raise ValueError(module)
        words.append(f"--run-dir={settings.run_dir}")  # it may have moved
        stored = parse_settings(EvaluateSettings, "evaluate", words)
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{folder / 'report.json'}: holds no command of evaluate ({error})"
        ) from error
    numbers = next(iter(models_of(report).values()))
    given = {name: getattr(settings, name) for name in CHANGEABLE}
    changed = {name: value for name, value in given.items() if value not in (None, (), "auto")}
    known = {name: numbers.get(name, getattr(stored, name)) for name in ("amp", "split")}
    return replace(stored, **known | changed)


def _boxes(saved: SavedRun, report: Mapping[str, Any], folder: Path) -> BoxSettings | None:
    """How boxes were made; another threshold may have been chosen since. None of a detector."""
    stored = models_of(report).get(saved.settings.name, {}).get("boxes")
    try:
        return settings_from(BoxSettings, stored) if stored else None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{folder / 'report.json'}: boxes of a run ({error})") from error


def _read(
    saved: SavedRun, predictions: Predictions, name: str, report: Mapping[str, Any]
) -> Stored:
    """What is stored of a run.

    Raises:
        FileNotFoundError: no scores.
        ValueError: of other classes or images.
    """
    folder = evaluation_folder(saved.run_dir, name)
    scores, detections = read_scores(folder / "scores.npz"), None
    known = {"scores.npz": scores.classes}
    if (folder / "detections.json").is_file():
        known["detections.json"], detections = read_detections(folder / "detections.json")
    for file, classes in known.items():
        if classes != predictions.dataset.classes:
            names = ", ".join(classes)
            raise ValueError(f"{folder / file}: classes {names} are not those of the run")
    scores = _in_order_of(predictions.dataset, scores, folder / "scores.npz")
    numbers = models_of(report).get(saved.settings.name, {})
    return Stored(saved.settings.name, numbers, scores, detections, predictions)


def _in_order_of(dataset: ImageSet, scores: SavedScores, path: Path) -> SavedScores:
    """The scores with their rows in the order of the images."""
    if other := sorted(set(scores.ids) ^ set(dataset.ids)):
        raise ValueError(
            f"{path}: of other images than {dataset.split} has now: {name_first(other)}"
        )
    row_of = {image_id: row for row, image_id in enumerate(scores.ids)}
    rows = [row_of[image_id] for image_id in dataset.ids]
    arrays = (array[rows] for array in (scores.scores, scores.targets, scores.weights))
    return SavedScores(tuple(dataset.ids), scores.classes, *arrays)


def _compare(stored: Stored) -> Iterator[Difference]:
    """Evaluate, print, and give the largest difference of each kind of score."""
    dataset, before = stored.predictions.dataset, stored.scores
    labels = dataset.targets.numpy(), dataset.weights.numpy()
    if not all(map(np.array_equal, labels, (before.targets, before.weights))):
        warn(f"{stored.model}: the labels of {dataset.split} have changed since, and AP with them")
    now = evaluate(stored.predictions, description=f"{stored.model} on {dataset.split}")
    for key in APS:
        if (ap := stored.numbers.get(key)) is not None:
            heading = f"{stored.model}: {METRICS[key].heading}"
            echo(f"{heading} {ap:.6f} stored, {now.metrics[key]:.6f} anew")
    of_images = largest_of_scores(before.ids, before.classes, before.scores, now.scores)
    mean = short(float(np.abs(now.scores - before.scores).mean()))
    echo(f"{stored.model}: image scores differ by {mean} on average, {of_images}")
    yield replace(of_images, where=f"{stored.model}, {of_images.where}")
    if stored.detections is not None:
        of_boxes = largest_of_detections(before.classes, stored.detections, now.detections)
        echo(f"{stored.model}: scores of detections differ by {of_boxes}")
        yield replace(of_boxes, where=f"{stored.model}, {of_boxes.where}")


def _changes(
    saved: SavedRun, report: Mapping[str, Any], computed: Mapping[str, str]
) -> Iterator[str]:
    """Lines about what was different when the evaluation was stored, as far as that is known."""
    before = {**report.get("environment", {}), **models_of(report).get(saved.settings.name, {})}
    digest = weights_sha256(saved.model.state_dict())
    for key, value in {**environment(), **computed, "weights_sha256": digest}.items():
        if key != "command" and before.get(key, value) != value:
            yield f"{saved.settings.name}: {key} was {before[key]}, is {value}"
