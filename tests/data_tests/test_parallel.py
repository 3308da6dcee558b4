"""One function over many items: the same results in the same order from any number of processes."""

import gc
import multiprocessing
import os
import signal
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from data.parallel import Begun, map_parallel, usable_cores

# torch warns of two processes on a single core
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker")


class Found(NamedTuple):
    word: str
    length: int


def measure(word: str) -> Found:
    if not word:
        raise ValueError("no word")
    return Found(word, len(word))


def process_of(_: int) -> int:
    return os.getpid()


def fail(kind: str) -> int:
    if kind == "message of its class":
        raise DecodeError("a.jpg")
    if kind == "nothing that pickles":
        raise ValueError(lambda: kind)
    raise FileNotFoundError(2, "No such file", "a.jpg")


def crash(path: Path) -> Path:
    if path.name == "b.jpg":
        os.kill(os.getpid(), signal.SIGKILL)
    return path


class DecodeError(ValueError):
    """A pickle makes it again from its message, and so another one."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: does not decode")


@pytest.mark.parametrize("processes", [0, 1, 2])
def test_named_results_come_in_the_order_of_the_items(processes: int) -> None:
    results = list(map_parallel(measure, ["ccc", "a"], processes=processes))

    assert results == [Found("ccc", 3), Found("a", 1)]
    assert {type(result) for result in results} == {Found}


@pytest.mark.parametrize("processes", [0, 1, 2])
def test_an_exception_of_the_function_arrives_at_its_item(processes: int) -> None:
    results = map_parallel(measure, ["a", "", "bb"], processes=processes)

    assert next(results) == Found("a", 1)
    with pytest.raises(ValueError, match=r"^no word") as caught:
        next(results)
    assert str(caught.value) == "no word"
    assert next(results) == Found("bb", 2)


def test_the_traceback_of_another_process_is_a_note() -> None:
    with pytest.raises(ValueError, match=r"^no word") as caught:
        list(map_parallel(measure, ["a", ""], processes=2))

    (note,) = caught.value.__notes__
    assert "in measure" in note


def test_an_exception_of_another_process_keeps_what_it_knows() -> None:
    with pytest.raises(FileNotFoundError, match=r"No such file: 'a\.jpg'") as caught:
        list(map_parallel(fail, ["", ""], processes=2))

    assert caught.value.filename == "a.jpg"


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("message of its class", "^DecodeError: a.jpg: does not decode\n"),
        ("nothing that pickles", "^ValueError: <function fail"),
    ],
)
def test_an_exception_that_no_pickle_carries_arrives_in_words(kind: str, says: str) -> None:
    with pytest.raises(RuntimeError, match=says):
        list(map_parallel(fail, [kind, kind], processes=2))


def test_an_item_that_crashes_its_process_is_named() -> None:
    paths = [Path(f"{letter}.jpg") for letter in "abcd"]

    with pytest.raises(RuntimeError, match=r"b\.jpg.*: begun last when a process was lost"):
        list(map_parallel(crash, paths, processes=2))


def blocked(_: str) -> set[int]:
    return {int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())}


def test_no_signal_of_the_group_reaches_a_process_that_is_starting() -> None:
    numbers = {int(signal.SIGTERM), int(signal.SIGINT)}

    for of_process in map_parallel(blocked, ["a", "b"], processes=2):
        assert numbers <= of_process
    assert not numbers & blocked("")


@pytest.mark.parametrize("begun", [0, 1])
def test_processes_of_results_that_nobody_reads_any_more_end(begun: int) -> None:
    before = set(multiprocessing.active_children())
    results = map_parallel(str.upper, ["a", "b", "c"] * 9, processes=2)
    assert [next(results) for _ in range(begun)] == ["A"] * begun
    cycle: list[object] = [results]
    cycle.append(cycle)  # as an error and its frames are
    del results, cycle

    gc.collect()
    assert set(multiprocessing.active_children()) <= before


def test_an_item_without_a_name_is_named_by_its_number() -> None:
    begun = Begun(3)
    begun.numbers[1] = 4

    with (
        pytest.raises(RuntimeError, match=r"^item 5 of 9: begun last .* \(DataLoader timed out\)$"),
        begun.named([("a", 1)] * 9),
    ):
        raise RuntimeError("DataLoader timed out")


@pytest.mark.parametrize("error", [EOFError(), ConnectionResetError(104, "reset")])
def test_half_a_message_of_a_lost_process_is_told_so(error: Exception) -> None:
    begun = Begun(1)
    begun.numbers[0] = 0

    with pytest.raises(RuntimeError, match=r"^a: begun last .* \(.*(EOF|reset)"), begun.named("a"):
        raise error


def write_half() -> None:
    try:
        raise RuntimeError("DataLoader worker is killed")
    finally:
        raise OSError("x.pt: could not be written")


def test_a_lost_process_is_told_though_another_error_follows() -> None:
    begun = Begun(1)
    begun.numbers[0] = 0

    with pytest.raises(RuntimeError, match=r"\(DataLoader worker is killed\)$"), begun.named("a"):
        write_half()


@pytest.mark.parametrize(("workers", "error"), [(1, RuntimeError("no memory")), (0, EOFError("x"))])
def test_an_error_of_any_other_kind_stays_as_it_is(workers: int, error: Exception) -> None:
    with pytest.raises(type(error), match=f"^{error}$"), Begun(workers).named([]):
        raise error


def test_tensors_of_another_process_keep_no_file_open() -> None:
    before = len([*Path("/dev/fd").iterdir()])

    results = list(map_parallel(torch.ones, range(50), processes=2))

    assert [len(ones) for ones in results] == [*range(50)]
    assert len([*Path("/dev/fd").iterdir()]) < before + 10  # some are of the processes


@pytest.mark.parametrize("processes", [0, 1, 2])
def test_no_items_give_nothing(processes: int) -> None:
    assert list(map_parallel(measure, [], processes=processes)) == []


@pytest.mark.parametrize(
    ("processes", "items", "count"), [(0, 3, 0), (1, 3, 0), (2, 4, 2), (4, 2, 2), (2, 1, 0)]
)
def test_no_more_processes_start_than_asked_for_or_than_items(
    processes: int, items: int, count: int
) -> None:
    used = set(map_parallel(process_of, range(items), processes=processes))

    assert len(used) == max(count, 1)
    assert (os.getpid() in used) == (count == 0)


@pytest.mark.parametrize("processes", [0, 1, 2])
def test_nothing_is_drawn_from_the_generator_that_models_start_from(
    processes: int, rng: torch.Generator
) -> None:
    before = rng.get_state()

    list(map_parallel(measure, ["a", "bb"], processes=processes))

    assert torch.equal(rng.get_state(), before)


def test_usable_cores_are_those_of_this_process_or_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 4}, raising=False)
    assert usable_cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert usable_cores() == 3
