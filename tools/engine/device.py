"""Where and how precisely things are computed, and what is drawn at random."""

import contextlib
import random
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from data.types import ImageBatch, Proposals


@dataclass(frozen=True, slots=True)
class Device:
    """A device with its number format.

    Attributes:
        kind: ``cpu``, ``cuda`` or ``mps``.
        amp: ``off``, ``bf16`` or ``fp16`` for convolutions and matrix products.
    """

    kind: str
    amp: str

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Context in which the model's forward pass runs."""
        if self.amp == "off":
            return contextlib.nullcontext()
        precision = torch.bfloat16 if self.amp == "bf16" else torch.float16
        return torch.autocast(self.kind, dtype=precision)

    def place(self, module: nn.Module) -> nn.Module:
        """A module on this device; channels last pays with bf16 on a CPU and on a GPU."""
        moved: nn.Module = module.to(self.kind).to(memory_format=torch.channels_last)
        return moved

    def layout(self, images: Tensor) -> Tensor:
        """``[B, K, H, W]`` in the memory format that ``place`` gives to the modules."""
        return images.contiguous(memory_format=torch.channels_last)

    def move(self, batch: ImageBatch) -> ImageBatch:
        """Every tensor of a batch on this device."""
        names = ("images", "sizes", "targets", "weights")
        moved: dict[str, Any] = {name: getattr(batch, name).to(self.kind) for name in names}
        moved["rois"] = tuple(
            Proposals(
                rois.boxes.to(self.kind),
                None if rois.scores is None else rois.scores.to(self.kind),
            )
            for rois in batch.rois
        )
        return replace(batch, **moved)


def choose_device(name: str, amp: str) -> Device:
    """``auto`` takes CUDA, then MPS, then the CPU.

    Raises:
        ValueError: the device is not there, or fp16 is asked of a CPU.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((kind for kind, there in present.items() if there), "cpu")
    if not present.get(name, name == "cpu"):
        raise ValueError(f"device {name} is not available here (--device cpu always is)")
    if amp == "fp16" and name != "cuda":
        raise ValueError(f"--amp fp16 needs a CUDA device, this is {name} (bf16 works everywhere)")
    return Device(name, amp)


def seed_everything(seed: int, *, deterministic: bool) -> None:
    """Seed Python, numpy and torch; ``deterministic`` also warns of operators that are not."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries draw from the global generator
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


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
