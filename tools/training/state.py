"""What a training run is at one moment: its weights, their mean, its optimizer, its position."""

import copy
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from data.checks import check_state_dict
from tools.models.ranks import count, gather, is_first, rank
from tools.runs.checkpoint import FORMAT_VERSION, save_checkpoint
from tools.training.seeds import random_state, restore_random_state

PROGRESS = (
    *("evaluated", "evaluated_step", "window", "losses", "seconds"),
    *("quality", "best_epoch", "epoch_loss", "epoch_start"),  # what is printed alone
)


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What a batch has given, on the device that computed it: looking at it would wait for that.

    Attributes:
        losses: scalars by name, ``loss`` their sum.
        scores: ``[B, C]`` of the images.
        images: their names.
        targets: ``[B, C]`` in {0, 1}.
        weights: ``[B, C]``, 0 = ignored.
    """

    losses: dict[str, Tensor]
    scores: Tensor
    images: tuple[str, ...]
    targets: Tensor
    weights: Tensor


@dataclass(frozen=True, slots=True)
class UnreadStep:
    """A step with losses that nobody has looked at.

    Attributes:
        step: iterations before it.
        batch: steps of its epoch before it.
        learning_rate: of the first weights.
        results: of its batches.
    """

    step: int
    batch: int
    learning_rate: float
    results: Sequence[BatchResult]


@dataclass
class TrainingState:
    """Everything that changes while training, and that a checkpoint must hold.

    Attributes:
        model: that is trained.
        optimizer: of the weights that learn.
        scheduler: of the learning rate, stepped every iteration.
        scaler: of the loss, for fp16; idle otherwise.
        settings: of the run, as plain values.
        step: iterations done.
        epoch: epochs done.
        batch: steps done of the epoch in progress.
        evaluated: epochs whose end has been evaluated.
        best: highest value of the metric that chooses the best checkpoint.
        evaluated_step: iterations after which the last evaluation within an epoch came.
        quality: that metric after the last evaluated epoch; nan before.
        best_epoch: the epoch of the highest value; 0 where that is not known.
        epoch_loss: mean loss of the steps of the epoch in progress, or of the one that ended last;
            nan where that is not known.
        epoch_start: ``seconds`` when that epoch began.
        unread: steps done since ``read``.
        window: scores, targets and weights since the last log line.
        losses: of each step since the last log line, by name.
        seconds: spent on training up to the last checkpoint, by all processes together.
        since: monotonic time of the last checkpoint, before it of this process's start.
        averaging: fraction that the mean of the weights keeps at each step; 0 has no mean.
        average: the model with that mean; its buffers are the model's own.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    scaler: torch.amp.GradScaler
    settings: dict[str, Any]
    step: int = 0
    epoch: int = 0
    batch: int = 0
    evaluated: int = 0
    evaluated_step: int = 0
    best: float = -math.inf
    quality: float = math.nan
    best_epoch: int = 0
    epoch_loss: float = math.nan
    epoch_start: float = 0.0
    unread: list[UnreadStep] = field(default_factory=list)
    window: list[Tensor] = field(default_factory=list)
    losses: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0
    since: float = field(default_factory=time.monotonic)
    averaging: float = 0.0
    average: nn.Module | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """The mean of the first weights is these weights."""
        if self.averaging:
            self.average = copy.deepcopy(self.model)

    def begin_epoch(self) -> None:
        """Nothing of the next epoch is done."""
        self.epoch_loss = 0.0
        self.epoch_start = self.seconds + time.monotonic() - self.since

    def end_step(self, results: Sequence[BatchResult], learning_rate: float) -> None:
        """Count a step with the results of its batches."""
        self.update_average()
        self.unread.append(UnreadStep(self.step, self.batch, learning_rate, results))
        self.step += 1
        self.batch += 1

    def read(self) -> list[float]:
        """Take in what the unread steps of every rank have given.

        A device has then done all of them. Every rank has to call it.

        Returns:
            The losses of these steps.

        Raises:
            FloatingPointError: one is not finite; names the first such step.
        """
        steps, self.unread = self.unread, []
        of_ranks, read = gather(_read_losses(steps)), []
        for number, step in enumerate(steps):
            of_step: dict[str, list[float]] = {}
            for of_rank in of_ranks:
                for images, losses, seen in of_rank[number]:
                    _check_losses(losses, step, images)
                    for name, loss in losses.items():
                        of_step.setdefault(name, []).append(loss)
                    self.window.append(seen)
            for name, values in of_step.items():
                self.losses.setdefault(name, []).append(statistics.fmean(values))
            read.append(self.losses["loss"][-1])
            self.epoch_loss += (read[-1] - self.epoch_loss) / (step.batch + 1)
        return read

    def is_due(self, every: int) -> bool:
        """Whether an evaluation within an epoch comes after this step and has not been yet."""
        is_time = every > 0 and self.step % every == 0
        return is_time and self.batch > 0 and self.step > self.evaluated_step

    def end_evaluation(self, quality: float) -> bool:
        """Take the value of an epoch in; whether it is the best so far."""
        self.evaluated, self.quality = self.epoch, quality
        is_best = quality > self.best
        if is_best:
            self.best, self.best_epoch = quality, self.epoch
        return is_best

    @torch.no_grad()
    def update_average(self) -> None:
        """Take the weights of this step in; in the first steps the mean forgets faster."""
        if self.average is not None:
            kept = min(self.averaging, (self.step + 1) / (self.step + 10))
            means = list[Tensor](self.average.parameters())
            weights = list[Tensor](self.model.parameters())
            torch._foreach_lerp_(means, weights, 1 - kept)
            for mean, buffer in zip(self.average.buffers(), self.model.buffers(), strict=True):
                mean.copy_(buffer)

    @property
    def saved_model(self) -> nn.Module:
        """The model as it is evaluated and saved: with the mean where there is one."""
        return self.model if self.average is None else self.average

    def save(self, folder: Path, *, is_best: bool = False) -> None:
        """Write a checkpoint into the folder; rank 0 does, and every rank has to call it.

        Raises:
            FloatingPointError: a loss or a weight is not finite; nothing is written.
        """
        self.read()
        of_ranks = gather(random_state())
        if not is_first():
            return
        weights = dict(self.saved_model.state_dict())
        learning = self.model.named_parameters() if self.averaging else ()
        trained = {name: p.detach() for name, p in learning if p.requires_grad}
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
            "builder": self.settings["model"],
            "progress": {
                **{name: getattr(self, name) for name in PROGRESS},
                "trained": trained,
                "rng_of_ranks": of_ranks[1:],
            },
        }
        save_checkpoint(folder, content, is_best=is_best)

    def load(self, content: dict[str, Any], *, context: str = "the checkpoint") -> None:
        """Go on from a checkpoint.

        Args:
            content: of it.
            context: where it is from, for a message.

        Raises:
            ValueError: its model is not this one, which names the tensors; or it is of another
                number of ranks.
        """
        of_ranks = [content["rng"], *content["progress"].get("rng_of_ranks", [])]
        if len(of_ranks) != count():
            raise ValueError(
                f"{context}: the run was started with {_ranks(len(of_ranks))}, now with "
                f"{_ranks(count())} (go on with as many, or start another --run-dir)"
            )
        check_state_dict(self.model.state_dict(), content["model"], context=f"{context}: its model")
        self.saved_model.load_state_dict(content["model"])
        self.model.load_state_dict(content["model"] | content["progress"].get("trained", {}))
        self.optimizer.load_state_dict(content["optimizer"])
        self.scheduler.load_state_dict(content["scheduler"])
        self.scaler.load_state_dict(content["scaler"])
        self.step, self.epoch, self.batch = content["step"], content["epoch"], content["batch"]
        self.best = content["best"]
        for name in PROGRESS:
            setattr(self, name, content["progress"].get(name, getattr(self, name)))
        restore_random_state(of_ranks[rank()])


def _ranks(number: int) -> str:
    return f"{number} rank{'s'[: number - 1]}"


# Names of a batch's images, its losses, and scores, targets and weights ``[3, B, C]``.
ReadBatch = tuple[tuple[str, ...], dict[str, float], Tensor]


def _read_losses(steps: Sequence[UnreadStep]) -> list[list[ReadBatch]]:
    """The batches of each step, with one look at a device for all losses."""
    every = [loss for step in steps for of in step.results for loss in of.losses.values()]
    numbers = iter(torch.stack(every).tolist() if every else ())
    return [
        [
            (
                result.images,
                {name: next(numbers) for name in result.losses},
                torch.stack([result.scores.cpu(), result.targets, result.weights]),
            )
            for result in step.results
        ]
        for step in steps
    ]


def _check_losses(losses: dict[str, float], step: UnreadStep, images: tuple[str, ...]) -> None:
    if not math.isfinite(losses["loss"]):
        parts = {name: loss for name, loss in losses.items() if name != "loss"}
        raise FloatingPointError(
            f"the loss is not finite at step {step.step}, learning rate "
            f"{step.learning_rate:g}: {parts}; images {', '.join(images)}"
        )
