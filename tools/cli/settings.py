"""Helpers for the settings of commands. ``--help`` imports this: no torch, no numpy.

Settings have no slots: jsonargparse reads the defaults of nested ones through ``vars``.
"""

import dataclasses
import json
import re
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

TAKEN = re.compile(r"[-\[]")  # begins what is no plain item of a list


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


def to_options(settings: Any, defaults: Any, names: Container[str] | None = None) -> list[str]:
    """The settings that are not the defaults, as words of a command line.

    Args:
        settings: of a command.
        defaults: of the same or another command; a setting that it lacks is written, too.
        names: which settings; all when not given.
    """
    usual, words = flatten(to_dict(defaults)), []
    for name, value in flatten(to_dict(settings)).items():
        is_wanted = names is None or name in names
        if is_wanted and value is not None and value != usual.get(name):
            option = f"--{name.replace('_', '-')}"
            words += [option, *_items(value)] if isinstance(value, list) else [f"{option}={value}"]
    return words


def _items(values: list[object]) -> list[str]:
    """A list with blanks, or in brackets where a word would be taken for something else."""
    words = [str(value) for value in values]
    return words if words and not any(map(TAKEN.match, words)) else [json.dumps(values)]
