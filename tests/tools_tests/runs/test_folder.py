"""A run's folder: who may write in it, and its files as others read them."""

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from localizer.settings import BoxSettings
from tests.worlds import YAML_BOMB, forked
from tools.cli.console import echo, warn
from tools.cli.settings import flatten, to_dict
from tools.runs.folder import evaluation_folder, locked_run, read_settings, write_settings
from tools.runs.kinds import TrainLocalizerSettings, TrainWsddnSettings


def test_a_second_run_is_refused_while_the_first_holds_the_folder(tmp_path: Path) -> None:
    with (
        locked_run(tmp_path / "run"),
        pytest.raises(FileExistsError, match=str(tmp_path)),
        locked_run(tmp_path / "run"),
    ):
        pass

    with locked_run(tmp_path / "run"):
        pass


def hold(run_dir: Path) -> None:
    with locked_run(run_dir):
        (run_dir / "locked").touch()
        signal.pause()


def test_a_killed_run_lets_go_of_its_folder(tmp_path: Path) -> None:
    with forked(hold, tmp_path) as holder:
        while not (tmp_path / "locked").exists():
            assert holder.is_alive()
        with pytest.raises(FileExistsError), locked_run(tmp_path):
            pass

    with locked_run(tmp_path):
        pass


def test_what_is_said_while_the_folder_is_held_is_in_its_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2):
        with locked_run(tmp_path):
            echo(f"run {number}: ä")
            warn("careful")
    echo("not logged")

    log = (tmp_path / "log.txt").read_text().splitlines()
    assert [line.split(" ", 2)[2] for line in log] == [
        "run 1: ä",
        "warning: careful",
        "run 2: ä",
        "warning: careful",
    ]
    printed, error = capsys.readouterr()
    assert printed.splitlines() == ["run 1: ä", "run 2: ä", "not logged"]
    assert error.splitlines() == ["warning: careful"] * 2


def test_written_settings_are_plain_and_read_again(tmp_path: Path) -> None:
    localizer = TrainLocalizerSettings(
        run_dir=Path("runs/a b"), voc_root=None, boxes=BoxSettings((0.25, 1.0)), resume="auto"
    )
    detector = TrainWsddnSettings(run_dir=Path("r"), proposals=(Path("p.npz"),), weights=Path("w"))
    for settings in (localizer, detector):
        write_settings(tmp_path, settings)
        assert read_settings(tmp_path) == replace(settings, resume="")

    plain = to_dict(localizer)
    assert plain["run_dir"] == "runs/a b"
    assert plain["boxes"]["thresholds"] == [0.25, 1.0]
    assert flatten(plain)["optim.lr"] == 0.01


def test_one_value_of_what_is_a_list_now_is_read_as_a_list_of_one(tmp_path: Path) -> None:
    settings = TrainWsddnSettings(run_dir=Path("r"), proposals=(Path("p.npz"),))
    write_settings(tmp_path, settings)
    path = tmp_path / "settings.yaml"
    written = path.read_text()
    path.write_text(written.replace("proposals:\n- p.npz\n", "proposals: p.npz\n"))

    assert path.read_text() != written
    assert read_settings(tmp_path) == settings


def test_settings_of_an_earlier_version_tell_their_kind_by_the_proposals(tmp_path: Path) -> None:
    for settings in (
        TrainLocalizerSettings(run_dir=Path("r")),
        TrainWsddnSettings(run_dir=Path("r"), proposals=(Path("p.npz"),)),
    ):
        write_settings(tmp_path, settings)
        path = tmp_path / "settings.yaml"
        path.write_text(path.read_text().replace(f"kind: {settings.kind}\n", ""))

        assert read_settings(tmp_path) == settings


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"settings\.yaml"):
        read_settings(tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"- a\n",
        b"kind: cat\n",
        b"run_dir: r\nseed: one\n",
        b"a: [",
        b"\xff\xfe\x00",
        b"a: !!python/object/apply:os.mkdir ['TRACE']",
        f"{YAML_BOMB}classes: *a8\n".encode(),
        f"{YAML_BOMB}optim: *a8\n".encode(),
        b"optim: &all {lr: *all}\n",
    ],
)
def test_settings_that_are_none_are_refused_by_name_and_run_no_code(
    data: bytes, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    (tmp_path / "settings.yaml").write_bytes(data.replace(b"TRACE", bytes(trace)))

    with pytest.raises(ValueError, match=r"settings\.yaml"):
        read_settings(tmp_path)
    assert not trace.exists()


def test_names_of_evaluations_cannot_leave_their_folder(tmp_path: Path) -> None:
    folder = tmp_path / "evaluations"

    assert evaluation_folder(tmp_path, "a/b") == folder / "a%2Fb"
    assert evaluation_folder(tmp_path, "../\udcff ä") == folder / "..%2F%FF %C3%A4"
    for name in ("", ".", ".."):
        with pytest.raises(ValueError, match="--name"):
            evaluation_folder(tmp_path, name)
