"""A GPU computes what a CPU computes; skipped where there is none."""

import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from data.datasets.voc import VOCSource
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import ImageBatch, Proposals
from localizer.backbones import BACKBONES
from localizer.builders import build_localizer
from localizer.loss import localizer_losses
from localizer.pooling import POOLINGS
from localizer.settings import LocalizerSettings
from tests.tools_tests.conftest import Words
from tests.worlds import random_boxes
from tools import evaluate
from tools.cli.command import parse_settings
from tools.files.scores import read_scores
from tools.inputs.samples import TrainingBatches
from tools.models.device import choose_device
from tools.runs.kinds import TrainLocalizerSettings, TrainWsddnSettings
from tools.training.localizer import LocalizerTask
from tools.training.loop import optimize
from tools.training.run import losses_of, new_state
from tools.training.wsddn import DetectorTask
from wsddn.builders import build_wsddn
from wsddn.criterion import wsddn_losses
from wsddn.rois import pool_cells
from wsddn.settings import DetectorSettings

pytestmark = pytest.mark.gpu
SIZE = 160
SMALL = [name for name, row in BACKBONES.items() if row.input_channels == 3]


def a_batch(rng: torch.Generator) -> ImageBatch:
    """Two images, of which one is padded, with their proposals."""
    images = torch.randn(2, 3, SIZE, SIZE, generator=rng)
    rois = [Proposals(random_boxes(50, rng), torch.rand(50, generator=rng)) for _ in range(2)]
    sizes = torch.tensor([[SIZE, SIZE], [SIZE, SIZE - 32]])
    targets = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    return ImageBatch(("a", "b"), images, sizes, targets, torch.ones(2, 3), tuple(rois))


def gradients(model: nn.Module, losses: dict[str, Tensor]) -> Tensor:
    """Of the head, in one vector; those of a backbone jump where a rounded value passes 0."""
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    head = [p for name, p in model.named_parameters() if not name.startswith("features.")]
    return torch.cat([p.grad.cpu().flatten() for p in head if p.grad is not None])


def assert_parallel(computed: Tensor, expected: Tensor) -> None:
    assert (computed - expected).norm() <= 1e-2 * expected.norm()


def assert_near(computed: Any, expected: Any) -> None:
    torch.testing.assert_close(computed, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("backbone", SMALL)
def test_a_localizer_has_the_logits_and_gradients_of_a_cpu(
    backbone: str, cuda: str, rng: torch.Generator
) -> None:
    batch, device = a_batch(rng), choose_device(cuda, "off")
    model = build_localizer(LocalizerSettings(backbone), 3).eval()
    moved = device.place(deepcopy(model))
    assert_near(moved(batch.images.to(cuda)).cpu(), model(batch.images))

    found, scores = localizer_losses(moved, device.move(batch))  # type: ignore[arg-type]
    expected, expected_scores = localizer_losses(model, batch)
    assert_near(scores.cpu(), expected_scores)
    assert_parallel(gradients(moved, found), gradients(model, expected))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_pooling_is_that_of_a_cpu(pooling: str, cuda: str, rng: torch.Generator) -> None:
    logits, valid = torch.randn(2, 3, 9, 7, generator=rng), torch.ones(2, 9, 7, dtype=torch.bool)
    valid[1, :, 4:] = False
    on_gpu = POOLINGS[pooling](logits.to(cuda), valid.to(cuda), 0.3)
    assert_near(on_gpu.cpu(), POOLINGS[pooling](logits, valid, 0.3))


def test_roi_pooling_is_that_of_a_cpu_to_the_last_bit(cuda: str, rng: torch.Generator) -> None:
    features, first = torch.randn(1, 8, 20, 30, generator=rng), torch.randint(0, 15, (90, 2))
    cells = torch.cat([first, first + torch.randint(0, 5, (90, 2))], dim=1)
    pooled = pool_cells(features.to(cuda), cells.to(cuda), 6)
    assert pooled.cpu().equal(pool_cells(features, cells, 6))


@pytest.mark.parametrize("backbone", ["alexnet", "vgg16"])
def test_a_detector_has_the_losses_and_gradients_of_a_cpu(
    backbone: str, cuda: str, rng: torch.Generator
) -> None:
    batch, device = a_batch(rng), choose_device(cuda, "off")
    settings = DetectorSettings(backbone, width=16, pool_size=2, box_score=1, area_prior=1)
    model = build_wsddn(settings, 3).eval()
    moved = device.place(deepcopy(model))
    found, scores = wsddn_losses(moved, device.move(batch), factors={"spatial": 1e-2})  # type: ignore[arg-type]
    expected, expected_scores = wsddn_losses(model, batch, factors={"spatial": 1e-2})
    assert_near(scores.cpu(), expected_scores)
    assert_near({n: loss.cpu() for n, loss in found.items()}, expected)
    assert_parallel(gradients(moved, found), gradients(model, expected))


@pytest.mark.parametrize(
    ("kind", "options", "most"),
    [("words", "", 0), ("detector_words", "--spatial-weight=0", 0), ("detector_words", "", 2)],
)
@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_a_step_hardly_waits(
    kind: str,
    options: str,
    most: int,
    amp: str,
    cuda: str,
    tiny_voc: Path,
    request: pytest.FixtureRequest,
) -> None:
    words: Words = request.getfixturevalue(kind)
    task_type, settings_type = {
        "words": (LocalizerTask, TrainLocalizerSettings),
        "detector_words": (DetectorTask, TrainWsddnSettings),
    }[kind]
    device, source = choose_device(cuda, amp), VOCSource(tiny_voc, classes=SYNTHETIC_CLASSES)
    settings: Any = parse_settings(settings_type, "train", words(Path("run"), *options.split()))
    task: Any = task_type(settings, source.open("train"), source.open("val"), device)
    state = new_state(task, {}, since=0.0)
    task.open(state.saved_model)
    size = settings.loop.batch_size
    load = TrainingBatches(task.inputs, seed=0, batch_size=size, flip=True, workers=0, pinned=True)
    batches = list(load(0, 0))
    optimize(state, losses_of(task), batches[:1])  # the first one makes the state of the optimizer
    try:
        with warnings.catch_warnings(record=True) as waits:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            waits.clear()  # that the mode is a prototype
            for batch in batches[1:3]:
                optimize(state, losses_of(task), [batch])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(waits) <= 2 * most, [str(each.message) for each in waits]


def test_scores_of_bf16_and_of_a_cpu_are_near(cuda: str, copy: Path, tiny_voc: Path) -> None:
    scores = []
    for device, amp in (("cpu", "off"), (cuda, "off"), (cuda, "bf16")):
        place = f"--voc-root={tiny_voc} --split=test --device={device} --amp={amp}".split()
        assert evaluate.main([f"--run-dir={copy}", *place, f"--name={device}{amp}"]) == 0
        scores.append(read_scores(copy / "evaluations" / f"{device}{amp}" / "scores.npz").scores)
    assert np.abs(scores[0] - scores[1]).max() < 1e-3
    assert np.abs(scores[0] - scores[2]).max() < 0.02
