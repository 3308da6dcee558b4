"""Evaluation of trained runs: numbers, files and the report."""

import contextlib
import shlex
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from data.datasets.settings import UsedImageSettings
from data.datasets.sources import chosen_split, given_or_trained, open_source
from data.evaluation.image_metrics import mean_over_present
from data.json_files import read_json
from tools.cli.console import echo, saying, suggest, table
from tools.cli.settings import flatten, to_dict, to_options
from tools.evaluation.curves import learning_curves
from tools.evaluation.files import check_same_images, write_files
from tools.evaluation.metrics import Evaluation, number_or_none
from tools.evaluation.settings import EvaluateSettings
from tools.evaluation.split import evaluate, evaluate_corloc
from tools.evaluation.threshold import choose_thresholds, settings_to_repeat
from tools.models.device import Device, choose_device
from tools.models.ranks import is_first, joined
from tools.pages.numbers import headline_table, metrics_of
from tools.pages.predictions import boxed_images, detected_images
from tools.pages.report import Report, Sheet, write_report
from tools.pages.settings import GallerySettings
from tools.prediction.opening import open_predictions, open_split
from tools.prediction.predictions import Predictions
from tools.runs.checkpoint import weights_sha256
from tools.runs.folder import evaluation_folder, locked_run, read_settings, split_of_run
from tools.runs.kinds import TrainWsddnSettings
from tools.runs.saved import SavedRun, load_run

HEATMAPS = (
    "A heatmap runs from its lowest cell (blue) to its highest (red); the frame that no cell "
    "covers keeps the image's colors."
)
BOX = "Dashed: annotated boxes. Magenta: the top-scoring detection."
BOXES = "Dashed: annotated boxes. Other lines: the top-scoring detections, in a color a class."


def run(settings: EvaluateSettings) -> None:
    """Evaluate one run, or several side by side."""
    device = choose_device(settings.device, settings.amp, tf32=settings.tf32)
    for folder in _folders(settings):
        read_settings(folder)  # a folder without a run is refused, not made
    with contextlib.ExitStack() as locks:
        locks.enter_context(joined(device.kind))
        split = split_of_run(settings.split, settings.run_dir, settings)
        settings = replace(settings, split=split)
        for folder in _folders(settings):
            locks.enter_context(locked_run(folder))
        _evaluate_runs(settings, device)


def _evaluate_runs(settings: EvaluateSettings, device: Device) -> None:
    """Evaluate each run and write its files, then the report of all."""
    runs = open_runs(settings)
    if settings.choose_threshold:
        runs = choose_thresholds(runs, settings, device)
    models: dict[str, dict[str, Any]] = {}
    with_heatmaps, sheets = dict[str, Predictions](), list[Sheet]()
    box_curves: dict[str, dict[str, list[tuple[float, float]]]] = {}
    opened = [(saved, predictions_of(saved, settings, settings.split, device)) for saved in runs]
    for saved, predictions in opened:
        check_same_images(_folder(settings, saved.run_dir), predictions.dataset)
    for saved, predictions in opened:
        models[saved.settings.name], evaluation = _evaluate(saved, predictions, settings, device)
        for class_name, curve in evaluation.box_curves.items():
            box_curves.setdefault(class_name, {})[saved.settings.name] = curve
        if predictions.boxes is None:
            groups = detected_images(predictions.dataset, evaluation.detections)
            sheets += [Sheet(heading, BOXES, images) for heading, images in groups.items()]
        else:
            with_heatmaps[saved.settings.name] = predictions
    if not is_first():
        return
    if with_heatmaps:
        with saying("drawing heatmaps"):
            overlays = boxed_images(with_heatmaps)
        heading = "Heatmap and best box of one present class"
        sheets.insert(0, Sheet(heading, f"{HEATMAPS} {BOX}", overlays))
    _report(settings, runs, models, box_curves, sheets)


def _report(
    settings: EvaluateSettings,
    runs: list[SavedRun],
    models: dict[str, dict[str, Any]],
    box_curves: dict[str, dict[str, list[tuple[float, float]]]],
    sheets: list[Sheet],
) -> None:
    """Write it and print the table."""
    folder = _folder(settings, settings.run_dir)
    curves, class_curves = learning_curves(runs)
    gallery = ("python", "-m", "tools.gallery", *_options_of_gallery(settings))
    report = Report(
        title=f"{settings.run_dir.resolve().name} on {settings.name or settings.split}",
        models=models,
        settings=flatten(to_dict(runs[0].settings)),
        curves=curves,
        class_curves=class_curves,
        box_curves=box_curves,
        sheets=sheets,
        repeat=_command(settings_to_repeat(settings, runs)),
        next=shlex.join(gallery),
    )
    with saying("writing the report"):
        write_report(folder, report)
    if "detector" in models:
        _print_numbers(headline_table("class", models["detector"]["per_class"]))
    metrics = {name: metrics_of(numbers) for name, numbers in models.items()}
    _print_numbers(headline_table("model", metrics), turned=True)
    echo(f"report: {folder / 'report.html'}")
    suggest(*gallery)


def _print_numbers(lines: Sequence[Sequence[str]], *, turned: bool = False) -> None:
    """Print a table without its columns that hold no number; ``turned``, they are its lines."""
    columns = [column for column in zip(*lines, strict=True) if {*column[1:]} != {"n/a"}]
    if len(columns) > 1:
        echo(*table(*(columns if turned else zip(*columns, strict=True))))


def open_runs(settings: EvaluateSettings) -> list[SavedRun]:
    """The runs, if they may stand side by side with these settings.

    Raises:
        FileNotFoundError: a folder holds no run.
        ValueError: settings that do not fit the runs, or two runs of one kind.
    """
    runs = [load_run(folder, settings.checkpoint) for folder in _folders(settings)]
    of_detectors = {
        "also-runs": " ".join(map(str, settings.also_runs)) or None,
        "rescore-from": " ".join(map(str, settings.rescore_from)) or None,
        "support-iou": settings.support_iou,
    }
    for name, value in of_detectors.items():
        if value is not None and not any(run.takes_proposals for run in runs):
            raise ValueError(f"--{name} {value}: none of the runs is a detector's")
    runs = [
        run.averaged_with(
            settings.also_runs if run.takes_proposals else (), settings.checkpoint
        ).evaluated_with(
            support_iou=settings.support_iou,
            eval_image_sizes=settings.image_sizes,
            crop=settings.crop,
            boxes=settings.boxes,
        )
        for run in runs
    ]
    if settings.crop is not None and all(run.takes_proposals for run in runs):
        raise ValueError(f"--crop {settings.crop}: a detector sees images whole")
    if len({saved.settings.name for saved in runs}) < len(runs):
        raise ValueError(
            f"--beside {' '.join(map(str, settings.beside))}: two runs of one kind (one plain "
            "localizer, one robust, one detector)"
        )
    return runs


def predictions_of(
    saved: SavedRun, settings: EvaluateSettings, split: str, device: Device
) -> Predictions:
    """What a run predicts for a split, ``--split`` or the one of CorLoc.

    A detector has learned from proposals of the latter, which need not be given again.
    """
    trained, given = saved.settings, settings.proposals
    if isinstance(trained, TrainWsddnSettings) and split != settings.split:
        given = (*given, *trained.proposals)
    return open_predictions(
        saved,
        open_split(saved, settings, split),
        device,
        cached=True,
        proposals=given,
        rescore_from=settings.rescore_from,
    )


def _evaluate(
    saved: SavedRun, predictions: Predictions, settings: EvaluateSettings, device: Device
) -> tuple[dict[str, Any], Evaluation]:
    """Everything that the report says of one model; writes its detections and scores."""
    start = time.monotonic()
    corloc_split = _corloc_split(saved, settings)
    evaluation = evaluate(predictions, description=f"{saved.settings.name} on {settings.split}")
    if is_first():
        with saying("writing detections and scores"):
            write_files(_folder(settings, saved.run_dir), saved, predictions.dataset, evaluation)
    metrics, per_class = dict(evaluation.metrics), evaluation.per_class
    curve = evaluation.threshold_curve
    has_boxes = any(len(annotation.boxes) for annotation in predictions.dataset.annotations)
    if has_boxes and corloc_split != settings.split:
        labeled = predictions_of(saved, settings, corloc_split, device)
        description = f"{saved.settings.name} on {corloc_split}"
        columns, curve = evaluate_corloc(labeled, description=description)
        metrics |= {name: mean_over_present(column) for name, column in columns.items()}
        for label, row in enumerate(per_class.values()):
            row |= {name: number_or_none(column[label]) for name, column in columns.items()}
    numbers = {
        **metrics,
        "per_class": per_class,
        "threshold_curve": curve,
        "tail_accuracy_curve": evaluation.tail_accuracy_curve,
        "split": settings.split,
        "corloc_split": corloc_split,
        "boxes": to_dict(predictions.boxes),
        "device": device.kind,
        "amp": device.amp,
        "weights_sha256": weights_sha256(saved.model.state_dict()),
        "seconds": _training_seconds(saved.run_dir),
        "evaluation_seconds": time.monotonic() - start,
    }
    return numbers, evaluation


def _corloc_split(saved: SavedRun, settings: EvaluateSettings) -> str:
    """As given; else what the run learned from, as far as the images have it."""
    if settings.corloc_split is not None:
        return settings.corloc_split or settings.split
    source = open_source(given_or_trained(settings, saved.settings, saved.settings.classes))
    return chosen_split("", saved.settings.split, source)


def _folder(settings: EvaluateSettings, run_dir: Path) -> Path:
    return evaluation_folder(run_dir, settings.name or settings.split)


def _training_seconds(run_dir: Path) -> float | None:
    path = run_dir / "training.json"
    if not path.is_file():
        return None
    content = read_json(path, description="a summary of a training")
    seconds = content.get("seconds") if isinstance(content, dict) else None
    if not isinstance(seconds, int | float):
        raise ValueError(f"{path}: not a summary of a training (seconds are {seconds})")
    return float(seconds)


def _folders(settings: EvaluateSettings) -> list[Path]:
    return [settings.run_dir, *settings.beside]


def _options_of_gallery(settings: EvaluateSettings) -> list[str]:
    """Those that show this evaluation."""
    names = {"name", *(field.name for field in fields(UsedImageSettings))}
    options = to_options(settings, GallerySettings(run_dir=Path()), names)
    return ["--run-dir", str(settings.run_dir), "--split", settings.split, *options]


def _command(settings: EvaluateSettings) -> str:
    """The settings that are not the defaults, as a command line."""
    options = to_options(settings, EvaluateSettings(run_dir=Path()))
    return shlex.join(["python", "-m", "tools.evaluate", *options])
