"""Files that are whole or not there, and what they hold of numbers that JSON cannot say."""

import errno
import json
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.worlds import files_of_at_most
from tools.files.atomic import (
    filled_folder,
    locked,
    shortened,
    why,
    write_atomically,
    write_json,
    write_scores,
)


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for data in (b"one", b"other"):
        write_atomically(tmp_path / "file", data)

    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"other"


def test_a_file_that_does_not_fit_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"one")

    with files_of_at_most(10), pytest.raises(OSError, match=rf"{path}: 20 bytes"):
        write_atomically(path, bytes(20))

    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"one"


@pytest.mark.parametrize("name", ["a" * 255, "類" * 85, "é" * 127])
def test_the_longest_names_can_be_written_and_locked(name: str, tmp_path: Path) -> None:
    with locked(tmp_path / name):
        write_atomically(tmp_path / name, b"one")

    assert (tmp_path / name).read_bytes() == b"one"


def test_a_long_name_is_cut_between_characters_and_told_apart_from_others() -> None:
    assert shortened("類" * 85) == "類" * 85
    cut = {shortened("類" * 85 + end) for end in ("a", "b")}
    assert len(cut) == 2
    assert all(len(name.encode()) in range(250, 256) for name in cut)
    assert all(name.startswith("類" * 79 + "-") for name in cut)
    assert len(shortened("abc" * 20, 40)) == 40


def hide(number: int) -> None:
    """As torch does with an error of the disk."""
    try:
        raise OSError(number, os.strerror(number))
    except OSError:
        raise RuntimeError("[enforce fail at inline_container.cc:672]")  # noqa: B904 - by itself


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_in_words_though_a_library_hides_it(
    number: int, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError) as raised:
        hide(number)

    reason = why(raised.value, tmp_path)
    assert re.fullmatch(r"no space left on device, \d+ bytes are free", reason)
    assert why(RuntimeError("another"), tmp_path) == "another"


def test_what_is_not_a_number_becomes_null(tmp_path: Path) -> None:
    content = {"a": math.nan, 0.5: [math.inf, (1.5, np.float64(2.5))], "p": Path("x"), "n": None}
    write_json(tmp_path / "a.json", content)

    assert json.loads((tmp_path / "a.json").read_text()) == {
        "a": None,
        "0.5": [None, [1.5, 2.5]],
        "p": "x",
        "n": None,
    }


def test_what_json_cannot_say_is_refused_and_leaves_the_file_before(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": 1})

    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": torch.ones(1)})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}


def test_scores_are_read_without_pickle_and_hold_nothing_else(tmp_path: Path) -> None:
    write_scores(tmp_path / "scores.npz", ids=np.array(["000001", "ä"]), scores=np.eye(2))

    with np.load(tmp_path / "scores.npz", allow_pickle=False) as read:
        assert sorted(read.files) == ["ids", "scores"]
        assert read["ids"].tolist() == ["000001", "ä"]
        assert (read["scores"] == np.eye(2)).all()
    assert [path.name for path in tmp_path.iterdir()] == ["scores.npz"]


def test_scores_that_need_a_pickle_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pickle"):
        write_scores(tmp_path / "scores.npz", ids=np.array([{}]))
    assert not (tmp_path / "scores.npz").exists()


# Folders


def fill(folder: Path, *names: str, replace: bool = False) -> None:
    with filled_folder(folder, names=("a", "b", "c"), replace=replace) as place:
        for name in names:
            (place / name).mkdir()
            (place / name / "file").write_text(name)


def test_a_folder_is_filled_at_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    with filled_folder(folder, names=("a",), replace=False) as place:
        (place / "a").touch()
        assert not (folder / "a").exists()

    assert [path.name for path in folder.iterdir()] == ["a"]


def test_an_earlier_result_is_refused_or_goes_as_a_whole(tmp_path: Path) -> None:
    fill(tmp_path, "a", "b")

    with pytest.raises(FileExistsError, match=rf"{tmp_path}: holds a result"):
        fill(tmp_path, "c")
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}

    fill(tmp_path, "b", "c", replace=True)
    assert {path.name for path in tmp_path.iterdir()} == {"b", "c"}


@pytest.mark.parametrize("existed", [False, True])
def test_after_an_error_the_folder_is_as_before(existed: bool, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    if existed:
        fill(folder, "a")

    with pytest.raises(NotADirectoryError):
        fill(folder, "b", "b/file/c", replace=True)

    assert [path.name for path in tmp_path.rglob("*")] == (["out", "a", "file"] if existed else [])


def test_what_a_killed_process_left_is_refused_or_removed(tmp_path: Path) -> None:
    (tmp_path / ".unfinished" / "b").mkdir(parents=True)

    with pytest.raises(FileExistsError, match="maybe unfinished"):
        fill(tmp_path, "a")
    fill(tmp_path, "a", replace=True)

    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("replace", [False, True])
def test_of_two_writers_the_second_is_refused_and_the_first_ends_as_usual(
    replace: bool, tmp_path: Path
) -> None:
    with filled_folder(tmp_path / "out", names=("a", "b"), replace=False) as place:
        (place / "a").touch()
        with pytest.raises(FileExistsError, match=rf"{tmp_path}/out"):
            fill(tmp_path / "out", "b", replace=replace)

    assert [path.name for path in tmp_path.rglob("*")] == ["out", "a"]


def test_other_files_are_never_removed(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").touch()
    fill(tmp_path, "b")
    fill(tmp_path, "a", replace=True)
    assert {path.name for path in tmp_path.iterdir()} == {".DS_Store", "a"}
    (tmp_path / "mine").touch()

    with pytest.raises(FileExistsError, match="holds mine, which is no part of a result"):
        fill(tmp_path, "b", replace=True)

    assert {path.name for path in tmp_path.iterdir()} == {".DS_Store", "a", "mine"}
