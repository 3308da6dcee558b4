"""How often a step waits for what a device computes: each look at a value there is a wait.

A tensor of the device carries a mark, which all that is computed from it gets; what is looked at
without a mark lies on the host. So a CPU tells what CUDA would wait for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from data.datasets.voc import VOCSource
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import ImageBatch
from tests.tools_tests.conftest import Words
from tests.worlds import training_batches
from tools.cli.command import parse_settings
from tools.models.device import Device
from tools.runs.kinds import TrainClassifierSettings, TrainLocalizerSettings, TrainWsddnSettings
from tools.training.localizer import LocalizerTask
from tools.training.loop import optimize
from tools.training.run import losses_of, new_state
from tools.training.task import Task
from tools.training.wsddn import DetectorTask

BLOCKING = {
    *("_local_scalar_dense", "nonzero", "masked_select", "unique_dim", "_unique2", "equal"),
    *("unique_consecutive", "unique_dim_consecutive", "repeat_interleave"),
}
READS = {"cpu", "tolist", "numpy", "__array__"}  # of which no operator tells on a CPU
STEPS = 3


def tensors_of(values: Any) -> list[Tensor]:
    return [value for value in pytree.tree_leaves(values) if isinstance(value, Tensor)]


def mark(values: Any) -> Any:
    for tensor in tensors_of(values):
        tensor.is_of_device = True  # type: ignore[attr-defined]
    return values


def is_marked(values: Any) -> bool:
    return any(hasattr(tensor, "is_of_device") for tensor in tensors_of(values))


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the operators that look at values, while ``of_device`` is set."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.of_device = False
        self.found: list[str] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name == "index" and any(t.dtype == torch.bool for t in tensors_of(args[1]))
        if self.of_device and (by_mask or name in BLOCKING):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


class Waits(TorchFunctionMode):
    """Notes each look at values of the device; use it as a context manager."""

    def __init__(self) -> None:
        super().__init__()
        self.operators = _Operators()

    def __enter__(self) -> "Waits":
        self.operators.__enter__()  # type: ignore[no-untyped-call]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self.operators.__exit__(*error)  # type: ignore[no-untyped-call]

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        of_device = is_marked((args, kwargs))
        if of_device and func.__name__ in READS:
            self.operators.found.append(func.__name__)
            return func(*args, **(kwargs or {})).clone() if func.__name__ == "cpu" else func(*args)
        before, self.operators.of_device = self.operators.of_device, of_device
        try:
            result = func(*args, **(kwargs or {}))
        finally:
            self.operators.of_device = before
        return mark(result) if of_device else result


@dataclass(frozen=True, slots=True)
class MarkingDevice(Device):
    """Marks what it moves."""

    def move(self, batch: ImageBatch) -> ImageBatch:
        names = ("images", "sizes", "targets", "weights")
        return replace(batch, **{name: mark(getattr(batch, name).clone()) for name in names})


def count(task: Task[Any, Any]) -> list[str]:
    """What waits in some steps between two log lines."""
    settings = task.settings
    state = new_state(task, {}, since=0.0)
    task.open(state.saved_model)
    task.model.train()
    mark(list(task.model.parameters()))
    batches = training_batches(
        task.inputs,
        seed=0,
        epoch=0,
        first=0,
        batch_size=settings.loop.batch_size,
        flip=True,
        workers=0,
    )
    groups = [[batch] for batch in batches][:STEPS]
    with Waits() as waits:
        for group in groups:
            optimize(state, losses_of(task), group)
    assert len(state.unread) == STEPS
    return waits.operators.found


LOCALIZER = (LocalizerTask, TrainLocalizerSettings, "words", 2)
CLASSIFIER = (LocalizerTask, TrainClassifierSettings, "words", 2)
DETECTOR = (DetectorTask, TrainWsddnSettings, "detector_words", 1)


@pytest.mark.parametrize(
    ("kind", "options", "most"),
    [
        (LOCALIZER, "", 0),
        (
            LOCALIZER,
            "--model.pooling=top --model.pooling-value=0.3 --resize=longest_side",
            1,
        ),
        (CLASSIFIER, "--pretrained=false --frozen-backbone=false", 1),
        (DETECTOR, "--spatial-weight=0 --drop-proposals=0.6 --model.area-prior=1", 0),
        (DETECTOR, "", 2),
    ],
)
def test_a_step_between_log_lines_hardly_waits_for_the_device(
    kind: tuple[Any, Any, str, int],
    options: str,
    most: int,
    tiny_voc: Path,
    request: pytest.FixtureRequest,
) -> None:
    task_type, settings_type, fixture, size = kind
    words: Words = request.getfixturevalue(fixture)
    given = words(Path("run"), f"--loop.batch-size={size}", *options.split())
    settings = parse_settings(settings_type, "train", given)
    source = VOCSource(tiny_voc, classes=SYNTHETIC_CLASSES)
    dataset = source.open("train")

    found = count(task_type(settings, dataset, source.open("val"), MarkingDevice("cpu", "off")))

    assert len(found) <= most * STEPS, found


def one_look(look: Callable[[Tensor], object]) -> list[str]:
    with Waits() as waits:
        look(mark(torch.ones(3)) * 2)
        look(torch.ones(3))  # of the host
    return waits.operators.found


@pytest.mark.parametrize(
    "look",
    [
        lambda tensor: float(tensor.sum()),
        lambda tensor: bool((tensor > 1).all()),
        lambda tensor: tensor[tensor > 1],
        lambda tensor: torch.nonzero(tensor),
        lambda tensor: torch.unique(tensor[None], dim=0),
        lambda tensor: tensor.cpu(),
        lambda tensor: tensor.tolist(),
        lambda tensor: tensor.numpy(),
    ],
)
def test_each_look_at_a_value_of_the_device_is_found(look: Callable[[Tensor], object]) -> None:
    assert len(one_look(look)) == 1
