"""Heatmaps as files, in TensorBoard, in visdom; refusals before any work."""

from pathlib import Path

import pytest

from data.datasets.voc import VOCSource
from data.images import read_image
from data.synthetic.dataset import SYNTHETIC_CLASSES
from tests.worlds import fake_visdom, files_of, free_port, read_events
from tools.files.heatmaps import heatmaps_path, read_heatmaps
from tools.pages.draw import fit_height, in_a_row, overlay_heatmap
from tools.pages.predictions import HEIGHT
from tools.runs.folder import evaluation_folder
from tools.view_heatmaps import main


def words(run_dir: Path, tiny_voc: Path, *others: str) -> list[str]:
    small = f"--run-dir {run_dir} --voc-root {tiny_voc} --amp off --device cpu --count 3"
    return [*small.split(), *others]


def test_files_are_a_strip_and_its_heatmaps_named_by_split_and_image_beside_an_unchanged_run(
    copy: Path, small_run: Path, tiny_voc: Path
) -> None:
    assert main(words(copy, tiny_voc)) == 0

    folder = evaluation_folder(copy, "val") / "heatmaps"
    ids = (tiny_voc / "VOC2007" / "ImageSets" / "Main" / "val.txt").read_text().split()
    written = [image_id for image_id in ids if heatmaps_path(folder, "val", image_id).exists()]
    assert len(written) == 3
    added = [f"val_{image_id}.{ending}" for image_id in written for ending in ("jpg", "npz")]
    assert {path.name for path in folder.iterdir()} == set(added)

    before, after = files_of(small_run), files_of(copy)
    assert before.items() <= after.items()
    assert len(after) == len(before) + len(added)


def test_the_heatmaps_of_a_file_draw_what_the_strip_shows(copy: Path, tiny_voc: Path) -> None:
    assert main(words(copy, tiny_voc)) == 0

    dataset = VOCSource(tiny_voc, classes=SYNTHETIC_CLASSES).open("val")
    folder = evaluation_folder(copy, "val") / "heatmaps"
    for path in folder.glob("*.npz"):
        index = dataset.ids.index(path.stem.removeprefix("val_"))
        classes, heatmaps = read_heatmaps(path)
        assert classes == tuple(
            name
            for name, target in zip(SYNTHETIC_CLASSES, dataset.targets[index], strict=True)
            if target
        )
        image = dataset[index].image
        panels = [fit_height(image, HEIGHT)]
        for position in range(len(classes)):
            panels.append(fit_height(overlay_heatmap(image, heatmaps, position), HEIGHT))
        strip = read_image(path.with_suffix(".jpg"))[:, -HEIGHT:]
        assert (strip.int() - in_a_row(panels).int()).abs().float().mean() < 6  # JPEG rounds


def test_heatmaps_written_again_are_the_same_bytes(copy: Path, tiny_voc: Path) -> None:
    assert main(words(copy, tiny_voc)) == 0
    folder = evaluation_folder(copy, "val") / "heatmaps"
    before = files_of(folder)

    assert main(words(copy, tiny_voc)) == 0
    assert files_of(folder) == before


def test_no_more_images_are_shown_than_there_are_in_the_folder_of_the_name(
    copy: Path, tiny_voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--count", "100", "--checkpoint", "best", "--name", "best")
    assert main(words(copy, tiny_voc, *more)) == 0

    folder = evaluation_folder(copy, "best") / "heatmaps"
    assert len(list(folder.glob("*.npz"))) == len(list(folder.glob("*.jpg"))) == 6
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
