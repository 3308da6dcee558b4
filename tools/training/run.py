"""A training from its settings to the finished run, whatever kind of model it is."""

import dataclasses
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from data.datasets.image_set import ImageSet
from data.datasets.sources import open_source, training_splits, without_added
from data.shard import parse_shard
from data.types import ImageBatch
from tools.cli.console import echo, saying
from tools.cli.settings import flatten, to_dict
from tools.inputs.datasets import open_dataset, warn_of_one_sided_classes
from tools.inputs.samples import TrainingBatches
from tools.loggers.logger import Logger, open_logger
from tools.models.device import Device, choose_device
from tools.models.ranks import (
    count,
    exchange,
    is_first,
    joined,
    rank,
    wait_for_all,
    with_shared_gradients,
)
from tools.runs.environment import write_environment
from tools.runs.folder import locked_run, write_settings
from tools.runs.settings import TrainSettings
from tools.training.loop import Criterion, train
from tools.training.optim import build_optimizer, build_scheduler
from tools.training.reporting import end_epoch, finish, quality_of
from tools.training.resuming import resume, split_digests
from tools.training.seeds import draw_apart, seed_everything
from tools.training.state import TrainingState
from tools.training.task import Settings, Task


def train_run(settings: Settings, kind: type[Task[Settings, Any]]) -> None:
    """Train to the last epoch, or continue a run until there.

    Args:
        settings: of the run.
        kind: the task that trains with them.

    Raises:
        FileExistsError: the folder holds a run, and ``--resume`` is not given.
        ValueError: the settings, the images or the run to be continued do not fit together.
        Interrupted: a signal came; the state is saved.
    """
    source = open_source(settings)  # refuses what is not there before anything is made
    split, val_split = training_splits(settings.split, settings.val_split, source)
    settings = dataclasses.replace(settings, split=split, val_split=val_split)
    if settings.only_features:
        _fill_features(settings, kind)
        return
    checkpoints = (settings.run_dir / "checkpoints").glob("step-*.pt")
    if not settings.resume and ((settings.run_dir / "settings.yaml").exists() or any(checkpoints)):
        raise FileExistsError(
            f"{settings.run_dir}: holds a run already (--resume auto continues it)"
        )
    device = choose_device(settings.device, settings.amp, tf32=settings.tf32)
    with joined(device.kind):
        wait_for_all()  # the folder is as each rank has found it
        with locked_run(settings.run_dir):
            _train(settings, kind, device)


def _train(settings: Settings, kind: type[Task[Settings, Any]], device: Device) -> None:
    start = time.monotonic()
    seed_everything(settings.seed, deterministic=is_deterministic(settings, device))
    dataset, validation = _datasets(settings)
    typed, settings = settings.run_dir, resolved(settings, dataset.classes)
    with saying(f"opening {settings.model.backbone}"):
        task = kind(settings, dataset, validation, device)
    state = new_state(task, split_digests(dataset, validation) | task.digests, since=start)
    resumed = resume(state, settings.resume, settings.run_dir / "checkpoints")
    if not resumed:
        draw_apart(settings.seed, rank())
    wait_for_all()  # each rank has read what is there
    if is_first():
        write_settings(settings.run_dir, settings)
    if state.evaluated < settings.loop.epochs:
        if is_first():
            write_environment(settings.run_dir)
        task.open(state.saved_model)
        if settings.compile:
            task.model.features.compile()
        training_mode(settings, task.model, task.model.features)
        _fit(task, state, resumed=resumed)
    if is_first():
        finish(task, state, typed)


def _datasets(settings: Settings) -> tuple[ImageSet, ImageSet | None]:
    """The images to learn from, and those of the validation."""
    dataset = open_dataset(settings, settings.split)
    if not dataset.weights.any():
        raise ValueError(
            f"{settings.images}: images alone teach nothing (--labels names a CSV or other labels, "
            "--labels folders takes the names of folders)"
        )
    warn_of_one_sided_classes(dataset)
    held_out = without_added(dataclasses.replace(settings, classes=dataset.classes))
    validation = open_dataset(held_out, settings.val_split) if settings.val_split else None
    return dataset, validation


def _fill_features(settings: Settings, kind: type[Task[Settings, Any]]) -> None:
    """Compute the features of a part of the images; no folder of a run is made."""
    device = choose_device(settings.device, settings.amp, tf32=settings.tf32)
    shard = parse_shard(settings.only_features)
    seed_everything(settings.seed, deterministic=is_deterministic(settings, device))
    dataset, validation = _datasets(settings)
    dataset = dataset.subset(shard.of(range(len(dataset))))
    if validation is not None:
        seen = shard.of(range(len(validation)))
        validation = validation.subset(seen) if seen else None
    task = kind(settings, dataset, validation, device)
    task.open(task.model)
    echo(f"features: {settings.feature_cache}")


def _fit(task: Task[Settings, Any], state: TrainingState, *, resumed: bool) -> None:
    """Train from wherever the state is, evaluating each epoch; what is logged again goes first."""
    settings = task.settings
    is_again = state.evaluated < state.epoch or state.is_due(settings.loop.evaluate_every)
    again = ("validation/", "baseline/") if is_again else ()
    step = state.step if resumed else None
    batches = TrainingBatches(
        task.inputs,
        seed=settings.seed,
        batch_size=settings.loop.batch_size,
        flip=settings.flip,
        workers=task.device.readers if settings.loop.workers is None else settings.loop.workers,
        pinned=task.device.kind == "cuda",
    )
    with (
        (
            open_logger(settings.run_dir, settings.visdom, resume_step=step, again=again)
            if is_first()
            else Logger([])
        ) as logger,
        batches.begun.named(task.dataset.ids),
    ):
        if not resumed:
            task.log_baseline(logger, 0)
        train(
            state,
            losses_of(task),
            batches,
            settings=settings.loop,
            logger=logger,
            checkpoints=settings.run_dir / "checkpoints",
            end_of_epoch=lambda state: end_epoch(task, state, logger),
        )
        if is_first():
            task.log_end(logger, state.step)
        best = {f"best_{quality_of(task)}": state.best} if task.validation else {}
        logger.settings(flatten(to_dict(settings)), best)


def is_deterministic(settings: TrainSettings, device: Device) -> bool:
    """As asked for; else where it costs nothing."""
    return device.kind == "cpu" if settings.deterministic is None else settings.deterministic


def losses_of(task: Task[Settings, Any]) -> Criterion:
    """What the loop minimizes: the losses of the task in its number format."""
    return with_shared_gradients(_Losses(task))


class _Losses(nn.Module):
    """The losses of a task as a module, so that ranks can share its gradients.

    A rank's losses are multiplied so that their mean over the ranks is that of all their labels.
    """

    def __init__(self, task: Task[Any, Any]) -> None:
        super().__init__()
        self.task = task
        self.trained = task.model

    def forward(self, batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
        with self.task.device.autocast():
            losses, scores = self.task.losses(batch)
        amounts = exchange(self.task.amount(batch)) if count() > 1 else []
        if sum(amounts):
            factor = count() * amounts[rank()] / sum(amounts)
            losses = {name: factor * loss for name, loss in losses.items()}
        return losses, scores


def resolved(settings: Settings, classes: tuple[str, ...]) -> Settings:
    """The settings with which a later command, in any folder, finds the same files and classes."""
    values = {name: _absolute(value) for name, value in vars(settings).items()}
    return dataclasses.replace(settings, **values | {"classes": classes})


def _absolute(value: Any) -> Any:
    """A path, or those of a list, from the root of all folders; anything else as it is."""
    if isinstance(value, tuple):
        return tuple(map(_absolute, value))
    return value.absolute() if isinstance(value, Path) else value


def training_mode(settings: TrainSettings, model: nn.Module, features: nn.Module) -> None:
    """Everything learns; batch norms of a trained backbone keep the statistics that they have."""
    model.train()
    for module in features.modules():
        if isinstance(module, nn.BatchNorm2d) and settings.has_trained_backbone:
            module.eval()


def new_state(
    task: Task[Settings, Any], digests: Mapping[str, str], *, since: float
) -> TrainingState:
    """A model before its first step.

    Args:
        task: what is trained.
        digests: of the files that a resumed run must find unchanged, by the option that names them.
        since: monotonic time of the command's start.
    """
    settings = task.settings
    learning = [(name, p) for name, p in task.model.named_parameters() if p.requires_grad]
    optimizer = build_optimizer(
        [p for name, p in learning if not name.startswith("features.")],
        settings.optim,
        backbone=[p for name, p in learning if name.startswith("features.")],
    )
    batches = math.ceil(len(task.dataset) / (settings.loop.batch_size * count()))
    scheduler = build_scheduler(
        optimizer,
        settings.optim,
        epochs=settings.loop.epochs,
        steps_per_epoch=math.ceil(batches / settings.loop.accumulate),
    )
    return TrainingState(
        model=task.model,
        optimizer=optimizer,
        scheduler=scheduler,
        scaler=torch.amp.GradScaler(task.device.kind, enabled=task.device.amp == "fp16"),
        settings={**to_dict(settings), "digests": dict(digests)},
        since=since,
        averaging=settings.optim.average,
    )
