"""The words of a command line as jsonargparse takes them: each option with one value.

People write ``--image-sizes 512 736``, ``--replace`` and ``--classes cat -dog``, which argparse
either takes apart or refuses.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any, get_args, get_origin, get_type_hints

import yaml


def with_one_value(words: Sequence[str], types: dict[str, Any]) -> Iterator[str]:
    """Each option and its value as one word, ``--run_dir=a-b``.

    Values of a list become YAML: in brackets they are already, other words are its items as they
    stand. A flag without a value is true. What begins with two dashes is an option, so a value may
    begin with one; with two it is written ``--classes=--cat``.

    Args:
        words: of the command line; options have dashes where their fields have underscores.
        types: of each setting, as ``types_of`` gives them.

    Yields:
        the words; those of unknown options, and those that belong to none, as they are.
    """
    for option, *values in _by_option(words):
        name, equals, value = option.partition("=")
        name = name[:2] + name[2:].replace("-", "_")
        if name not in types:
            yield from (name + equals + value, *values)
            continue
        values = [value, *values] if equals else values
        if values and is_list(types[name]):
            values = [_list_value(values)]
        elif not values and is_flag(types[name]):
            values = ["true"]
        yield "=".join([name, *values[:1]])
        yield from values[1:]


def _by_option(words: Sequence[str]) -> list[list[str]]:
    """The words in groups, each of an option and what follows it."""
    groups: list[list[str]] = []
    for word in words:
        if not groups or word.startswith("--") or word == "-h":
            groups.append([])
        groups[-1].append(word)
    return groups


def _list_value(values: Sequence[str]) -> str:
    if values[0].startswith("["):
        return " ".join(values)
    return yaml.safe_dump(list(values), default_flow_style=True, width=math.inf).strip()


def types_of(settings_type: Any, prefix: str = "--") -> dict[str, Any]:
    """The type of each setting by its option, nested ones as ``--optim.lr``."""
    types = {}
    for name, kind in get_type_hints(settings_type).items():
        types[prefix + name] = kind
        for part in filter(dataclasses.is_dataclass, (kind, *get_args(kind))):
            types |= types_of(part, f"{prefix}{name}.")
    return types


def is_list(kind: Any) -> bool:
    """Whether a setting of this type takes several values."""
    return get_origin(kind) is tuple


def is_flag(kind: Any) -> bool:
    """Whether a setting of this type may be given without a value."""
    return bool in (kind, *get_args(kind))
