"""The training loop: sums, logs, stops, goes on; its batches and its learning rates."""

import itertools
import math
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from data.types import ImageBatch, ImageSample
from tools.cli.signals import Interrupted, install_signal_handlers, is_interrupted
from tools.inputs.samples import training_batches
from tools.loggers.backend import Backend
from tools.loggers.logger import Logger
from tools.models.device import Device
from tools.runs.checkpoint import load_checkpoint, weights_sha256
from tools.training.loop import Criterion, log_histograms, train
from tools.training.optim import build_optimizer, build_scheduler
from tools.training.settings import LoopSettings, OptimSettings
from tools.training.state import TrainingState

CPU = Device("cpu", "off")
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


@dataclass(frozen=True)
class Numbers:
    """Images of one pixel that hold their own number, negative when flipped."""

    count: int = COUNT
    multiple: int = 1

    def __len__(self) -> int:
        return self.count

    def sample(self, index: int, *, flipped: bool) -> ImageSample:
        pixel = torch.full((1, 1, 1), float(-index if flipped else index))
        target = torch.tensor([float(index % 2)])
        return ImageSample(f"{index:06d}", pixel, target, torch.ones(1), (1, 1))

    def prepare(self, batch: ImageBatch, device: Device) -> ImageBatch:
        return batch


def batches_of(count: int = COUNT, **options: Any) -> list[ImageBatch]:
    defaults = {"seed": 0, "epoch": 0, "first": 0, "batch_size": 4, "flip": True, "workers": 0}
    return list(training_batches([Numbers(count)], **(defaults | options)))


def ids_of(batches: list[ImageBatch]) -> list[str]:
    return [image_id for batch in batches for image_id in batch.image_ids]


def pixels_of(batches: list[ImageBatch]) -> list[float]:
    return [float(pixel) for batch in batches for pixel in batch.images.flatten()]


# Batches


def test_an_epoch_shows_every_image_once() -> None:
    assert sorted(ids_of(batches_of())) == [f"{index:06d}" for index in range(COUNT)]


def test_the_last_smaller_batch_is_kept() -> None:
    assert [len(batch.image_ids) for batch in batches_of()] == [4, 4, 2]


def test_the_same_seed_and_epoch_give_the_same_batches() -> None:
    assert pixels_of(batches_of(seed=3, epoch=5)) == pixels_of(batches_of(seed=3, epoch=5))


@pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 1}])
def test_another_seed_or_epoch_gives_another_order(other: dict[str, int]) -> None:
    assert ids_of(batches_of(**other)) != ids_of(batches_of())


@pytest.mark.parametrize("first", [0, 1, 2, 3])
def test_an_epoch_entered_in_the_middle_goes_on_as_the_whole_one(first: int) -> None:
    assert pixels_of(batches_of(first=first)) == pixels_of(batches_of()[first:])


def test_the_batch_size_does_not_change_order_or_flipping() -> None:
    assert pixels_of(batches_of(batch_size=3)) == pixels_of(batches_of(batch_size=10))


def test_without_flip_nothing_is_flipped() -> None:
    assert all(pixel >= 0 for pixel in pixels_of(batches_of(flip=False)))


def test_with_flip_an_image_is_flipped_in_about_half_of_the_epochs() -> None:
    pixels = [pixel for epoch in range(100) for pixel in pixels_of(batches_of(epoch=epoch))]

    flipped = sum(pixel < 0 for pixel in pixels)
    assert flipped == pytest.approx(450, abs=60)  # of 900 that are not 0: four deviations


def test_batches_draw_nothing_from_the_models_generator(rng: torch.Generator) -> None:
    before = torch.get_rng_state()
    batches_of()

    assert torch.get_rng_state().equal(before)


# Steps


class Pair(nn.Module):
    """Two weights: one learns, one is frozen."""

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


def make_state(
    schedule: Literal["constant", "cosine"] = "constant", *, averaging: float = 0.0
) -> TrainingState:
    torch.manual_seed(0)
    model = Pair()
    settings = OptimSettings(lr=0.01, momentum=0.9, weight_decay=0.0, schedule=schedule)
    optimizer = build_optimizer([p for p in model.parameters() if p.requires_grad], settings)
    scheduler = build_scheduler(optimizer, settings, epochs=2, steps_per_epoch=3)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    plain: tuple[dict[str, Any], dict[str, Any]] = ({"seed": 0}, {"backbone": "pair"})
    return TrainingState(model, optimizer, scheduler, scaler, *plain, averaging=averaging)


def learn(state: TrainingState) -> Criterion:
    """A step with two losses: the mean square error and a pull of the last weight."""

    def step(batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
        logits = state.model(batch.images / COUNT)
        pull = state.model.get_parameter("last.weight").square().sum()
        error = (logits - batch.targets).square().mean()
        return {"image_label": error, "pull": pull}, logits.detach().sigmoid()

    return step


@dataclass
class Run:
    """One call of ``train`` with everything that it needs."""

    folder: Path
    state: TrainingState
    log: Recorder
    quality: Callable[[TrainingState], float] = lambda state: float(state.epoch)
    images: int = COUNT

    def go(self, step: Criterion | None = None, **settings: Any) -> None:
        defaults = {"epochs": 2, "batch_size": 4, "log_every": 1, "checkpoint_every": 1}
        loop = LoopSettings(**(defaults | settings))
        size = loop.batch_size
        train(
            self.state,
            step or learn(self.state),
            lambda epoch, first: iter(
                batches_of(self.images, epoch=epoch, first=first, batch_size=size)
            ),
            steps_per_epoch=math.ceil(math.ceil(self.images / size) / loop.accumulate),
            settings=loop,
            device=CPU,
            logger=Logger([self.log]),
            checkpoints=self.folder,
            end_of_epoch=self.quality,
        )

    def saved_step(self) -> int:
        loaded = load_checkpoint(self.folder)
        return 0 if loaded is None else int(loaded["step"])


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
    weight = run.state.model.get_parameter("second.weight")

    def step(batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
        return {"two": 2 * weight.sum(), "three": 3 * weight.sum()}, torch.ones(
            len(batch.image_ids), 1
        )

    run.go(step, epochs=1, checkpoint_every=100)

    # gradient 5, rate .01, momentum .9: speeds 5, 5(1 + .9), 5(1 + .9 + .81)
    assert weight.item() == pytest.approx(1 - 0.01 * 5 * (1 + 1.9 + 2.71), rel=1e-6)


def test_frozen_weights_stay(run: Run) -> None:
    run.go()

    assert run.state.model.get_parameter("first.weight").item() == 1
    assert run.state.model.get_parameter("second.weight").item() != 1


def test_the_mean_of_the_weights_is_what_is_evaluated_and_saved(tmp_path: Path) -> None:
    state = make_state(averaging=0.3)
    weight = state.model.get_parameter("second.weight")
    trained, evaluated = [], []

    def step(batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
        trained.append(weight.item())
        return learn(state)(batch)

    def quality(state: TrainingState) -> float:
        evaluated.append(weight.item())
        return 0.0

    Run(tmp_path, state, Recorder(), quality).go(step, epochs=2)

    after = [*trained[1:], weight.item()]
    mean = trained[0]
    means = []
    for number, value in enumerate(after):
        kept = min(0.3, (number + 1) / (number + 10))
        mean = kept * mean + (1 - kept) * value
        means.append(mean)
    assert evaluated == pytest.approx([means[2], means[5]], rel=1e-6)
    assert weight.item() != pytest.approx(means[5], rel=1e-6)
    saved = load_checkpoint(tmp_path)
    assert saved is not None
    assert saved["model"]["second.weight"].item() == evaluated[1]
    assert weights_sha256(saved["model"]) == weights_sha256(state.weights())


def test_without_a_mean_the_last_weights_are_saved(run: Run) -> None:
    run.go()

    saved = load_checkpoint(run.folder)
    assert saved is not None
    assert weights_sha256(saved["model"]) == weights_sha256(run.state.model.state_dict())


def test_metrics_are_over_all_images_since_the_last_log_line(run: Run) -> None:
    def step(batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
        losses, _ = learn(run.state)(batch)
        scores = torch.tensor([[1.0 if name == "000001" else 0.0] for name in batch.image_ids])
        return losses, scores

    run.go(step, epochs=1, log_every=100)

    # the end of an epoch logs too; one of five positives is found first, the rest with all others
    ((step_of_log, precision),) = run.log.scalars["train/metric1"]
    assert step_of_log == 3
    assert precision == pytest.approx(1 / 5 + 4 / 5 * 5 / 10)
    assert run.state.window == []


def rising(state: TrainingState, numbers: Iterator[int]) -> Criterion:
    """A step whose loss is the next number and moves nothing."""

    def step(batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
        still = state.model.get_parameter("last.weight").sum() * 0
        return {"number": still + next(numbers)}, torch.ones(len(batch.image_ids), 1)

    return step


def test_a_log_line_holds_the_mean_losses_of_the_steps_since_the_last_one(run: Run) -> None:
    run.go(rising(run.state, itertools.count(1)), log_every=2)

    # steps 1 and 2; 3 ends the epoch; 4; 5 and 6
    expected = [(2, 1.5), (3, 3.0), (4, 4.0), (6, 5.5)]
    assert run.log.scalars["train/number"] == run.log.scalars["train/loss"] == expected
    assert run.state.losses == {}


def test_a_checkpoint_is_written_so_often_and_at_the_end_of_each_epoch(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = []
    monkeypatch.setattr(TrainingState, "save", lambda self, *_, **__: saved.append(self.step))

    run.go(checkpoint_every=2)

    assert saved == [2, 3, 3, 4, 6, 6, 6]


def test_the_best_epoch_stays_when_later_ones_are_worse(run: Run) -> None:
    run.quality = lambda state: [math.nan, 0.5, 0.7, 0.7, 0.6][state.epoch]
    run.go(epochs=4)

    best = load_checkpoint(run.folder, "best")
    assert best is not None
    assert (best["epoch"], best["best"]) == (2, 0.7)


def test_without_any_quality_no_checkpoint_is_the_best(run: Run) -> None:
    run.quality = lambda state: math.nan
    run.go(epochs=1)

    assert load_checkpoint(run.folder, "best") is None
    assert run.state.best == -math.inf


def test_a_finished_training_goes_on_to_nothing(run: Run) -> None:
    run.go()
    before = sorted((path.name, path.stat().st_mtime_ns) for path in run.folder.iterdir())
    run.go()

    assert run.state.step == 6
    assert sorted((path.name, path.stat().st_mtime_ns) for path in run.folder.iterdir()) == before


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

    def step(batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
        seen.append((run.state.step, len(batch.image_ids)))
        return learn(run.state)(batch)

    run.go(step, accumulate=2)

    assert seen == [(0, 4), (0, 4), (1, 2), (2, 4), (2, 4), (3, 2)]
    assert [number for number, _ in run.log.scalars["train/loss"]] == [1, 2, 3, 4]
    assert run.state.step == 4


def test_the_gradient_of_a_step_is_the_mean_over_its_batches(run: Run) -> None:
    weight = run.state.model.get_parameter("second.weight")
    slopes = iter([1, 5, 4])

    def step(batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
        return {"line": next(slopes) * weight.sum()}, torch.ones(len(batch.image_ids), 1)

    run.go(step, epochs=1, accumulate=2)

    # gradients (1 + 5) / 2 and 4 / 1, rate .01, momentum .9: speeds 3 and 3 * .9 + 4
    assert weight.item() == pytest.approx(1 - 0.01 * (3 + 6.7), rel=1e-6)  # float32


def test_every_step_counts_the_same_in_a_log_line(run: Run) -> None:
    run.go(rising(run.state, itertools.count(1)), epochs=1, accumulate=2, log_every=100)

    # batches 1 and 2; 3 alone
    assert run.log.scalars["train/number"] == [(2, (1.5 + 3) / 2)]


def test_metrics_are_over_the_images_of_all_batches(run: Run) -> None:
    seen = []

    def step(batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
        seen.append(sum(len(part[0]) for part in run.state.window))
        return learn(run.state)(batch)

    run.go(step, epochs=1, accumulate=2, log_every=100)

    assert seen == [0, 4, 8]


def test_a_loss_that_is_not_finite_names_the_images_of_its_batch_alone(run: Run) -> None:
    bad = batches_of()[1].image_ids

    def step(batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
        losses, scores = learn(run.state)(batch)
        return {"pull": losses["pull"] * (math.nan if batch.image_ids == bad else 1)}, scores

    with pytest.raises(FloatingPointError, match=rf"at step 0, .*; images {', '.join(bad)}$"):
        run.go(step, accumulate=2)
    assert list(run.folder.iterdir()) == []


def test_a_step_of_no_batches_is_refused() -> None:
    with pytest.raises(ValueError, match=r"--loop\.accumulate is above 0, got 0"):
        LoopSettings(accumulate=0)


# Losses that are not finite


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_at_once_and_names_everything(
    value: float, run: Run
) -> None:
    def step(batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
        losses, scores = learn(run.state)(batch)
        if run.state.step == 4:
            losses["pull"] = losses["pull"] * value
        return losses, scores

    images = ", ".join(batches_of(epoch=1)[1].image_ids)
    with pytest.raises(FloatingPointError) as stopped:
        run.go(step)

    text = str(stopped.value)
    assert "not finite at step 4, learning rate 0.01: {'image_label': " in text
    assert f"'pull': {value}" in text
    assert text.endswith(f"images {images}")
    assert run.saved_step() == 4
    assert all(key.isfinite().all() for key in run.state.model.state_dict().values())


def test_losses_that_cancel_to_no_number_stop_too(run: Run) -> None:
    def step(batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
        infinite = run.state.model.get_parameter("last.weight").sum() * math.inf
        return {"up": infinite, "down": -infinite}, torch.ones(len(batch.image_ids), 1)

    with pytest.raises(FloatingPointError, match=r"'up': inf, 'down': -inf"):
        run.go(step)
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
    def step(batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
        losses, scores = learn(run.state)(batch)
        if run.state.step == 1:
            losses["pull"] = Spoiled.apply(losses["pull"])
        return losses, scores

    with pytest.raises(FloatingPointError, match=r"weights are not finite after step 2, .*last"):
        run.go(step)
    assert run.saved_step() == 1


# Stopping and going on


def interrupt_at(state: TrainingState, number: int, during: Criterion | None = None) -> Criterion:
    inner = during or learn(state)

    def step(batch: ImageBatch) -> tuple[dict[str, Tensor], Tensor]:
        if state.step == number and not is_interrupted():
            signal.raise_signal(signal.SIGTERM)
        return inner(batch)

    return step


@pytest.mark.parametrize(("batch_size", "accumulate"), [(4, 1), (2, 2)])  # three steps an epoch
@pytest.mark.parametrize("number", range(6))
def test_a_stopped_training_goes_on_bit_by_bit(
    number: int, batch_size: int, accumulate: int, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"batch_size": batch_size, "accumulate": accumulate}
    options |= {"log_every": 2, "checkpoint_every": 100}

    def begun(folder: str, log: Recorder) -> Run:
        return Run(tmp_path / folder, make_state("cosine", averaging=0.6), log)

    whole = begun("whole", Recorder())
    whole.go(**options)
    first = begun("parts", Recorder())
    install_signal_handlers()
    with pytest.raises(Interrupted):
        first.go(interrupt_at(first.state, number), **options)
    install_signal_handlers()
    second = begun("parts", first.log)
    torch.manual_seed(99)
    loaded = load_checkpoint(tmp_path / "parts")
    assert loaded is not None
    second.state.load(loaded)
    assert second.state.step == number + 1  # the step that the signal met is not lost
    second.go(**options)

    for weights in (TrainingState.weights, lambda state: state.model.state_dict()):
        assert weights_sha256(weights(second.state)) == weights_sha256(weights(whole.state))
    assert second.log.scalars == whole.log.scalars


def test_losses_before_a_stop_count_in_the_next_log_line(run: Run, tmp_path: Path) -> None:
    numbers = itertools.count(1)
    install_signal_handlers()
    with pytest.raises(Interrupted):
        run.go(interrupt_at(run.state, 0, rising(run.state, numbers)), log_every=2)
    install_signal_handlers()
    again = Run(tmp_path, make_state(), Recorder())
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    again.state.load(loaded)
    again.go(rising(again.state, numbers), epochs=1, log_every=2)

    assert run.log.scalars == {}
    assert again.log.scalars["train/number"] == [(2, (1 + 2) / 2), (3, 3.0)]


def test_an_evaluation_that_did_not_end_is_done_again(run: Run, tmp_path: Path) -> None:
    evaluated = []

    def quality(state: TrainingState) -> float:
        evaluated.append(state.epoch)
        if len(evaluated) == 1:
            raise KeyboardInterrupt
        return 0.5

    run.quality = quality
    with pytest.raises(KeyboardInterrupt):
        run.go()
    again = Run(tmp_path, make_state(), Recorder(), quality)
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    again.state.load(loaded)
    again.go()

    assert evaluated == [1, 1, 2]


def test_the_time_of_all_processes_is_added(run: Run) -> None:
    run.state.since -= 100
    run.go(epochs=1)
    loaded = load_checkpoint(run.folder)
    assert loaded is not None
    state = make_state()
    state.load(loaded)
    state.since -= 50
    state.save(run.folder)

    assert 150 < state.seconds < 170


def test_a_checkpoint_of_another_model_is_refused_by_its_tensors(run: Run) -> None:
    run.go(epochs=1)
    loaded = load_checkpoint(run.folder)
    assert loaded is not None
    loaded["model"]["other.weight"] = loaded["model"].pop("last.weight")

    with pytest.raises(ValueError, match=r"the checkpoint's model: lacks last\.weight"):
        make_state().load(loaded)


# Histograms


def test_histograms_say_which_layers_are_frozen_and_give_those_no_gradient(run: Run) -> None:
    run.go(epochs=1, histogram_every=3)

    assert run.log.histograms == [
        "weights/first (frozen)",
        "weights/second",
        "gradients/second",
        "weights/last",
        "gradients/last",
    ]


@pytest.mark.parametrize(
    ("every_layer", "layers"), [(False, ["0", "1", "4"]), (True, ["0", "1", "2", "3", "4"])]
)
def test_histograms_show_the_first_two_layers_and_the_last_or_all(
    every_layer: bool, layers: list[str], run: Run
) -> None:
    run.state.model = nn.Sequential(*(nn.Linear(1, 1) for _ in range(5)))

    log_histograms(run.state, Logger([run.log]), every_layer=every_layer)

    assert run.log.histograms == [f"weights/{layer}" for layer in layers]


def test_the_first_and_the_last_epoch_end_with_a_histogram(run: Run) -> None:
    run.go(epochs=3, histogram_every=1000)

    assert run.log.histograms.count("weights/last") == 2


def test_histograms_come_so_often_in_between(run: Run) -> None:
    run.go(epochs=3, histogram_every=5)

    assert run.log.histograms.count("weights/last") == 3  # steps 3, 5 and 9


# Optimizer and learning rates


def rates(settings: OptimSettings, *, epochs: int, steps_per_epoch: int) -> list[float]:
    """The learning rate of each iteration."""
    optimizer = build_optimizer([nn.Parameter(torch.zeros(1))], settings)
    scheduler = build_scheduler(optimizer, settings, epochs=epochs, steps_per_epoch=steps_per_epoch)
    seen = []
    for _ in range(epochs * steps_per_epoch):
        seen.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return seen


def test_a_constant_rate_stays() -> None:
    settings = OptimSettings(lr=0.5, schedule="constant")

    assert rates(settings, epochs=2, steps_per_epoch=2) == [0.5] * 4


def test_steps_multiply_the_rate_at_the_start_of_an_epoch() -> None:
    settings = OptimSettings(lr=8.0, schedule="step", step_epochs=2, gamma=0.5)

    assert rates(settings, epochs=5, steps_per_epoch=2) == [8, 8, 8, 8, 4, 4, 4, 4, 2, 2]


def test_a_cosine_falls_from_the_full_rate_toward_zero() -> None:
    settings = OptimSettings(lr=1.0, schedule="cosine")

    half = math.sqrt(1 / 2)
    expected = [1, (1 + half) / 2, 1 / 2, (1 - half) / 2]
    assert rates(settings, epochs=2, steps_per_epoch=2) == pytest.approx(expected)


def test_a_warm_up_rises_in_equal_steps_to_the_full_rate() -> None:
    settings = OptimSettings(lr=4.0, schedule="constant", warmup_epochs=1)

    assert rates(settings, epochs=2, steps_per_epoch=3) == pytest.approx([1, 2, 3, 4, 4, 4])


def test_a_cosine_begins_after_the_warm_up() -> None:
    settings = OptimSettings(lr=2.0, schedule="cosine", warmup_epochs=0.5)

    expected = [1, 2, 1 + math.cos(math.pi / 3), 1 + math.cos(2 * math.pi / 3)]
    assert rates(settings, epochs=2, steps_per_epoch=2) == pytest.approx(expected)


def test_the_optimizer_is_the_one_that_is_named() -> None:
    parameters = [nn.Parameter(torch.zeros(1))]
    sgd = build_optimizer(parameters, OptimSettings(lr=0.5, momentum=0.25, weight_decay=0.125))
    adamw = build_optimizer(parameters, OptimSettings(name="adamw", lr=0.5, weight_decay=0.125))

    assert isinstance(sgd, torch.optim.SGD)
    assert (sgd.defaults["momentum"], sgd.defaults["weight_decay"]) == (0.25, 0.125)
    assert isinstance(adamw, torch.optim.AdamW)
    assert (adamw.defaults["lr"], adamw.defaults["weight_decay"]) == (0.5, 0.125)


def test_a_fall_of_the_rate_keeps_the_momentum(run: Run) -> None:
    settings = OptimSettings(lr=1.0, momentum=0.5, schedule="step", step_epochs=1, gamma=0.5)
    weight = nn.Parameter(torch.zeros(1))
    optimizer = build_optimizer([weight], OptimSettings(lr=1.0, momentum=0.5, weight_decay=0.0))
    scheduler = build_scheduler(optimizer, settings, epochs=2, steps_per_epoch=1)
    for _ in range(2):
        weight.grad = torch.ones(1)
        optimizer.step()
        scheduler.step()

    assert weight.item() == -(1 + (1 + 0.5) / 2)  # the second speed is 1 + .5, at half the rate


def test_a_backbone_learns_at_its_fraction_of_the_rate() -> None:
    head, backbone = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    settings = OptimSettings(lr=0.5, backbone_factor=0.25, momentum=0.0, weight_decay=0.0)
    optimizer = build_optimizer([head], settings, backbone=[backbone])
    head.grad, backbone.grad = torch.ones(1), torch.ones(1)
    optimizer.step()
    assert head.item() == -0.5
    assert backbone.item() == -0.125
