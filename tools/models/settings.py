"""Settings of computing. Light: ``--help`` imports this."""

from dataclasses import dataclass
from typing import Literal

Amp = Literal["auto", "off", "bf16", "fp16"]


@dataclass(frozen=True, kw_only=True)
class ComputeSettings:
    """Where and how to compute."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute."""

    amp: Amp = "auto"
    """Number format of convolutions and matrix products; auto is bf16 where the device has
    instructions for it, and off, which is float32, elsewhere."""

    tf32: bool = False
    """On CUDA, let products of float32 have 10 bits: several times as fast where --amp is off."""
