"""One function over many items: the same results in the same order from any number of processes."""

import os
from typing import NamedTuple

import pytest
import torch

from data.parallel import map_parallel, usable_cores

# torch warns of two processes on a single core
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker")


class Found(NamedTuple):
    word: str
    length: int


def measure(word: str) -> Found:
    if not word:
        raise ValueError("no word")
    return Found(word, len(word))


def stumble(kind: str) -> int:
    if kind == "own words":
        raise OwnWordsError("a.jpg")
    if kind == "nothing that pickles":
        raise ValueError(lambda: kind)
    raise FileNotFoundError(2, "No such file", "a.jpg")


class OwnWordsError(ValueError):
    """Made again from its message, it would say something else."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: does not decode")


def process_of(_: int) -> int:
    return os.getpid()


@pytest.mark.parametrize("processes", [0, 1, 2])
def test_named_results_come_in_the_order_of_the_items(processes: int) -> None:
    found = list(map_parallel(measure, ["ccc", "a"], processes=processes))

    assert found == [Found("ccc", 3), Found("a", 1)]
    assert {type(result) for result in found} == {Found}


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
        list(map_parallel(stumble, ["", ""], processes=2))

    assert caught.value.filename == "a.jpg"


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("own words", "^OwnWordsError: a.jpg: does not decode\n"),
        ("nothing that pickles", "^ValueError: <function stumble"),
    ],
)
def test_an_exception_that_no_pickle_carries_arrives_in_words(kind: str, says: str) -> None:
    with pytest.raises(RuntimeError, match=says):
        list(map_parallel(stumble, [kind, kind], processes=2))


@pytest.mark.parametrize("processes", [0, 1, 2])
def test_no_items_give_nothing(processes: int) -> None:
    assert list(map_parallel(measure, [], processes=processes)) == []


@pytest.mark.parametrize("processes", [0, 1])
def test_without_company_this_process_does_the_work(processes: int) -> None:
    assert set(map_parallel(process_of, range(3), processes=processes)) == {os.getpid()}


def test_two_processes_do_the_work_and_this_one_does_not() -> None:
    found = set(map_parallel(process_of, range(4), processes=2))

    assert len(found) == 2
    assert os.getpid() not in found


def test_no_more_processes_start_than_there_are_items() -> None:
    found = set(map_parallel(process_of, range(1), processes=2))

    assert len(found) == 1
    assert os.getpid() not in found


@pytest.mark.parametrize("processes", [0, 1, 2])
def test_nothing_is_drawn_from_the_generator_that_models_start_from(
    processes: int, rng: torch.Generator
) -> None:
    before = rng.get_state()

    list(map_parallel(measure, ["a", "bb"], processes=processes))

    assert torch.equal(rng.get_state(), before)


def test_cores_that_this_process_is_kept_off_are_not_usable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 4}, raising=False)
    assert usable_cores() == 2


def test_where_no_process_is_kept_off_any_core_all_are_usable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert usable_cores() == 3
