"""The training loop: batches to named losses to steps, with logs, checkpoints and clean stops."""

import math
import statistics
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from data.evaluation.image_metrics import eval_classification, mean_over_present
from data.parallel import own_error
from data.types import ImageBatch
from tools.cli.console import show_progress
from tools.cli.signals import check_interrupted
from tools.loggers.logger import Logger
from tools.models import ranks
from tools.runs.settings import LoopSettings
from tools.training.state import BatchResult, TrainingState

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
        end_of_epoch: evaluates and logs; its value chooses the best checkpoint. It is called within
            an epoch, too, where ``state.batch`` is not 0, if the settings ask for that.

    Raises:
        FloatingPointError: a loss was not finite, at the next log line or checkpoint; the state
            is not saved after it.
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
        shown = show_progress(
            _in_groups(iter(rest), count),
            f"epoch {state.epoch + 1}/{settings.epochs}",
            total=steps,
            done=state.batch,
            size=settings.batch_size * count * ranks.count(),
            news=recent.__str__,
        )
        between = partial(_evaluate_between, state, settings, end_of_epoch, checkpoints)
        between(steps)  # where a run was stopped in it
        for group in shown:
            optimize(state, criterion, group)
            if state.step % settings.log_every == 0 or state.batch == steps:
                recent.losses += state.read()
                recent.image_map = _log(state, logger)
            if state.step % settings.histogram_every == 0 or state.batch == steps:
                log_histograms(state, logger, every_layer=settings.histogram_every_layer)
            if ranks.are_interrupted():
                state.save(checkpoints)
                logger.flush()
                ranks.wait_for_all()  # until it is written
                check_interrupted()
            if state.step % settings.checkpoint_every == 0:
                state.save(checkpoints)
            between(steps)
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


def optimize(state: TrainingState, criterion: Criterion, group: list[ImageBatch]) -> None:
    """One step along the mean gradient of some batches; nothing waits for the device."""
    state.optimizer.zero_grad(set_to_none=True)
    results, learning_rate = [], float(state.scheduler.get_last_lr()[0])
    for number, batch in enumerate(group, start=1):
        is_last = number == len(group)
        with nullcontext() if is_last else ranks.own_gradients(criterion):
            losses, scores = criterion(batch)
            total = torch.stack(list(losses.values())).sum()
            state.scaler.scale(total / len(group)).backward()  # type: ignore[no-untyped-call]
        every = {name: loss.detach() for name, loss in {"loss": total, **losses}.items()}
        results.append(BatchResult(every, scores, batch.image_ids, batch.targets, batch.weights))
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.scheduler.step()
    state.end_step(results, learning_rate)


def _log(state: TrainingState, logger: Logger) -> float:
    """Mean losses of the steps that are read, and metrics of their images, since the last line.

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

    A layer is named as the field names it, conv1, conv2 or fc7, where it has such a name. A frozen
    one says so in its name and has no gradient.
    """
    weights = [(name, p) for name, p in state.model.named_parameters() if p.ndim > 1]
    weights.sort(key=lambda weight: not weight[0].startswith("features."))  # the backbone is first
    convolutions = [name for name, parameter in weights if parameter.ndim == 4]
    numbers = {name: number for number, name in enumerate(convolutions, start=1)}
    if not every_layer:
        fc7 = [weight for weight in weights if weight[0] == "head.fc7.weight"]
        weights = weights[:2] + (fc7 or weights[-1:])
    for name, parameter in weights:
        layer = name.removesuffix(".weight")
        if name in numbers:
            layer = f"conv{numbers[name]} ({layer})"
        elif (last := layer.rpartition(".")[2]).startswith("fc"):
            layer = f"{last} ({layer})"
        suffix = "" if parameter.requires_grad else " (frozen)"
        logger.histogram(f"weights/{layer}{suffix}", parameter.detach(), state.step)
        if parameter.grad is not None:
            logger.histogram(f"gradients/{layer}", parameter.grad, state.step)


def _evaluate_between(
    state: TrainingState,
    settings: LoopSettings,
    evaluate: Callable[[TrainingState], float],
    checkpoints: Path,
    steps: int,
) -> None:
    """Evaluate within an epoch of so many steps, if it is time; a signal then loses no step."""
    if state.is_due(settings.evaluate_every) and state.batch < steps:
        state.save(checkpoints)
        evaluate(state)
        state.evaluated_step = state.step


def _close_epoch(
    state: TrainingState, end_of_epoch: Callable[[TrainingState], float], checkpoints: Path
) -> None:
    """Evaluate before saving: a kill in between repeats the evaluation, it never skips it."""
    state.save(checkpoints)
    is_best = state.end_evaluation(end_of_epoch(state))
    state.save(checkpoints, is_best=is_best)
