"""The training loop: sums, logs, stops and continues."""

import itertools
import math
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from data.types import ImageBatch, ImageSample
from tests.worlds import NumberedImages, training_batches
from tools.cli.signals import Interrupted, install_signal_handlers, is_interrupted
from tools.inputs.samples import TrainingBatches
from tools.loggers.backend import Backend
from tools.loggers.logger import Logger
from tools.loggers.metrics_file import MetricsFile
from tools.loggers.tensorboard import TensorBoardEvents
from tools.runs.checkpoint import load_checkpoint, weights_sha256
from tools.runs.settings import LoopSettings, OptimSettings
from tools.training.loop import Criterion, Recent, log_histograms, train
from tools.training.optim import build_optimizer, build_scheduler
from tools.training.state import TrainingState

COUNT = 10  # images


class Recorder(Backend):
    """Remembers what was logged."""

    name = "recorder"

    def __init__(self) -> None:
        self.scalars: dict[str, list[tuple[int, float]]] = {}
        self.histograms: list[str] = []

    def scalar(self, tag: str, value: float, step: int) -> None:
        self.scalars.setdefault(tag, []).append((step, value))

    def histogram(self, tag: str, values: Tensor, step: int) -> None:
        self.histograms.append(tag)


def batches_of(count: int = COUNT, **options: Any) -> list[ImageBatch]:
    defaults = {"seed": 0, "epoch": 0, "first": 0, "batch_size": 4, "flip": True, "workers": 0}
    return list(training_batches([NumberedImages(count)], **(defaults | options)))


# Steps


class Chain(nn.Module):
    """Three weights: the first is frozen, the others learn."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(1, 1, bias=False)
        self.second = nn.Linear(1, 1, bias=False)
        self.last = nn.Linear(1, 1, bias=False)
        self.drop = nn.Dropout()
        for parameter in self.parameters():
            nn.init.ones_(parameter)
        self.first.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.last(self.second(self.drop(self.first(images.flatten(1)))))
        return logits


class RecordingState(TrainingState):
    """Remembers when it was saved."""

    saved: list[int]

    def save(self, folder: Path, *, is_best: bool = False) -> None:
        self.saved = [*getattr(self, "saved", []), self.step]
        super().save(folder, is_best=is_best)


def make_state(
    schedule: Literal["constant", "cosine"] = "constant", *, averaging: float = 0.0
) -> RecordingState:
    torch.manual_seed(0)
    model = Chain()
    settings = OptimSettings(lr=0.01, momentum=0.9, weight_decay=0.0, schedule=schedule)
    optimizer = build_optimizer([p for p in model.parameters() if p.requires_grad], settings)
    scheduler = build_scheduler(optimizer, settings, epochs=2, steps_per_epoch=3)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    plain = {"seed": 0, "model": {"backbone": "chain"}}
    return RecordingState(model, optimizer, scheduler, scaler, plain, averaging=averaging)


@dataclass
class Run:
    """One call of ``train`` with everything that it needs."""

    folder: Path
    state: RecordingState
    log: Recorder
    quality: Callable[[TrainingState], float] = lambda state: float(state.epoch)
    images: int = COUNT

    def weight(self, name: str) -> nn.Parameter:
        return self.state.model.get_parameter(f"{name}.weight")

    def losses(self, batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
        """A criterion of two losses: the mean square error and a pull of the last weight."""
        logits = self.state.model(batch.images / COUNT)
        error = (logits - batch.targets).square().mean()
        pull = self.weight("last").square().sum()
        return {"image_label": error, "pull": pull}, logits.detach().sigmoid()

    def numbers(self, numbers: Iterator[int]) -> Criterion:
        """A criterion whose loss is the next number and moves nothing."""

        def criterion(batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
            still = self.weight("last").sum() * 0
            return {"number": still + next(numbers)}, torch.ones(len(batch.image_ids), 1)

        return criterion

    def lines(self, slopes: Iterator[float], name: str = "second") -> Criterion:
        """A criterion whose loss is a weight times the next number."""

        def criterion(batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
            slope, weight = next(slopes), self.weight(name).sum()
            losses = {"two": slope * weight / 2, "half": slope * weight / 2}
            return losses, torch.ones(len(batch.image_ids), 1)

        return criterion

    def go(
        self,
        criterion: Criterion | None = None,
        batches: Callable[[int, int], Any] | None = None,
        logger: Logger | None = None,
        **settings: Any,
    ) -> None:
        defaults = {"epochs": 2, "batch_size": 4, "log_every": 1, "checkpoint_every": 1}
        loop = LoopSettings(**(defaults | settings))

        def own(epoch: int, first: int) -> list[ImageBatch]:
            size = loop.batch_size
            return batches_of(self.images, epoch=epoch, first=first, batch_size=size)

        train(
            self.state,
            criterion or self.losses,
            batches or own,
            settings=loop,
            logger=logger or Logger([self.log]),
            checkpoints=self.folder,
            end_of_epoch=self.quality,
        )

    def again(self, state: RecordingState | None = None) -> "Run":
        """A new process that continues from the last checkpoint."""
        other = Run(self.folder, state or make_state(), self.log, self.quality)
        other.state.load(self.loaded())
        return other

    def loaded(self, which: str = "last") -> dict[str, Any]:
        content = load_checkpoint(self.folder, which)
        assert content is not None
        return content


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path, make_state(), Recorder())


def test_losses_are_summed_and_each_is_logged_by_its_name(run: Run) -> None:
    run.go(epochs=1)

    scalars = run.log.scalars
    assert [step for step, _ in scalars["train/loss"]] == [1, 2, 3]
    assert scalars["train/pull"][0] == (1, 1.0)
    for total, error, pull in zip(
        scalars["train/loss"], scalars["train/image_label"], scalars["train/pull"], strict=True
    ):
        assert total[1] == pytest.approx(error[1] + pull[1], rel=1e-6)  # float32


def test_the_gradient_is_that_of_the_sum(run: Run) -> None:
    run.go(run.lines(itertools.repeat(5)), epochs=1)

    # gradient 5, rate .01, momentum .9: speeds 5, 5(1 + .9), 5(1 + .9 + .81)
    expected = 1 - 0.01 * 5 * (1 + 1.9 + 2.71)
    assert run.weight("second").item() == pytest.approx(expected, rel=1e-6)


def test_the_mean_of_the_weights_is_what_is_evaluated_and_saved(tmp_path: Path) -> None:
    run = Run(tmp_path, make_state(averaging=0.3), Recorder())
    trained, evaluated = [], []

    def criterion(batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
        trained.append(run.weight("second").item())
        return run.losses(batch)

    def quality(state: TrainingState) -> float:
        evaluated.append(state.saved_model.get_parameter("second.weight").item())
        return 0.0

    run.quality = quality
    run.go(criterion)

    after = [*trained[1:], run.weight("second").item()]
    mean = trained[0]
    means = []
    for number, value in enumerate(after):
        kept = min(0.3, (number + 1) / (number + 10))
        mean = kept * mean + (1 - kept) * value
        means.append(mean)
    assert evaluated == pytest.approx([means[2], means[5]], rel=1e-6)
    assert after[-1] != pytest.approx(means[5], rel=1e-6)
    saved = run.loaded()["model"]
    assert saved["second.weight"].item() == evaluated[1]
    assert weights_sha256(saved) == weights_sha256(run.state.saved_model.state_dict())


def test_the_mean_is_of_what_learns_and_has_the_buffers_of_the_model() -> None:
    model = nn.BatchNorm1d(1)
    model.bias.requires_grad_(False)
    state = replace(make_state(averaging=0.9), model=model)
    model(torch.tensor([[1.0], [3.0]]))
    nn.init.constant_(model.weight, 11.0)

    state.update_average()

    mean = state.saved_model.state_dict()
    assert mean.pop("weight").item() == pytest.approx(0.1 * 1 + 0.9 * 11)
    assert mean["running_mean"] == 0.1 * 2
    assert all(tensor.equal(model.state_dict()[name]) for name, tensor in mean.items())


def test_without_a_mean_the_last_weights_are_saved_and_frozen_ones_are_kept(run: Run) -> None:
    run.go()

    assert run.state.saved_model is run.state.model
    assert weights_sha256(run.loaded()["model"]) == weights_sha256(run.state.model.state_dict())
    assert run.weight("first").item() == 1
    assert run.weight("second").item() != 1


def test_metrics_are_over_all_images_since_the_last_log_line(run: Run) -> None:
    def criterion(batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
        scores = torch.tensor([[1.0 if name == "000001" else 0.0] for name in batch.image_ids])
        return run.losses(batch)[0], scores

    run.go(criterion, epochs=1, log_every=100)

    # the end of an epoch logs too; one of five positives is found first, the rest with all others
    ((step, precision),) = run.log.scalars["train/metric1"]
    assert step == 3
    assert precision == pytest.approx(1 / 5 + 4 / 5 * 5 / 10)
    assert run.state.window == []


def test_a_log_line_holds_the_mean_losses_of_the_steps_since_the_last_one(run: Run) -> None:
    run.go(run.numbers(itertools.count(1)), log_every=2)

    # steps 1 and 2; 3 ends the epoch; 4; 5 and 6
    expected = [(2, 1.5), (3, 3.0), (4, 4.0), (6, 5.5)]
    assert run.log.scalars["train/number"] == run.log.scalars["train/loss"] == expected
    assert run.state.losses == {}


def test_a_checkpoint_is_written_so_often_and_around_the_evaluation_of_each_epoch(
    run: Run,
) -> None:
    run.go(checkpoint_every=2)

    assert run.state.saved == [2, 3, 3, 4, 6, 6, 6]


@pytest.mark.parametrize(
    ("qualities", "best"),
    [([0.5, 0.7, 0.7, 0.6], (2, 0.7)), ([math.nan, 0.5, math.nan, 0.4], (2, 0.5))],
)
def test_the_best_epoch_is_kept_when_later_ones_are_worse(
    qualities: list[float], best: tuple[int, float], run: Run
) -> None:
    run.quality = lambda state: qualities[state.epoch - 1]
    run.go(epochs=4)

    assert (run.loaded("best")["epoch"], run.loaded("best")["best"]) == best
    last = run.again().state
    assert (last.best_epoch, last.best) == best
    assert last.quality == qualities[-1]


def test_without_any_quality_no_checkpoint_is_the_best(run: Run) -> None:
    run.quality = lambda state: math.nan
    run.go(epochs=1)

    assert load_checkpoint(run.folder, "best") is None
    assert run.state.best == -math.inf


@pytest.mark.parametrize(
    ("every", "expected"),
    [(2, [(2, 2), (3, 0), (4, 1), (6, 0)]), (3, [(3, 0), (6, 0)])],  # no end comes twice
)
def test_the_validation_is_evaluated_within_epochs_too_and_only_their_ends_choose_the_best(
    every: int, expected: list[tuple[int, int]], run: Run
) -> None:
    seen = []

    def quality(state: TrainingState) -> float:
        seen.append((state.step, state.batch))
        return -float(state.step)

    run.quality = quality
    run.go(evaluate_every=every)

    assert seen == expected
    assert run.state.best_epoch == 1
    assert run.loaded("best")["step"] == 3


def test_an_evaluation_within_an_epoch_that_a_signal_stops_is_done_when_the_run_continues(
    run: Run,
) -> None:
    seen = []

    def quality(state: TrainingState) -> float:
        seen.append(state.step)
        if len(seen) == 1:
            raise Interrupted(signal.SIGTERM)
        return 0.0

    run.quality = quality
    with pytest.raises(Interrupted):
        run.go(evaluate_every=2, checkpoint_every=100)
    again = run.again()
    assert again.state.is_due(2)
    again.go(evaluate_every=2)

    assert seen == [2, 2, 3, 4, 6]


def test_a_finished_training_does_nothing(run: Run) -> None:
    run.go()
    saved = run.state.saved
    run.go()

    assert run.state.step == 6
    assert run.state.saved == saved


def test_a_person_who_watches_sees_the_mean_loss_of_recent_steps_and_the_last_metric() -> None:
    recent = Recent()
    assert str(recent) == ""
    recent.losses += [100.0, *[0.25] * 10, *[0.75] * 10]
    assert str(recent) == "loss 0.5000"
    recent.image_map = 0.125
    assert str(recent) == "loss 0.5000, mAP 0.125"


# Several batches in a step


def test_two_batches_accumulate_to_the_step_of_one_twice_as_large(tmp_path: Path) -> None:
    weights = []
    for batch_size, accumulate in ((4, 2), (8, 1)):
        run = Run(tmp_path / f"{batch_size}", make_state(), Recorder(), images=16)
        run.state.model.eval()  # dropout draws for each batch anew
        run.go(epochs=1, batch_size=batch_size, accumulate=accumulate)
        assert run.state.step == 2
        weights.append(run.state.model.state_dict())

    torch.testing.assert_close(weights[0], weights[1])  # float32 sums in another order
    assert weights[0]["last.weight"].item() != 1


def test_the_last_step_of_an_epoch_may_have_fewer_batches(run: Run) -> None:
    seen = []

    def criterion(batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
        images = sum(part.shape[1] for part in run.state.window)  # of the log line so far
        seen.append((run.state.step, len(batch.image_ids), images))
        return run.losses(batch)

    run.go(criterion, accumulate=2, log_every=100)

    expected = [(0, 4), (0, 4), (1, 2), (2, 4), (2, 4), (3, 2)]
    assert [(step, count) for step, count, _ in seen] == expected
    assert [images for *_, images in seen] == [0, 0, 8] * 2  # a checkpoint reads them
    assert [step for step, _ in run.log.scalars["train/loss"]] == [2, 4]


def test_the_gradient_of_a_step_is_the_mean_over_its_batches(run: Run) -> None:
    run.go(run.lines(iter([1, 5, 4])), epochs=1, accumulate=2)

    # gradients (1 + 5) / 2 and 4 / 1, rate .01, momentum .9: speeds 3 and 3 * .9 + 4
    assert run.weight("second").item() == pytest.approx(1 - 0.01 * (3 + 6.7), rel=1e-6)  # float32


def test_every_step_counts_the_same_in_a_log_line(run: Run) -> None:
    run.go(run.numbers(itertools.count(1)), epochs=1, accumulate=2, log_every=100)

    # batches 1 and 2; 3 alone
    assert run.log.scalars["train/number"] == [(2, (1.5 + 3) / 2)]


def test_a_step_of_no_batches_is_refused() -> None:
    with pytest.raises(ValueError, match=r"--loop\.accumulate is above 0, got 0"):
        LoopSettings(accumulate=0)


# Losses that are not finite


@pytest.mark.parametrize(
    ("value", "accumulate", "step", "number"),
    [(math.nan, 1, 4, 1), (-math.inf, 1, 4, 1), (math.nan, 2, 2, 1)],
)
def test_a_loss_that_is_not_finite_stops_at_the_next_look_and_names_everything(
    value: float, accumulate: int, step: int, number: int, run: Run
) -> None:
    images = batches_of(epoch=1)[number].image_ids

    def criterion(batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
        losses, scores = run.losses(batch)
        if run.state.step == step and batch.image_ids == images:
            losses["pull"] = losses["pull"] * value
        return losses, scores

    with pytest.raises(FloatingPointError) as stopped:
        run.go(criterion, accumulate=accumulate)

    text = str(stopped.value)
    assert f"not finite at step {step}, learning rate 0.01: {{'image_label': " in text
    assert f"'pull': {value}" in text
    assert text.endswith(f"images {', '.join(images)}")
    assert run.loaded()["step"] == step


@pytest.mark.parametrize(
    ("settings", "steps", "saved"),
    [
        ({"log_every": 2, "checkpoint_every": 9}, 2, None),
        ({"log_every": 9, "checkpoint_every": 2}, 2, None),
        ({"log_every": 9, "checkpoint_every": 1}, 2, 1),
        ({"log_every": 9, "checkpoint_every": 9}, 3, None),  # the end of the epoch
    ],
)
def test_losses_are_looked_at_in_log_lines_and_before_every_checkpoint(
    settings: dict[str, Any], steps: int, saved: int | None, run: Run
) -> None:
    losses = run.lines(iter([1.0, math.nan, 1.0, 1.0, 1.0, 1.0]))

    with pytest.raises(FloatingPointError, match=r"not finite at step 1, .*000"):
        run.go(losses, **settings)

    assert run.state.step == steps
    last = load_checkpoint(run.folder)
    assert (last and last["step"]) == saved


def test_losses_that_cancel_to_no_number_stop_too(run: Run) -> None:
    def criterion(batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
        infinite = run.weight("last").sum() * math.inf
        return {"up": infinite, "down": -infinite}, torch.ones(len(batch.image_ids), 1)

    with pytest.raises(FloatingPointError, match=r"'up': inf, 'down': -inf"):
        run.go(criterion)
    assert list(run.folder.iterdir()) == []


class Spoiled(torch.autograd.Function):
    """Nothing forwards, an infinite gradient backward."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * math.inf


def test_weights_that_are_not_finite_are_never_saved(run: Run) -> None:
    def criterion(batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
        losses, scores = run.losses(batch)
        if run.state.step == 1:
            losses["pull"] = Spoiled.apply(losses["pull"])
        return losses, scores

    with pytest.raises(FloatingPointError, match=r"weights are not finite after step 2, .*last"):
        run.go(criterion)
    assert run.loaded()["step"] == 1


# Stopping and continuing


def interrupt_at(run: Run, number: int, during: Criterion | None = None) -> Criterion:
    def criterion(batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
        if run.state.step == number and not is_interrupted():
            signal.raise_signal(signal.SIGTERM)
        return (during or run.losses)(batch)

    install_signal_handlers()
    return criterion


@pytest.mark.parametrize(("batch_size", "accumulate"), [(4, 1), (2, 2)])  # three steps an epoch
@pytest.mark.parametrize("number", range(6))
def test_a_stopped_training_continues_bit_by_bit(
    number: int, batch_size: int, accumulate: int, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"batch_size": batch_size, "accumulate": accumulate}
    options |= {"log_every": 2, "checkpoint_every": 100}
    whole, first = (
        Run(tmp_path / name, make_state("cosine", averaging=0.6), Recorder())
        for name in ("whole", "parts")
    )
    torch.manual_seed(0)
    whole.go(**options)
    torch.manual_seed(0)
    with pytest.raises(Interrupted):
        first.go(interrupt_at(first, number), **options)
    install_signal_handlers()
    state = make_state("cosine", averaging=0.6)
    torch.manual_seed(99)
    second = first.again(state)
    assert second.state.step == number + 1  # the step that the signal met is not lost
    second.go(**options)

    for name in ("model", "saved_model"):
        one, other = (getattr(run.state, name).state_dict() for run in (second, whole))
        assert weights_sha256(one) == weights_sha256(other)
    assert second.log.scalars == whole.log.scalars


def test_losses_before_a_stop_count_in_the_next_log_line(run: Run) -> None:
    numbers = itertools.count(1)
    with pytest.raises(Interrupted):
        run.go(interrupt_at(run, 0, run.numbers(numbers)), log_every=2)
    install_signal_handlers()
    assert run.log.scalars == {}
    again = run.again()
    again.go(again.numbers(numbers), epochs=1, log_every=2)

    assert again.log.scalars["train/number"] == [(2, (1 + 2) / 2), (3, 3.0)]


@pytest.mark.parametrize("number", range(6))
def test_a_stop_leaves_the_mean_loss_of_the_epoch_as_it_is(number: int, run: Run) -> None:
    numbers, means = itertools.count(1), []

    def quality(state: TrainingState) -> float:
        means.append(state.epoch_loss)
        return 0.0

    run.quality = quality
    with pytest.raises(Interrupted):
        run.go(interrupt_at(run, number, run.numbers(numbers)))
    install_signal_handlers()
    again = run.again()
    again.go(again.numbers(numbers))

    assert means == [(1 + 2 + 3) / 3, (4 + 5 + 6) / 3]


def test_what_a_checkpoint_of_an_earlier_version_does_not_know_is_not_told(run: Run) -> None:
    run.go(epochs=1)
    content = run.loaded()
    for name in ("quality", "best_epoch", "epoch_loss", "epoch_start"):
        del content["progress"][name]
    state = make_state()
    state.load(content)

    assert state.best_epoch == 0
    assert math.isnan(state.quality)
    assert math.isnan(state.epoch_loss)


def test_an_evaluation_that_did_not_end_is_done_again(run: Run) -> None:
    evaluated = []

    def quality(state: TrainingState) -> float:
        evaluated.append(state.epoch)
        if len(evaluated) == 1:
            raise KeyboardInterrupt
        return 0.5

    run.quality = quality
    with pytest.raises(KeyboardInterrupt):
        run.go()
    run.again().go()

    assert evaluated == [1, 1, 2]


def test_the_time_of_all_processes_is_added(run: Run) -> None:
    run.state.since -= 100
    run.go(epochs=1)
    again = run.again()
    again.state.since -= 50
    again.state.save(run.folder)

    assert 150 < again.state.seconds < 170


def test_a_checkpoint_of_another_model_is_refused_by_its_tensors(run: Run) -> None:
    run.go(epochs=1)
    content = run.loaded()
    content["model"]["other.weight"] = content["model"].pop("last.weight")

    with pytest.raises(ValueError, match=r"the checkpoint: its model: lacks last\.weight"):
        make_state().load(content)


# Histograms


class MissingImages(NumberedImages):
    def sample(self, index: int, *, flipped: bool) -> ImageSample:
        if index == 5:
            raise ValueError("5.jpg: the image does not decode\n  (ValueError: truncated)")
        return super().sample(index, flipped=flipped)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_a_worker_cannot_read_is_named_without_a_traceback(
    workers: int, run: Run
) -> None:
    images = [MissingImages(COUNT)]
    batches = TrainingBatches(images, seed=0, batch_size=4, flip=True, workers=workers)

    with pytest.raises(ValueError, match=r"^5\.jpg: the image does not decode\n"):
        run.go(batches=batches)


@pytest.mark.slow
def test_thousands_of_steps_keep_memory_threads_and_files(run: Run) -> None:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("what a process holds is read in /proc")
    events = run.folder / "events"
    held = []
    with Logger([MetricsFile(run.folder / "m.jsonl"), TensorBoardEvents(events)]) as logger:
        for epochs in (1, 2, 3):
            run.go(
                batches=lambda *_: batches_of() * 500,
                logger=logger,
                epochs=epochs,
                log_every=10,
                checkpoint_every=1000,
                histogram_every=500,
            )
            memory = int(statm.read_text().split()[1]) * resource.getpagesize()
            files = len(list(Path("/proc/self/fd").iterdir()))
            held.append((memory, threading.active_count(), files))

    assert run.state.step == 4500
    assert held[1][1:] == held[2][1:]
    assert held[2][0] - held[1][0] < 1.5e6  # in 1500 steps


def test_histograms_say_which_layers_are_frozen_and_give_those_no_gradient(run: Run) -> None:
    run.go(epochs=1, histogram_every=3)

    assert run.log.histograms == [
        "weights/first (frozen)",
        *("weights/second", "gradients/second", "weights/last", "gradients/last"),
    ]


@pytest.mark.parametrize(("every_layer", "layers"), [(False, "014"), (True, "01234")])
def test_histograms_show_the_first_two_layers_and_the_last_or_all(
    every_layer: bool, layers: str, run: Run
) -> None:
    run.state.model = nn.Sequential(*(nn.Linear(1, 1) for _ in range(5)))

    log_histograms(run.state, Logger([run.log]), every_layer=every_layer)

    assert run.log.histograms == [f"weights/{layer}" for layer in layers]


def test_layers_have_the_names_of_the_field_where_they_have_one(run: Run) -> None:
    head = nn.ModuleDict({"fc6": nn.Linear(1, 1), "fc7": nn.Linear(1, 1), "score": nn.Linear(1, 1)})
    features = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Conv2d(1, 1, 1))
    run.state.model = nn.ModuleDict({"head": head, "features": features})

    log_histograms(run.state, Logger([run.log]), every_layer=True)

    layers = ["conv1 (features.0)", "conv2 (features.2)", "fc6 (head.fc6)", "fc7 (head.fc7)"]
    assert run.log.histograms == [f"weights/{layer}" for layer in (*layers, "head.score")]


@pytest.mark.parametrize(("every", "count"), [(1000, 3), (5, 4)])  # after 3, 6 and 9; 5 too
def test_histograms_come_so_often_and_at_the_end_of_every_epoch(
    every: int, count: int, run: Run
) -> None:
    run.go(epochs=3, histogram_every=every)

    assert run.log.histograms.count("weights/last") == count
