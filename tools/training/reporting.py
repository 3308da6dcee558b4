"""What a training tells: the numbers and images of each epoch, and the summary at its end."""

import math
import shlex
from pathlib import Path
from typing import Any

import torch

from data.datasets.image_set import ImageSet
from data.datasets.sources import open_source
from data.evaluation.metrics import METRICS
from tools.cli.console import echo, suggest
from tools.evaluation.metrics import Evaluation
from tools.evaluation.split import evaluate
from tools.files.atomic import write_json
from tools.inputs.datasets import has_split
from tools.loggers.logger import Logger
from tools.models.ranks import is_first
from tools.pages.predictions import log_images
from tools.runs.checkpoint import weights_sha256
from tools.runs.folder import free_folder
from tools.training.state import TrainingState
from tools.training.task import Settings, Task

KEEP_IMAGES = ("--samples_per_plugin", "images=0")  # of every epoch; else TensorBoard keeps ten
SHOWN = {"image_map": "image mAP", "box_map_11point": "mAP", "corloc": "CorLoc"}


def end_epoch(task: Task[Settings, Any], state: TrainingState, logger: Logger) -> float:
    """Evaluate and show, also within an epoch; returns what chooses the best checkpoint."""
    quality = float(state.epoch)  # without a validation the last epoch is the best
    is_end = state.batch == 0
    trained = f"{_loss(state)}in {state.seconds - state.epoch_start:.0f} s"
    if task.validation is not None and task.predictions is not None:
        evaluation = evaluate(task.predictions)
        log_evaluation(logger, evaluation, task.validation, state.step)
        for tag, name in task.settings.metrics_in_training.items():  # beside those of the training
            tag = tag.replace("train/", "validation/")
            logger.scalar(tag, evaluation.metrics[name], state.step)
        quality = evaluation.metrics[quality_of(task)]
        shown = {word: evaluation.metrics[name] for name, word in SHOWN.items()}
        numbers = [f"{word} {value:.4f}" for word, value in shown.items() if not math.isnan(value)]
        trained += f"; {', '.join(numbers)} on {task.validation.split}"
    task.log_baseline(logger, state.step)
    echo(f"epoch {state.epoch}: {trained}" if is_end else f"iteration {state.step}: {trained}")
    if is_end and task.predictions is not None and is_first():
        log_images(logger, task.predictions, epoch=state.epoch - 1, step=state.step)
    return quality


def _loss(state: TrainingState) -> str:
    """The mean loss of the epoch; nothing where an earlier version began it."""
    return "" if math.isnan(state.epoch_loss) else f"loss {state.epoch_loss:.4g} "


def quality_of(task: Task[Settings, Any]) -> str:
    """The metric that chooses the best checkpoint: of images where no boxes are known."""
    annotations = task.validation.annotations if task.validation else []
    return task.quality if any(len(of_image.boxes) for of_image in annotations) else "image_map"


def log_evaluation(logger: Logger, evaluation: Evaluation, dataset: ImageSet, step: int) -> None:
    """Means, class-wise APs of boxes and of image labels, and precision against recall."""
    for name, mean in evaluation.metrics.items():
        if not math.isnan(mean):  # of boxes, where none are known
            logger.scalar(f"validation/{name}", mean, step)
    for label, (name, row) in enumerate(evaluation.per_class.items()):
        for key, tag in (("box_map_11point", "box_ap"), ("image_map", "ap")):
            value = row[key]
            if value is not None:
                logger.scalar(f"validation/{tag}/{name}", value, step)
        known = dataset.weights[:, label] > 0
        if dataset.targets[known, label].any():
            scores = torch.from_numpy(evaluation.scores[:, label])[known]
            targets = dataset.targets[known, label]
            logger.pr_curve(f"image labels/{name}", targets, scores, step)
        logger.pr_points(f"boxes/{name}", evaluation.box_curves.get(name, []), step)


def finish(task: Task[Settings, Any], state: TrainingState, run_dir: Path) -> None:
    """Write and print the summary; a finished run that is resumed gives the same one.

    Args:
        task: that was trained.
        state: after the last epoch.
        run_dir: as a person has typed it.
    """
    digest = weights_sha256(state.saved_model.state_dict())
    summary = {"seconds": state.seconds, "step": state.step, "epochs": state.epoch}
    write_json(run_dir / "training.json", {"weights_sha256": digest, **summary})
    size = sum(path.stat().st_size for path in (run_dir / "events").glob("*"))
    echo(
        f"trained {state.epoch} epochs in {state.seconds:.0f} s, {size / 1e6:.1f} MB of events, "
        f"weights_sha256 {digest}"
    )
    if task.validation is not None and state.best_epoch:
        heading = f"{METRICS[quality_of(task)].heading} on {task.validation.split}"
        best = f"best {state.best:.4f} in epoch {state.best_epoch}"
        echo(f"{heading}: {state.quality:.4f} in the last epoch, {best}")
    named = f"{run_dir.resolve().name}:{run_dir / 'events'}"
    curves = shlex.join(["tensorboard", "--logdir_spec", named, *KEEP_IMAGES])
    echo(f"run: {run_dir}", f"curves: {curves}")
    suggest("python", "-m", *_next_words(task, run_dir))


def _next_words(task: Task[Settings, Any], run_dir: Path) -> list[str]:
    """Evaluate on images that taught nothing, or box images where that takes more than a word."""
    settings = task.settings
    split = settings.val_split or {"train": "val", "trainval": "test"}.get(settings.split, "")
    is_there = bool(split) and has_split(open_source(settings), split)
    words = ["--run-dir", str(run_dir), "--split", split if is_there else settings.split]
    if is_there and (task.validation is not None or task.knows_any_image):
        return ["tools.evaluate", *words]
    words += ["--on-bad", "skip"] if settings.on_bad == "skip" else []
    return ["tools.detect", *words, "--out", str(free_folder(run_dir / "boxes"))]
