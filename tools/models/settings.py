"""Settings of computing. Light: ``--help`` imports this."""

from typing import Literal

Amp = Literal["auto", "off", "bf16", "fp16"]
