"""The training loop: batches to named losses to steps, with logs, checkpoints and clean stops."""

import math
import statistics
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from data.evaluation.image_metrics import eval_classification, mean_over_present
from data.parallel import own_error, signals_held
from data.types import ImageBatch
from tools.cli.console import show_progress
from tools.cli.signals import check_interrupted, is_interrupted
from tools.loggers.logger import Logger
from tools.runs.settings import LoopSettings
from tools.training.state import TrainingState

Criterion = Callable[[ImageBatch], tuple[dict[str, Tensor], Tensor]]
Batches = DataLoader[Any] | Sequence[ImageBatch]
RECENT = 20  # steps whose mean loss is shown while training


class Recent:
    """What the last steps have reached, for a person who watches.

    Attributes:
        losses: of these steps.
        image_map: of the images before the last log line; nan where there is none.
    """

    def __init__(self) -> None:
        self.losses: deque[float] = deque(maxlen=RECENT)
        self.image_map = math.nan

    def __str__(self) -> str:
        words = [f"loss {statistics.fmean(self.losses):#.4g}"] if self.losses else []
        if not math.isnan(self.image_map):
            words.append(f"mAP {self.image_map:.3f}")
        return ", ".join(words)


def train(
    state: TrainingState,
    criterion: Criterion,
    batches: Callable[[int, int], Batches],
    *,
    settings: LoopSettings,
    logger: Logger,
    checkpoints: Path,
    end_of_epoch: Callable[[TrainingState], float],
) -> None:
    """Train up to ``settings.epochs`` epochs, from wherever the state is.

    Args:
        state: what is trained; changed in place.
        criterion: a batch to its losses by name and its image scores ``[B, C]``.
        batches: (epoch, first batch) to the batches of that epoch from there on; a step takes
            ``settings.accumulate`` of them, or what is left.
        settings: epochs, how often to log and to save.
        logger: receives ``train/...``.
        checkpoints: folder for them.
        end_of_epoch: evaluates and logs; its value chooses the best checkpoint.

    Raises:
        FloatingPointError: a loss is not finite; nothing is saved after it.
        Interrupted: a signal came; the state is saved.
    """
    recent = Recent()
    while state.epoch < settings.epochs or state.evaluated < state.epoch:
        if state.evaluated < state.epoch:
            _close_epoch(state, end_of_epoch, checkpoints)
            continue
        count = settings.accumulate
        if state.batch == 0:
            state.begin_epoch()
        rest = batches(state.epoch, state.batch * count)
        steps = state.batch + math.ceil(len(rest) / count)
        with signals_held():
            loaded = iter(rest)
        shown = show_progress(
            _in_groups(loaded, count),
            f"epoch {state.epoch + 1}/{settings.epochs}",
            total=steps,
            done=state.batch,
            size=settings.batch_size * count,
            news=recent.__str__,
        )
        for group in shown:
            loss = _optimize(state, criterion, group)
            state.end_step(loss)
            recent.losses.append(loss)
            if state.step % settings.log_every == 0 or state.batch == steps:
                recent.image_map = _log(state, logger)
            is_edge = state.epoch in (0, settings.epochs - 1) and state.batch == steps
            if state.step % settings.histogram_every == 0 or is_edge:
                log_histograms(state, logger, every_layer=settings.histogram_every_layer)
            if is_interrupted():
                state.save(checkpoints)
                logger.flush()
                check_interrupted()
            if state.step % settings.checkpoint_every == 0:
                state.save(checkpoints)
        state.epoch, state.batch = state.epoch + 1, 0
    logger.flush()


def _in_groups(batches: Iterator[ImageBatch], count: int) -> Iterator[list[ImageBatch]]:
    """``count`` batches at a time; the last group may be smaller."""
    while True:
        try:
            group = list(islice(batches, count))
        except Exception as error:
            raise own_error(error) from error
        if not group:
            return
        yield group


def _optimize(state: TrainingState, criterion: Criterion, group: list[ImageBatch]) -> float:
    """One step along the mean gradient of some batches; returns the mean of their losses."""
    state.optimizer.zero_grad(set_to_none=True)
    values: dict[str, list[float]] = {}
    for batch in group:
        losses, scores = criterion(batch)
        total = torch.stack(list(losses.values())).sum()
        parts = {name: float(loss.detach()) for name, loss in losses.items()}
        if not math.isfinite(float(total.detach())):
            raise FloatingPointError(
                f"the loss is not finite at step {state.step}, learning rate "
                f"{state.scheduler.get_last_lr()[0]:g}: {parts}; images "
                f"{', '.join(batch.image_ids)}"
            )
        state.scaler.scale(total / len(group)).backward()  # type: ignore[no-untyped-call]
        for name, value in {"loss": float(total.detach()), **parts}.items():
            values.setdefault(name, []).append(value)
        state.window.append(torch.stack([scores.cpu(), batch.targets.cpu(), batch.weights.cpu()]))
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.scheduler.step()
    for name, of_batches in values.items():
        state.losses.setdefault(name, []).append(statistics.fmean(of_batches))
    return state.losses["loss"][-1]


def _log(state: TrainingState, logger: Logger) -> float:
    """Mean losses of the steps, and metrics over the images, since the last log line.

    Returns:
        The image mAP of these images.
    """
    for name, values in state.losses.items():
        logger.scalar(f"train/{name}", statistics.fmean(values), state.step)
    state.losses.clear()
    scores, targets, weights = torch.cat(state.window, dim=1).double().numpy()
    state.window.clear()
    metrics = eval_classification(scores, targets, weights)
    image_map = mean_over_present(metrics.average_precision)
    logger.scalar("train/metric1", image_map, state.step)
    logger.scalar("train/metric2", mean_over_present(metrics.f_beta), state.step)
    logger.scalar("train/learning_rate", state.scheduler.get_last_lr()[0], state.step)
    return image_map


def log_histograms(state: TrainingState, logger: Logger, *, every_layer: bool) -> None:
    """Weights and gradients of the first two layers and the last (a detector's fc7), or of all.

    A frozen layer says so in its name and has no gradient.
    """
    weights = [(name, p) for name, p in state.model.named_parameters() if p.ndim > 1]
    weights.sort(key=lambda weight: not weight[0].startswith("features."))  # the backbone is first
    if not every_layer:
        fc7 = [weight for weight in weights if weight[0] == "head.fc7.weight"]
        weights = weights[:2] + (fc7 or weights[-1:])
    for name, parameter in weights:
        layer = name.removesuffix(".weight")
        suffix = "" if parameter.requires_grad else " (frozen)"
        logger.histogram(f"weights/{layer}{suffix}", parameter.detach(), state.step)
        if parameter.grad is not None:
            logger.histogram(f"gradients/{layer}", parameter.grad, state.step)


def _close_epoch(
    state: TrainingState, end_of_epoch: Callable[[TrainingState], float], checkpoints: Path
) -> None:
    """Evaluate before saving: a kill in between repeats the evaluation, it never skips it."""
    state.save(checkpoints)
    is_best = state.end_evaluation(end_of_epoch(state))
    state.save(checkpoints, is_best=is_best)
