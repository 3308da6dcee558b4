"""A part of the images for one of several processes or machines. Light: ``--help`` imports this."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Shard:
    """Every ``count``-th item from the one of that number on.

    The shards of all numbers together are everything, and no two of them share an item.

    Attributes:
        number: from 1.
        count: of all shards.
    """

    number: int = 1
    count: int = 1

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Its part, in the same order; none where there are fewer items than shards."""
        return items[self.number - 1 :: self.count]


def parse_shard(text: str, option: str = "shard") -> Shard:
    """``3/8``, the third of eight; everything when empty.

    Args:
        text: as a person writes it.
        option: that it was written for.

    Raises:
        ValueError: it is no such fraction; names the option and the text.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text or "1/1")
    shard = Shard(*map(int, found.groups())) if found else Shard(0)
    if not 0 < shard.number <= shard.count:
        raise ValueError(f"--{option} is a number of a part and of all, such as 3/8, got {text!r}")
    return shard


def join_shards(parts: Sequence[Sequence[Item]]) -> list[Item]:
    """The sequence that has these shards, in the order of their numbers."""
    count = len(parts)
    return [parts[n % count][n // count] for n in range(sum(map(len, parts)))]
