"""Checks that the settings of several rooms share. Light: ``--help`` imports this."""

import math


def check_positive(**values: float) -> None:
    """Raise ``ValueError`` naming the first setting that is not finite and above 0."""
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"--{name.replace('_', '-')} is above 0, got {value}")
