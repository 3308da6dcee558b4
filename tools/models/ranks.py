"""Ranks: the processes of one command that ``torchrun`` has started, and what they tell each other.

A command that nobody started this way is alone: rank 0 of 1, and none of this costs anything. What
ranks exchange is small and goes over gloo, gradients over NCCL where each rank has its own GPU.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from data.shard import Shard
from tools.cli import console, signals

Value = TypeVar("Value")

LONGEST = timedelta(hours=1)  # that a rank waits for another, such as for rank 0 while it draws
LOST_SECONDS = 5.0  # after which a rank that has said nothing counts as gone


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    """Number of all ranks."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this is rank 0, which alone writes and speaks."""
    return rank() == 0


def shard() -> Shard:
    """This rank's part of any sequence."""
    return Shard(rank() + 1, count())


def gather(value: Value) -> list[Value]:
    """The value of each rank in their order, on all of them. Every rank has to ask."""
    if count() == 1:
        return [value]
    values: list[Any] = [None] * count()
    dist.all_gather_object(values, value)
    return values


def exchange(number: float) -> list[float]:
    """A number of each rank in their order; quicker than ``gather``."""
    if count() == 1:
        return [number]
    numbers = torch.zeros(count(), dtype=torch.float64)
    numbers[rank()] = number
    dist.all_reduce(numbers)
    return [float(each) for each in numbers.tolist()]


def wait_for_all() -> None:
    """Go on when every rank is here."""
    exchange(0)


def are_interrupted() -> bool:
    """Whether any rank has received a signal, which all then note: they stop after the same step.

    One that comes between is for the next time that they ask.
    """
    number = int(max(exchange(signals.received())))
    if number:
        signals.note(number)
    return bool(number)


def with_shared_gradients(module: nn.Module) -> nn.Module:
    """The module with gradients that are means over the ranks; as it is where there is one."""
    return module if count() == 1 else DistributedDataParallel(module)


def own_gradients(module: object) -> AbstractContextManager[None]:
    """Inside, a backward pass adds to this rank's gradients; the next one outside shares them."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()


@contextmanager
def joined(kind: str) -> Iterator[None]:
    """Work as one of the ranks inside, if ``torchrun`` has started this process.

    Args:
        kind: of the device, ``cuda`` or another.

    Raises:
        RuntimeError: another rank has ended or was killed; names it.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    backend = "gloo"
    if kind == "cuda":
        devices = torch.cuda.device_count()
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % devices)
        if int(os.environ["LOCAL_WORLD_SIZE"]) <= devices:  # NCCL refuses two ranks on a device
            backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, timeout=LONGEST)
    if not is_first():
        console.say_errors_alone()
    try:
        yield
    except Exception as error:
        lost = _gone() if type(error) is RuntimeError or isinstance(error, dist.DistError) else []
        if lost:
            raise RuntimeError(
                f"rank {' and '.join(map(str, lost))} of {count()} is gone (a training goes on "
                "from its last checkpoint with --resume auto)"
            ) from error
        with suppress(dist.DistError):
            _store().set(f"ended {rank()}", "")  # with an error that is its own
        raise
    finally:
        dist.destroy_process_group()


def _gone() -> Sequence[int]:
    """Ranks that have ended with an error of their own, or else those that do not answer."""
    others = [other for other in range(count()) if other != rank()]
    deadline = time.monotonic() + LOST_SECONDS
    try:
        store = _store()
        store.set(f"here {rank()}", "")
        while time.monotonic() < deadline:
            if ended := [other for other in others if store.check([f"ended {other}"])]:
                return ended
            if all(store.check([f"here {other}"]) for other in others):
                return []
            time.sleep(0.1)
        return [other for other in others if not store.check([f"here {other}"])]
    except dist.DistError:
        return [0]  # without torchrun it keeps what the others ask for


def _store() -> Any:
    return dist.distributed_c10d._get_default_store()
