"""Heatmaps as files, in TensorBoard, in visdom; refusals before any work."""

from pathlib import Path

import pytest

from data.images import read_image
from tests.worlds import fake_visdom, files_of, free_port, read_events
from tools.runs.folder import evaluation_folder
from tools.view_heatmaps import main


def words(run_dir: Path, tiny_voc: Path, *others: str) -> list[str]:
    small = f"--run-dir {run_dir} --voc-root {tiny_voc} --amp off --device cpu --count 3"
    return [*small.split(), *others]


def test_files_are_images_named_by_split_and_image_beside_an_unchanged_run(
    copy: Path, small_run: Path, tiny_voc: Path
) -> None:
    assert main(words(copy, tiny_voc)) == 0

    folder = evaluation_folder(copy, "val") / "heatmaps"
    paths = sorted(folder.iterdir())
    ids = (tiny_voc / "VOC2007" / "ImageSets" / "Main" / "val.txt").read_text().split()
    assert len(paths) == 3
    assert {path.name for path in paths} <= {f"val_{image_id}.jpg" for image_id in ids}
    assert all(read_image(path).shape[0] == 3 for path in paths)

    before, after = files_of(small_run), files_of(copy)
    assert before.items() <= after.items()
    added = after.keys() - before.keys()
    assert added == {path.relative_to(copy).as_posix() for path in paths}


def test_no_more_images_are_shown_than_there_are_in_the_folder_of_the_name(
    copy: Path, tiny_voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--count", "100", "--checkpoint", "best", "--name", "best")
    assert main(words(copy, tiny_voc, *more)) == 0

    folder = evaluation_folder(copy, "best") / "heatmaps"
    assert len(list(folder.iterdir())) == 6
    assert capsys.readouterr().out.endswith(f"6 images in {folder}\n")


def test_tensorboard_gets_one_image_each(copy: Path, tiny_voc: Path) -> None:
    assert main(words(copy, tiny_voc, "--to", "tensorboard", "--split", "train")) == 0

    events = read_events(evaluation_folder(copy, "train") / "heatmaps")
    tags = events.Tags()["images"]
    assert len(tags) == 3
    assert all(tag.startswith("train_0000") for tag in tags)
    assert events.Images(tags[0])[0].step == 6


def test_visdom_gets_one_window_each(small_run: Path, tiny_voc: Path) -> None:
    with fake_visdom() as server:
        assert main(words(small_run, tiny_voc, "--to=visdom", *server.words)) == 0

    assert len(server.events) == len(server.windows) == 3
    assert all(window.startswith("val_0000") for window in server.windows)


def test_a_visdom_that_is_down_is_a_failure_here(
    small_run: Path, tiny_voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    down = ("--to=visdom", "--visdom.server=127.0.0.1", f"--visdom.port={port}")
    assert main(words(small_run, tiny_voc, *down)) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: 127.0.0.1:{port}: ")


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (["--to=visdom"], "--visdom.server"),
        (["--count=0"], "--count"),
        (["--run-dir={tmp}/typo"], "typo/settings.yaml"),
    ],
)
def test_an_invalid_setting_is_refused_and_nothing_is_made(
    others: list[str],
    message: str,
    small_run: Path,
    tiny_voc: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled = [word.format(tmp=tmp_path) for word in others]
    assert main(words(small_run, tiny_voc, *filled)) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
