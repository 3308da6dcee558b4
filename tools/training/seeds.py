"""What is drawn at random while training: seeds and states of the generators."""

import os
import random
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int, *, deterministic: bool) -> None:
    """Seed Python, numpy and torch; ``deterministic`` also takes operators that are, or warns."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries draw from the global generator
    torch.manual_seed(seed)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before cuBLAS is first used
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def draw_apart(seed: int, rank: int) -> None:
    """Let another rank than 0 draw other numbers, after it has made the same weights."""
    if rank:
        torch.manual_seed(int(np.random.SeedSequence((seed, rank)).generate_state(1)[0]))


def random_state() -> dict[str, Any]:
    """All generators that training draws from, as plain values and tensors."""
    version, numbers, gauss = random.getstate()
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002
    position, keys = numpy_state["state"]["pos"], numpy_state["state"]["key"]
    gauss_of_numpy = (numpy_state["has_gauss"], numpy_state["gauss"])
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [torch.from_numpy(keys.astype(np.int64)), position, *gauss_of_numpy],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Put back what ``random_state`` gave."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    keys, position, *gauss_of_numpy = state["numpy"]
    numpy_state = ("MT19937", keys.numpy().astype(np.uint32), position, *gauss_of_numpy)
    np.random.set_state(numpy_state)  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
