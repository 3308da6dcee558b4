"""The device and number format of a computation, and evaluation mode."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from data.parallel import usable_cores
from data.types import ImageBatch

MOST_READERS = 8  # of a rank


@dataclass(frozen=True, slots=True)
class Device:
    """A device with its number format.

    Attributes:
        kind: ``cpu``, ``cuda`` or ``mps``.
        amp: ``off``, ``bf16`` or ``fp16`` for convolutions and matrix products.
        tf32: whether those of float32 have 10 bits.
    """

    kind: str
    amp: str
    tf32: bool = False

    @property
    def readers(self) -> int:
        """Processes or threads that read images for it; none for a CPU, which has other work."""
        if self.kind == "cpu":
            return 0
        here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # ranks on this machine
        return min(MOST_READERS, max(1, usable_cores() // here - 1))

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Context in which the model's forward pass runs."""
        if self.amp == "off":
            return contextlib.nullcontext()
        precision = torch.bfloat16 if self.amp == "bf16" else torch.float16
        return torch.autocast(self.kind, dtype=precision)

    def place(self, module: nn.Module) -> nn.Module:
        """A module on this device, in the memory format of ``layout``; it computes in that."""
        moved: nn.Module = module.to(self.kind).to(memory_format=self.layout(module))
        return moved

    def layout(self, module: nn.Module) -> torch.memory_format:
        """Channels last, which is faster with bf16 on a CPU and on a GPU.

        Not where a GPU has depthwise convolutions: cuDNN compiles those in channels last for each
        new shape of images, 1.5 s a shape on an H200 with EfficientNet-Lite0 (.05 s otherwise).
        """
        convolutions = (m for m in module.modules() if isinstance(m, nn.Conv2d))
        depthwise = any(1 < c.groups == c.in_channels for c in convolutions)
        return torch.contiguous_format if depthwise and self.kind == "cuda" else torch.channels_last

    def move(self, batch: ImageBatch) -> ImageBatch:
        """Images, their sizes and labels on this device, without waiting for CUDA.

        Rois stay where they are: which of them differ is decided there, see ``WSDDNHead``.
        """
        names, is_cuda = ("images", "sizes", "targets", "weights"), self.kind == "cuda"
        moved: dict[str, Any] = {
            name: getattr(batch, name).to(self.kind, non_blocking=is_cuda) for name in names
        }
        return replace(batch, **moved)


def has_bf16(kind: str) -> bool:
    """Whether a device has instructions for bfloat16; without them it is ten times slower."""
    if kind == "cpu":
        present = torch.cpu.get_capabilities()
        return any(present.get(flag, False) for flag in ("avx512_bf16", "amx_bf16", "bf16"))
    return kind != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def choose_device(name: str, amp: str, *, tf32: bool = False) -> Device:
    """``auto`` takes CUDA, then MPS, then the CPU; as number format bf16 where it is fast.

    Args:
        name: of the device.
        amp: number format.
        tf32: of float32 on CUDA, from now on in this process.

    Raises:
        ValueError: the device is not available, or fp16 is not possible on it.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((kind for kind, is_present in present.items() if is_present), "cpu")
    if not present.get(name, name == "cpu"):
        raise ValueError(f"device {name} is not available (--device cpu always is)")
    if amp == "auto":
        amp = "bf16" if has_bf16(name) else "off"
    if amp == "fp16" and name != "cuda":
        raise ValueError(f"--amp fp16 needs a CUDA device, this is {name} (bf16 works everywhere)")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    return Device(name, amp, tf32 and name == "cuda")


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode in the context; afterward every module has its previous mode."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
