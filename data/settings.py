"""The ranges of numbers that settings may have. Light: ``--help`` imports this."""

import math
from collections.abc import Callable

RANGES: dict[str, Callable[[float], bool]] = {
    "above 0": lambda value: 0 < value < math.inf,
    "0 or more": lambda value: 0 <= value < math.inf,
    "in (0, 1)": lambda value: 0 < value < 1,
    "in (0, 1]": lambda value: 0 < value <= 1,
    "in [0, 1)": lambda value: 0 <= value < 1,
    "in [0, 1]": lambda value: 0 <= value <= 1,
}


def check_range(settings: object, allowed: str, *names: str, group: str = "") -> None:
    """Check some numbers of a settings object; None, which is one not given, is allowed.

    Args:
        settings: has the numbers.
        allowed: a key of ``RANGES``; infinity and not-a-number are in none of them.
        names: of its fields. Of a tuple every number is checked.
        group: of the settings, such as ``loop.``; empty for none.

    Raises:
        ValueError: a number is out of range; names the option and the value.
    """
    for name in names:
        value = getattr(settings, name)
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(number is None or RANGES[allowed](number) for number in numbers):
            raise ValueError(f"--{group}{name.replace('_', '-')} is {allowed}, got {value}")
