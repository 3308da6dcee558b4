"""The training loop: batches to named losses to steps, with logs, checkpoints and clean stops."""

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from data.image_metrics import eval_classification
from data.types import ImageBatch
from tools.engine.checkpoint import FORMAT_VERSION, check_state_dict, save_checkpoint
from tools.engine.device import Device, random_state, restore_random_state
from tools.engine.interrupts import check_interrupted, is_interrupted
from tools.engine.logger import Logger
from tools.engine.progress import track
from tools.engine.train_settings import LoopSettings, OptimSettings

Step = Callable[[ImageBatch], tuple[dict[str, Tensor], Tensor]]


@dataclass
class TrainingState:
    """Everything that changes while training, and that a checkpoint must hold.

    Attributes:
        model: whose weights are saved.
        optimizer: of the weights that learn.
        scheduler: of the learning rate, stepped every iteration.
        scaler: of the loss, for fp16; idle otherwise.
        settings: of the run, as plain values.
        builder: how to build the model again, as plain values.
        step: iterations done.
        epoch: epochs done.
        batch: steps done of the epoch in progress.
        evaluated: epochs whose end has been evaluated.
        best: highest value of the metric that chooses the best checkpoint.
        window: scores, targets and weights since the last log line.
        losses: of each step since the last log line, by name.
        seconds: spent on training up to the last checkpoint, by all processes together.
        since: monotonic time of the last checkpoint, before it of this process's start.
        averaging: share that the mean of the weights keeps at each step; 0 has no mean.
        average: that mean, by name, of every weight that learns.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    scaler: torch.amp.GradScaler
    settings: dict[str, Any]
    builder: dict[str, Any]
    step: int = 0
    epoch: int = 0
    batch: int = 0
    evaluated: int = 0
    best: float = -math.inf
    window: list[Tensor] = field(default_factory=list)
    losses: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0
    since: float = field(default_factory=time.monotonic)
    averaging: float = 0.0
    average: dict[str, Tensor] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """The mean of the first weights is these weights."""
        if self.averaging:
            self.average = {name: weight.clone() for name, weight in self._learning()}

    def _learning(self) -> list[tuple[str, Tensor]]:
        return [(name, p.detach()) for name, p in self.model.named_parameters() if p.requires_grad]

    def update_average(self) -> None:
        """Take the weights of this step in; in the first steps the mean forgets faster."""
        kept = min(self.averaging, (self.step + 1) / (self.step + 10))
        for name, weight in self._learning() if self.averaging else ():
            self.average[name].lerp_(weight, 1 - kept)

    def weights(self) -> dict[str, Tensor]:
        """The model as it is evaluated and saved: with the mean where there is one."""
        return {**self.model.state_dict(), **self.average}

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the model has the weights that are saved."""
        trained = {name: weight.clone() for name, weight in self._learning() if self.averaging}
        self.model.load_state_dict(self.average, strict=False)
        try:
            yield
        finally:
            self.model.load_state_dict(trained, strict=False)

    def save(self, folder: Path, *, is_best: bool = False) -> None:
        """Write a checkpoint into the folder.

        Raises:
            FloatingPointError: a weight is not finite; nothing is written.
        """
        trained = dict(self._learning()) if self.averaging else {}
        weights = self.weights()
        both = [*weights.items(), *trained.items()]
        broken = [key for key, t in both if not t.isfinite().all()]
        if broken:
            raise FloatingPointError(
                f"the weights are not finite after step {self.step}, learning rate "
                f"{self.scheduler.get_last_lr()[0]:g}: {', '.join(broken[:4])} ({len(broken)} in "
                "all); they are not saved"
            )
        now = time.monotonic()
        self.seconds, self.since = self.seconds + now - self.since, now
        content = {
            "format_version": FORMAT_VERSION,
            "model": weights,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "epoch": self.epoch,
            "batch": self.batch,
            "rng": random_state(),
            "best": self.best,
            "settings": self.settings,
            "builder": self.builder,
            "progress": {
                "evaluated": self.evaluated,
                "window": self.window,
                "losses": self.losses,
                "seconds": self.seconds,
                "trained": trained,
            },
        }
        save_checkpoint(folder, content, is_best=is_best)

    def load(self, content: dict[str, Any]) -> None:
        """Go on from a checkpoint.

        Raises:
            ValueError: its model is not this one; names the tensors.
        """
        check_state_dict(self.model.state_dict(), content["model"], "the checkpoint's model")
        self.model.load_state_dict(content["model"])
        for name, mean in self.average.items():
            mean.copy_(content["model"][name])
        self.model.load_state_dict(content["progress"].get("trained", {}), strict=False)
        self.optimizer.load_state_dict(content["optimizer"])
        self.scheduler.load_state_dict(content["scheduler"])
        self.scaler.load_state_dict(content["scaler"])
        self.step, self.epoch, self.batch = content["step"], content["epoch"], content["batch"]
        self.best = content["best"]
        self.evaluated = content["progress"]["evaluated"]
        self.window = content["progress"]["window"]
        self.losses = content["progress"].get("losses", {})
        self.seconds = content["progress"].get("seconds", 0.0)
        restore_random_state(content["rng"])


def build_optimizer(
    head: Sequence[nn.Parameter], settings: OptimSettings, *, trunk: Sequence[nn.Parameter] = ()
) -> Any:
    """SGD or AdamW, fused: one pass over the weights instead of several.

    Args:
        head: learns at the settings' rate.
        settings: of the optimizer.
        trunk: learns at ``settings.trunk_factor`` times that rate; none if it is frozen.
    """
    groups: list[dict[str, Any]] = [{"params": list(head)}]
    if trunk:
        groups.append({"params": list(trunk), "lr": settings.lr * settings.trunk_factor})
    if settings.name == "sgd":
        return torch.optim.SGD(
            groups,
            lr=settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            fused=True,
        )
    return torch.optim.AdamW(groups, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)


def build_scheduler(
    optimizer: torch.optim.Optimizer, settings: OptimSettings, *, epochs: int, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Learning rate by iteration: constant, steps, or a cosine to zero, after a linear warm-up."""
    warmup = settings.warmup_epochs * steps_per_epoch
    total = epochs * steps_per_epoch

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if settings.schedule == "step":
            return float(settings.gamma ** (step // (settings.step_epochs * steps_per_epoch)))
        if settings.schedule == "cosine":
            return 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / max(total - warmup, 1))
        return 1.0

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def train(
    state: TrainingState,
    step: Step,
    batches: Callable[[int, int], Iterator[ImageBatch]],
    *,
    steps_per_epoch: int,
    settings: LoopSettings,
    device: Device,
    logger: Logger,
    checkpoints: Path,
    end_of_epoch: Callable[[TrainingState], float],
) -> None:
    """Train up to ``settings.epochs`` epochs, from wherever the state is.

    Args:
        state: what is trained; changed in place.
        step: a prepared batch to its losses by name and its image scores ``[B, C]``.
        batches: (epoch, first batch) to the batches of that epoch from there on.
        steps_per_epoch: number of steps, each of ``settings.accumulate`` batches or what is left.
        settings: epochs, how often to log and to save.
        device: its autocast surrounds the step.
        logger: receives ``train/...``.
        checkpoints: folder for them.
        end_of_epoch: evaluates and logs; its value chooses the best checkpoint.

    Raises:
        FloatingPointError: a loss is not finite; nothing is saved after it.
        Interrupted: a signal came; the state is saved.
    """
    while state.epoch < settings.epochs or state.evaluated < state.epoch:
        if state.evaluated < state.epoch:
            _close_epoch(state, end_of_epoch, checkpoints)
            continue
        count = settings.accumulate
        shown = track(
            _in_groups(batches(state.epoch, state.batch * count), count),
            f"epoch {state.epoch + 1}/{settings.epochs}",
            total=steps_per_epoch,
            done=state.batch,
            size=settings.batch_size * count,
        )
        for group in shown:
            _optimize(state, step, group, device)
            state.update_average()
            state.step += 1
            state.batch += 1
            if state.step % settings.log_every == 0 or state.batch == steps_per_epoch:
                _log(state, logger)
            is_edge = state.epoch in (0, settings.epochs - 1) and state.batch == steps_per_epoch
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
    """So many batches at a time; the last group may be smaller."""
    while group := list(islice(batches, count)):
        yield group


def _optimize(state: TrainingState, step: Step, group: list[ImageBatch], device: Device) -> None:
    """One step along the mean gradient of some batches."""
    state.optimizer.zero_grad(set_to_none=True)
    values: dict[str, list[float]] = {}
    for batch in group:
        with device.autocast():
            losses, scores = step(batch)
        total = torch.stack(list(losses.values())).sum()
        found = {name: float(loss.detach()) for name, loss in losses.items()}
        if not math.isfinite(float(total.detach())):
            raise FloatingPointError(
                f"the loss is not finite at step {state.step}, learning rate "
                f"{state.scheduler.get_last_lr()[0]:g}: {found}; images "
                f"{', '.join(batch.image_ids)}"
            )
        state.scaler.scale(total / len(group)).backward()  # type: ignore[no-untyped-call]
        for name, value in {"loss": float(total.detach()), **found}.items():
            values.setdefault(name, []).append(value)
        seen = torch.stack([scores.cpu(), batch.targets.cpu(), batch.weights.cpu()])
        state.window.append(seen)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.scheduler.step()
    for name, parts in values.items():
        state.losses.setdefault(name, []).append(statistics.fmean(parts))


def _log(state: TrainingState, logger: Logger) -> None:
    """Mean losses of the steps, and metrics over the pictures, since the last log line."""
    for name, values in state.losses.items():
        logger.scalar(f"train/{name}", statistics.fmean(values), state.step)
    state.losses.clear()
    scores, targets, weights = torch.cat(state.window, dim=1).double().numpy()
    state.window.clear()
    metrics = eval_classification(scores, targets, weights)
    logger.scalar("train/metric1", metrics.mean_average_precision, state.step)
    logger.scalar("train/metric2", metrics.mean_f_beta, state.step)
    logger.scalar("train/learning_rate", state.scheduler.get_last_lr()[0], state.step)


def log_histograms(state: TrainingState, logger: Logger, *, every_layer: bool) -> None:
    """Weights and gradients of the first two layers and the last (a detector's fc7), or of all.

    A frozen layer says so in its name and has no gradient.
    """
    weights = [(name, p) for name, p in state.model.named_parameters() if p.ndim > 1]
    weights.sort(key=lambda weight: not weight[0].startswith("features."))  # the trunk is first
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
    with state.averaged():
        quality = end_of_epoch(state)
    state.evaluated = state.epoch
    is_best = quality > state.best
    state.best = max(state.best, quality)
    state.save(checkpoints, is_best=is_best)
