"""A run's folder: who may write in it, and its files as others read them."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from data.types import Detections, no_detections
from tools.cli.console import echo, warn
from tools.cli.settings import flatten, to_dict
from tools.files.atomic import write_json, write_scores
from tools.files.detections import write_detections
from tools.runs.environment import environment, write_environment
from tools.runs.folder import locked, read_settings, write_settings
from tools.training.settings import TrainLocalizerSettings


def test_a_second_run_is_refused_while_the_first_holds_the_folder(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "run"),
        pytest.raises(FileExistsError, match="run: another run is writing in this folder"),
        locked(tmp_path / "run"),
    ):
        pass

    with locked(tmp_path / "run"):
        pass


def test_a_killed_run_lets_go_of_its_folder(tmp_path: Path) -> None:
    program = (
        "import signal, sys\n"
        "from filelock import FileLock\n"
        "with FileLock(sys.argv[1]):\n"
        "    print('held', flush=True)\n"
        "    signal.pause()\n"
    )
    words = [sys.executable, "-c", program, str(tmp_path / ".lock")]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(FileExistsError), locked(tmp_path):
            pass
        holder.kill()
        holder.wait()

    with locked(tmp_path):
        pass


def test_what_is_said_while_the_folder_is_held_is_in_its_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2):
        with locked(tmp_path):
            echo(f"run {number}: ä")
            warn("careful")
    echo("not logged")

    assert (tmp_path / "log.txt").read_text().splitlines() == [
        "run 1: ä",
        "warning: careful",
        "run 2: ä",
        "warning: careful",
    ]
    printed, error = capsys.readouterr()
    assert printed.splitlines() == ["run 1: ä", "run 2: ä", "not logged"]
    assert error.splitlines() == ["warning: careful"] * 2


def test_settings_become_plain_and_flat() -> None:
    settings = to_dict(TrainLocalizerSettings(run_dir=Path("runs/a b"), voc_root=None))

    assert settings["run_dir"] == "runs/a b"
    assert settings["boxes"]["thresholds"] == [0.5]
    assert flatten(settings)["optim.lr"] == 0.01
    assert flatten({}) == {}


def test_written_settings_are_read_again(tmp_path: Path) -> None:
    settings = to_dict(TrainLocalizerSettings(run_dir=tmp_path, voc_root=None))
    write_settings(tmp_path, settings)

    assert read_settings(tmp_path) == settings


def test_the_environment_is_written_beside_them(tmp_path: Path) -> None:
    write_environment(tmp_path)

    assert json.loads((tmp_path / "environment.json").read_text()).keys() == environment().keys()


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"settings\.yaml: no run in this folder \(train"):
        read_settings(tmp_path)


@pytest.mark.parametrize("data", [b"", b"- a\n", b"text", b"a: [", b"\xff\xfe\x00", b"a: !!x y"])
def test_settings_that_are_none_are_refused_by_name(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_bytes(data)

    with pytest.raises(ValueError, match=r"settings\.yaml: not settings of a run"):
        read_settings(tmp_path)


def test_reading_settings_runs_no_code(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    (tmp_path / "settings.yaml").write_text(f"a: !!python/object/apply:os.mkdir ['{trace}']")

    with pytest.raises(ValueError, match="not settings of a run"):
        read_settings(tmp_path)
    assert not trace.exists()


def test_the_environment_names_versions_and_hardware() -> None:
    found = environment()

    assert found["torch"] == torch.__version__.partition("+")[0] or found["torch"]
    assert found["python"].startswith("3.")
    assert found["processor"]
    assert found["threads"] >= 1


# Files


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

    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(tmp_path / "a.json", {"a": torch.ones(1)})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}


def test_detections_are_written_with_full_precision(tmp_path: Path) -> None:
    boxes, scores = torch.tensor([[0.1, 1 / 3, 7.7, 9.9]]), torch.tensor([1 / 3])
    found = {"000001": Detections(boxes, torch.tensor([4]), scores), "000002": no_detections()}
    sizes = {"000001": (10, 20), "000002": (30, 40)}
    write_detections(tmp_path / "detections.json", ("a", "b"), found, sizes)

    content = json.loads((tmp_path / "detections.json").read_text())
    first = content["images"]["000001"]
    assert content["classes"] == ["a", "b"]
    assert torch.tensor(first["boxes"]).equal(boxes)
    assert torch.tensor(first["scores"]).equal(scores)
    assert (first["labels"], first["size"]) == ([4], [10, 20])
    assert content["images"]["000002"] == {
        "size": [30, 40],
        "boxes": [],
        "labels": [],
        "scores": [],
    }


def test_scores_are_read_without_pickle_and_hold_nothing_else(tmp_path: Path) -> None:
    write_scores(tmp_path / "scores.npz", ids=np.array(["000001", "ä"]), scores=np.eye(2))

    with np.load(tmp_path / "scores.npz", allow_pickle=False) as read:
        assert sorted(read.files) == ["ids", "scores"]
        assert read["ids"].tolist() == ["000001", "ä"]
        assert (read["scores"] == np.eye(2)).all()
    assert [path.name for path in tmp_path.iterdir()] == ["scores.npz"]


def test_scores_that_need_a_pickle_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allow_pickle=False"):
        write_scores(tmp_path / "scores.npz", ids=np.array([{}]))
    assert not (tmp_path / "scores.npz").exists()
