"""One function over many items in several processes, results in the items' order."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

Item = TypeVar("Item")
Result = TypeVar("Result")


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux; elsewhere a process is not kept off any
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_parallel(
    function: Callable[[Item], Result], items: Sequence[Item], *, processes: int
) -> Iterator[Result]:
    """The function's results, lazily; the processes end with this one, however it ends.

    Args:
        function: of the top level of a module, or a ``partial`` of one. Its result is a number, a
            string, or a named tuple of them.
        items: what it is applied to.
        processes: that work side by side; with 0 or 1 this one does the work.

    Raises:
        Exception: of the kind that the function raises, at that item; from another process its
            message holds the traceback.
    """
    loader: DataLoader[Result] = DataLoader(
        _Mapped(function, items),
        batch_size=None,
        num_workers=min(processes, len(items)) if processes > 1 else 0,
        generator=torch.Generator(),  # or else it draws from the generator that models start from
    )
    return iter(loader)


class _Mapped(Dataset[Result]):
    def __init__(self, function: Callable[[Item], Result], items: Sequence[Item]) -> None:
        self.function = function
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Result:
        return self.function(self.items[index])
