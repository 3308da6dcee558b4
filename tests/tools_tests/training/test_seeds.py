"""One seed for everything that is random, and a state from which all of it goes on."""

import random

import numpy as np
import pytest
import torch

from tools.training.seeds import random_state, restore_random_state, seed_everything


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
