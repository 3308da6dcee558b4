"""Devices, number formats, and the state of everything that is random."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from data.types import ImageBatch, Proposals
from tools.models.device import Device, choose_device
from tools.training.seeds import random_state, restore_random_state, seed_everything


def pretend(monkeypatch: pytest.MonkeyPatch, *, cuda: bool, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "kind"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_cuda_then_mps_then_the_cpu(
    cuda: bool, mps: bool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, cuda=cuda, mps=mps)

    assert choose_device("auto", "bf16") == Device(kind, "bf16")


def test_the_cpu_can_be_chosen_where_there_is_more(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=True, mps=True)

    assert choose_device("cpu", "off").kind == "cpu"


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=False, mps=False)

    with pytest.raises(ValueError, match=rf"device {name} is not available here \(--device cpu"):
        choose_device(name, "off")


def test_half_precision_is_refused_on_a_cpu() -> None:
    with pytest.raises(ValueError, match=r"--amp fp16 needs a CUDA device, this is cpu \(bf16"):
        choose_device("cpu", "fp16")


@pytest.mark.parametrize(("amp", "kind"), [("off", torch.float32), ("bf16", torch.bfloat16)])
def test_convolutions_run_in_the_chosen_format_and_weights_stay_float32(
    amp: str, kind: torch.dtype
) -> None:
    device = Device("cpu", amp)
    module = device.place(nn.Conv2d(3, 4, 1))
    with device.autocast():
        computed = module(device.layout(torch.ones(1, 3, 2, 2)))

    assert computed.dtype == kind
    assert module.get_parameter("weight").dtype == torch.float32


def test_a_moved_batch_keeps_its_names_and_values() -> None:
    batch = ImageBatch(
        ("a",), torch.ones(1, 3, 2, 2), torch.tensor([[2, 2]]), torch.ones(1, 6), torch.ones(1, 6)
    )
    moved = Device("cpu", "off").move(batch)

    assert moved.image_ids == ("a",)
    assert moved.images.equal(batch.images)


def batch_with_rois() -> ImageBatch:
    scored = Proposals(torch.tensor([[0.0, 1.0, 2.0, 3.0]]), torch.tensor([0.5]))
    unscored = Proposals(torch.zeros(0, 4), None)
    return ImageBatch(
        ("a", "b"),
        torch.ones(2, 3, 4, 4),
        torch.full((2, 2), 4),
        torch.ones(2, 6),
        torch.ones(2, 6),
        (scored, unscored),
    )


def test_a_moved_batch_keeps_its_rois_and_unknown_scores_stay_unknown() -> None:
    scored, unscored = Device("cpu", "off").move(batch_with_rois()).rois

    assert scored.boxes.tolist() == [[0, 1, 2, 3]]
    assert scored.scores is not None
    assert scored.scores.tolist() == [0.5]
    assert unscored.boxes.shape == (0, 4)
    assert unscored.scores is None


def test_every_tensor_of_a_batch_is_moved() -> None:
    moved = Device("meta", "off").move(batch_with_rois())  # a device without memory

    tensors = [moved.images, moved.sizes, moved.targets, moved.weights, moved.rois[0].scores]
    tensors += [rois.boxes for rois in moved.rois]
    assert {tensor.device.type for tensor in tensors if tensor is not None} == {"meta"}


def draw() -> list[float]:
    """One number of each generator; numpy keeps the second normal deviate of each pair."""
    return [
        random.random(),
        random.gauss(),
        np.random.random(),  # noqa: NPY002 - the global generator is what is tested
        np.random.standard_normal(),  # noqa: NPY002
        torch.rand(()).item(),
    ]


def test_a_seed_repeats_every_generator() -> None:
    drawn = []
    for seed in (5, 5, 6):
        seed_everything(seed, deterministic=False)
        drawn.append(draw())

    assert drawn[0] == drawn[1]
    assert all(a != b for a, b in zip(drawn[0], drawn[2], strict=True))


@pytest.mark.parametrize("before", [0, 1])
def test_every_generator_goes_on_from_a_restored_state(before: int) -> None:
    for _ in range(before):
        draw()
    state = random_state()
    drawn = draw()
    seed_everything(99, deterministic=False)
    restore_random_state(state)

    assert draw() == drawn


def test_operators_that_differ_from_run_to_run_are_warned_of_when_asked() -> None:
    seed_everything(0, deterministic=True)

    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
