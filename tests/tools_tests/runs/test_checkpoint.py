"""Checkpoints against kills, full disks, damaged and foreign files."""

import contextlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.worlds import Trap, files_of_at_most, forked
from tools.runs.checkpoint import (
    FORMAT_VERSION,
    check_lists,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
    weights_sha256,
)

Kill = type("Kill", (BaseException,), {})  # is never caught, like SIGKILL


def content(step: int, value: float = 0.0) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "model": {"weight": torch.full((1000,), float(value))},
        "optimizer": {},
        "scheduler": {},
        "scaler": {},
        "step": step,
        "epoch": 0,
        "batch": step,
        "rng": {},
        "best": float("-inf"),
        "settings": {"seed": 0},
        "builder": {},
        "progress": {"evaluated": 0, "window": []},
    }


def value_of(loaded: dict[str, Any] | None) -> float | None:
    return None if loaded is None else float(loaded["model"]["weight"][0])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def damage(path: Path) -> None:
    """Flip one bit in the middle of the weights, which no zip reader notices."""
    data = bytearray(path.read_bytes())
    where = data.index(torch.full((1000,), 1.0).numpy().tobytes()) + 1000
    data[where] ^= 1
    path.write_bytes(data)


# Saving and loading


def test_what_is_saved_is_loaded_and_before_there_is_nothing(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    assert load_checkpoint(tmp_path / "checkpoints") is None
    saved = content(7, 0.25)
    path = save_checkpoint(tmp_path / "checkpoints", saved)

    loaded = load_checkpoint(tmp_path / "checkpoints")

    assert path.name == "step-00000007.pt"
    assert loaded is not None
    assert loaded.pop("model")["weight"].equal(saved.pop("model")["weight"])
    assert loaded == saved


@pytest.mark.parametrize("change", [lambda c: c.pop("rng"), lambda c: c.update(extra=1)])
def test_other_keys_are_not_saved(change: Callable[[Any], Any], tmp_path: Path) -> None:
    wrong = content(1)
    change(wrong)

    with pytest.raises(ValueError, match="rng"):
        save_checkpoint(tmp_path, wrong)
    assert names(tmp_path) == []


def test_the_last_two_and_the_best_stay(tmp_path: Path) -> None:
    for step in range(1, 6):
        save_checkpoint(tmp_path, content(step, step), is_best=step == 2)

    kept = ["step-00000002.pt", "step-00000004.pt", "step-00000005.pt"]
    assert names(tmp_path) == ["best.json", "last.json", *kept]
    assert value_of(load_checkpoint(tmp_path)) == 5
    assert value_of(load_checkpoint(tmp_path, "best")) == 2


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    for step, value in ((1, 1), (2, 2), (2, 3)):
        save_checkpoint(tmp_path, content(step, value))

    assert names(tmp_path) == ["last.json", "step-00000001.pt", "step-00000002.pt"]
    assert value_of(load_checkpoint(tmp_path)) == 3


def test_checkpoints_of_a_future_that_was_given_up_go(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, content(step, 1))
    damage(tmp_path / "step-00000003.pt")
    save_checkpoint(tmp_path, content(2, 2))  # gone back to the second, as a run that resumes does

    assert names(tmp_path) == ["last.json", "step-00000002.pt"]


# Kills


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Kill at the n-th of all system calls that change what lies on the disk."""

    def arm(number: int) -> None:
        count = iter(range(number))

        def counted(call: Callable[..., Any]) -> Callable[..., Any]:
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                if next(count, None) is None:
                    raise Kill
                return call(*args, **kwargs)

            return wrapper

        for owner, name in ((Path, "replace"), (Path, "unlink"), (os, "fsync")):
            monkeypatch.setattr(owner, name, counted(getattr(owner, name)))

    return arm


@pytest.mark.parametrize("number", range(12))
@pytest.mark.parametrize("step", [2, 3])
def test_a_kill_while_saving_leaves_the_old_state_or_the_new_one(
    step: int,
    number: int,
    tmp_path: Path,
    kill_at: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save_checkpoint(tmp_path, content(1, 1), is_best=True)
    save_checkpoint(tmp_path, content(2, 2))
    kill_at(number)
    with contextlib.suppress(Kill):
        save_checkpoint(tmp_path, content(step, 9), is_best=True)
    monkeypatch.undo()

    last, best = value_of(load_checkpoint(tmp_path)), value_of(load_checkpoint(tmp_path, "best"))

    assert last in (2, 9)
    assert best in (1, 9)
    assert best == 9 or last == 2  # a run that goes on from the new state has it as its best
    save_checkpoint(tmp_path, content(step, 9), is_best=True)
    older = "step-00000001.pt" if step == 2 else "step-00000002.pt"
    assert names(tmp_path) == ["best.json", "last.json", older, f"step-0000000{step}.pt"]


@pytest.mark.parametrize("number", range(6))
def test_a_kill_while_saving_the_first_leaves_none_or_the_first(
    number: int,
    tmp_path: Path,
    kill_at: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kill_at(number)
    with contextlib.suppress(Kill):
        save_checkpoint(tmp_path, content(1, 1))
    monkeypatch.undo()

    assert value_of(load_checkpoint(tmp_path)) in (None, 1)
    assert (names(tmp_path) == ["step-00000001.pt.tmp"]) == (number < 2)


def test_every_file_is_on_the_disk_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def noted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any) -> Any:
            calls.append(name)
            return call(*args)

        return wrapper

    monkeypatch.setattr(Path, "replace", noted("replace", Path.replace))
    monkeypatch.setattr(os, "fsync", noted("fsync", os.fsync))
    save_checkpoint(tmp_path, content(1), is_best=True)

    assert calls == ["fsync", "replace"] * 3  # the checkpoint and the two lists


# Damage


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-500]),
        lambda path: torch.save({"weight": torch.ones(3)}, path),
        damage,
    ],
    ids=["truncated", "other weights", "one bit"],
)
def test_damaged_checkpoints_are_refused_by_name_and_nothing_starts_from_the_beginning(
    change: Callable[[Path], Any], tmp_path: Path
) -> None:
    for step in (2, 3):
        change(save_checkpoint(tmp_path, content(step, 1)))

    with pytest.raises(ValueError, match=r"00003\.pt: .* damaged .*00002\.pt: "):
        load_checkpoint(tmp_path)
    with pytest.raises(ValueError, match=r"00003\.pt: .* damaged"):
        read_checkpoint(tmp_path / "step-00000003.pt")


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-500]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(pickle.dumps([1, 2])),
        lambda path: torch.save({"weight": torch.ones(3)}, path),
        lambda path: torch.save([1], path),
        lambda path: torch.save(content(1) | {"format_version": 99}, path),
        lambda path: torch.save(content(1) | {"model": [1]}, path),
        Path.unlink,
    ],
    ids=["truncated", "empty", "pickle", "weights", "list", "format", "no weights", "missing"],
)
def test_what_is_no_checkpoint_is_refused_by_name_without_its_sha256_too(
    change: Callable[[Path], Any], tmp_path: Path
) -> None:
    path = save_checkpoint(tmp_path, content(3, 1)).rename(tmp_path / "copy.pt")  # in no list
    change(path)

    with pytest.raises((ValueError, FileNotFoundError), match=f"{path}: "):
        read_checkpoint(path)


@pytest.mark.parametrize("change", [damage, Path.unlink])
def test_a_damaged_newest_falls_back_to_the_one_before_and_names_both(
    change: Callable[[Path], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_checkpoint(tmp_path, content(1, 1))
    change(save_checkpoint(tmp_path, content(2, 1)))

    loaded = load_checkpoint(tmp_path)

    assert loaded is not None
    assert loaded["step"] == 1
    (warning,) = capsys.readouterr().err.splitlines()
    assert "step-00000002.pt" in warning
    assert warning.endswith("going back to step-00000001.pt")


DAMAGED_LISTS = ["", "[]", '{"checkpoints": [{"file": "a"}]}', "[" * 100_000]


@pytest.mark.parametrize("text", [None, *DAMAGED_LISTS], ids=range(5))
def test_where_the_list_is_lost_or_damaged_the_newest_intact_checkpoint_counts(
    text: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, content(step, 1))
    (tmp_path / "last.json").unlink()
    if text is not None:
        (tmp_path / "last.json").write_text(text)

    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert loaded["step"] == 2
    (warning,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path / 'last.json'}: no" in warning
    assert warning.endswith("going back to step-00000002.pt")

    damage(tmp_path / "step-00000002.pt")  # no list has its sha256
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert loaded["step"] == 1
    save_checkpoint(tmp_path, content(3, 1))  # makes a new list
    assert names(tmp_path) == ["last.json", "step-00000003.pt"]


def test_the_best_one_is_better_than_none(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, content(1, 1), is_best=True)
    for step in (2, 3):
        damage(save_checkpoint(tmp_path, content(step, 1)))

    loaded = load_checkpoint(tmp_path)

    assert loaded is not None
    assert loaded["step"] == 1
    damage(tmp_path / "step-00000001.pt")
    with pytest.raises(ValueError, match=r"00003.*00002.*00001.*no intact checkpoint is left"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("text", DAMAGED_LISTS, ids=range(4))
def test_a_damaged_list_of_the_best_is_refused_by_name_at_the_start(
    text: str, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path, content(1), is_best=True)
    check_lists(tmp_path)
    (tmp_path / "best.json").write_text(text)

    with pytest.raises(ValueError, match=rf"^{tmp_path}/best\.json: not a list of checkpoints"):
        check_lists(tmp_path)
    with pytest.raises(ValueError, match=r"best\.json: not a list"):
        save_checkpoint(tmp_path, content(2), is_best=True)
    assert value_of(load_checkpoint(tmp_path)) == 0


def test_a_copied_checkpoint_is_checked_by_its_own_sums(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "run", content(3, 1)).rename(tmp_path / "copy.pt")
    assert read_checkpoint(path)["step"] == 3
    damage(path)

    with pytest.raises(ValueError, match=r"copy\.pt: not a readable checkpoint"):
        read_checkpoint(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(value: float, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, content(1, value))

    with pytest.raises(ValueError, match=r"step-00000001\.pt: not all numbers are finite in wei"):
        read_checkpoint(path)


@pytest.mark.parametrize("write", [torch.save, lambda c, p: p.write_bytes(pickle.dumps(c))])
def test_loading_runs_no_code(write: Callable[[Any, Path], Any], tmp_path: Path) -> None:
    path, trace = tmp_path / "some.pt", tmp_path / "trace"
    write(content(1) | {"settings": Trap(trace)}, path)

    with pytest.raises(ValueError, match=r"some\.pt: "):
        read_checkpoint(path)
    assert not trace.exists()


# A full disk


@pytest.mark.parametrize("step", [1, 2])
def test_a_full_disk_keeps_the_previous_checkpoint_and_leaves_no_tmp(
    step: int, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path, content(1, 1))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    with files_of_at_most(3000), pytest.raises(OSError, match=rf"step-0000000{step}\.pt: "):
        save_checkpoint(tmp_path, content(step, 2))

    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert value_of(load_checkpoint(tmp_path)) == 1


def test_a_full_disk_that_torch_reports_in_its_own_way_is_named_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(content: Any, file: Any) -> None:
        file.write(b"12345")
        file.flush()
        raise RuntimeError("PytorchStreamWriter failed writing file data/0")

    monkeypatch.setattr(torch, "save", fail)

    with pytest.raises(OSError, match=r"after 5 bytes .*PytorchStreamWriter failed"):
        save_checkpoint(tmp_path, content(1))
    assert names(tmp_path) == []


@pytest.mark.parametrize("step", [1, 2])
def test_a_list_that_does_not_fit_leaves_what_was_there(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, content(1, 1))
    calls = iter(["the checkpoint"])

    def full_at_the_list(file: int) -> None:
        if next(calls, None) is None:
            raise OSError("full")

    monkeypatch.setattr(os, "fsync", full_at_the_list)
    with pytest.raises(OSError, match="full"):
        save_checkpoint(tmp_path, content(step, 2))

    assert value_of(load_checkpoint(tmp_path)) == 1
    assert not list(tmp_path.glob("*tmp*"))


# The name of a set of weights

WEIGHTS = {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([3])}


def test_equal_weights_have_one_name_whatever_their_order_and_memory() -> None:
    turned = torch.tensor([[1.0, 9.0], [2.0, 9.0]]).T[:1]

    assert not turned.is_contiguous() or turned.stride() != WEIGHTS["a"].stride()
    assert weights_sha256({"b": WEIGHTS["b"], "a": turned}) == weights_sha256(WEIGHTS)
    weight = torch.arange(24.0).reshape(2, 3, 2, 2)
    other = weight.to(memory_format=torch.channels_last)
    assert weights_sha256({"a": other}) == weights_sha256({"a": weight})


@pytest.mark.parametrize(
    "other",
    [
        {"a": WEIGHTS["a"], "c": WEIGHTS["b"]},
        {"a": WEIGHTS["a"].double(), "b": WEIGHTS["b"]},
        {"a": WEIGHTS["a"].view(torch.int32), "b": WEIGHTS["b"]},
        {"a": WEIGHTS["a"].T.contiguous(), "b": WEIGHTS["b"]},
        {"a": WEIGHTS["a"] + 1e-6, "b": WEIGHTS["b"]},
        {"a": WEIGHTS["a"]},
    ],
    ids=["name", "precision", "kind", "shape", "value", "missing"],
)
def test_other_weights_have_another_name(other: dict[str, Tensor]) -> None:
    assert weights_sha256(other) != weights_sha256(WEIGHTS)


@pytest.mark.parametrize(
    "tensor",
    [torch.tensor(1.0), torch.zeros(0, 3), torch.tensor([True]), torch.ones(2).bfloat16()],
)
def test_weights_of_every_kind_have_a_name(tensor: Tensor) -> None:
    assert len(weights_sha256({"a": tensor.requires_grad_(tensor.is_floating_point())})) == 64


def test_the_name_of_weights_never_changes() -> None:
    # sha256 of b"a torch.float32 [2]\n" and the bytes of 1.0 and 2.0
    expected = "4bab788428211a3823a1aa54d335f86917c8bb98c30867f071b06a4fd56f16db"

    assert weights_sha256({"a": torch.tensor([1.0, 2.0])}) == expected


def save_with_an_error_at_the_end(folder: Path) -> None:
    """As when torch raises for a second lost worker before it has handled the first error."""

    def stop(self: Any, *_: Any) -> None:
        raise RuntimeError("DataLoader worker is killed")

    torch.serialization._open_zipfile_writer_buffer.__exit__ = stop  # type: ignore[method-assign]
    with contextlib.suppress(OSError):
        save_checkpoint(folder, content(1))
    os._exit(3)  # the writer was freed, and nothing has aborted


def test_an_error_that_leaves_the_writer_unfinished_does_not_abort_the_process(
    tmp_path: Path,
) -> None:
    with forked(save_with_an_error_at_the_end, tmp_path) as process:
        process.join(60)
        assert process.exitcode == 3
    assert names(tmp_path) == []
