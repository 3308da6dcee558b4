"""Helpers for the settings of commands. ``--help`` imports this: no torch, no numpy.

Settings have no slots: jsonargparse reads the defaults of nested ones through ``vars``.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def to_dict(settings: Any) -> Any:
    """Settings as plain values that YAML and a checkpoint can hold."""
    if dataclasses.is_dataclass(settings):
        return {
            field.name: to_dict(getattr(settings, field.name))
            for field in dataclasses.fields(settings)
        }
    if isinstance(settings, Path):
        return str(settings)
    if isinstance(settings, (list, tuple)):
        return [to_dict(value) for value in settings]
    return settings


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested plain values by dotted names."""
    result: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            result |= flatten(value, f"{prefix}{name}.")
        else:
            result[f"{prefix}{name}"] = value
    return result
