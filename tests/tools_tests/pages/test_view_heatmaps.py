"""Heatmaps as files, in TensorBoard, in visdom; refusals before any work."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)

from data.images import read_image
from tools.view_heatmaps import main


@pytest.fixture
def copy(small_run: Path, tmp_path: Path) -> Path:
    """A finished run that a test may write to."""
    return Path(shutil.copytree(small_run, tmp_path / "copy"))


def words(run_dir: Path, tiny_voc: Path, *others: str) -> list[str]:
    small = f"--run-dir {run_dir} --voc-root {tiny_voc} --amp off --device cpu --count 3"
    return [*small.split(), *others]


def test_files_are_images_named_by_split_and_image(copy: Path, tiny_voc: Path) -> None:
    assert main(words(copy, tiny_voc)) == 0

    paths = sorted((copy / "heatmaps").iterdir())
    ids = (tiny_voc / "VOC2007" / "ImageSets" / "Main" / "val.txt").read_text().split()
    assert len(paths) == 3
    assert {path.name for path in paths} <= {f"val_{image_id}.jpg" for image_id in ids}
    assert all(read_image(path).shape[0] == 3 for path in paths)


def test_no_more_images_are_shown_than_there_are(
    copy: Path, tiny_voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(copy, tiny_voc, "--count", "100", "--checkpoint", "best")) == 0

    assert len(list((copy / "heatmaps").iterdir())) == 6
    assert capsys.readouterr().out.endswith(f"6 images in {copy / 'heatmaps'}\n")


def test_tensorboard_gets_one_image_each(copy: Path, tiny_voc: Path) -> None:
    assert main(words(copy, tiny_voc, "--to", "tensorboard", "--split", "train")) == 0

    events = EventAccumulator(str(copy / "heatmaps"))
    events.Reload()
    tags = events.Tags()["images"]
    assert len(tags) == 3
    assert all(tag.startswith("train_0000") for tag in tags)
    assert events.Images(tags[0])[0].step == 6


def test_looking_changes_nothing_of_the_run(copy: Path, small_run: Path, tiny_voc: Path) -> None:
    assert main(words(copy, tiny_voc)) == 0

    def content(folder: Path) -> dict[str, bytes]:
        paths = (path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}

    after = content(copy)
    assert content(small_run).items() <= after.items()
    assert all(name.startswith("heatmaps/") for name in after.keys() - content(small_run).keys())


class Server(ThreadingHTTPServer):
    """Answers as visdom does and remembers the windows."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.windows: list[str] = []


class Request(BaseHTTPRequestHandler):
    """One event of visdom's client."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server: Any = self.server
        server.windows.append(body["win"])
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body["win"].encode())

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def visdom(port: int) -> list[str]:
    return f"--to visdom --visdom.server 127.0.0.1 --visdom.port {port}".split()


def test_visdom_gets_one_window_each(copy: Path, tiny_voc: Path, server: Server) -> None:
    assert main(words(copy, tiny_voc, *visdom(server.server_address[1]))) == 0

    assert len(server.windows) == len(set(server.windows)) == 3
    assert all(window.startswith("val_0000") for window in server.windows)


def test_a_visdom_that_is_down_is_a_failure_here(
    copy: Path, tiny_voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(copy, tiny_voc, *visdom(1))) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: 127.0.0.1:1: ")
    assert "Connection refused" in line


def test_visdom_without_a_server_is_refused(
    small_run: Path, tiny_voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(small_run, tiny_voc, "--to", "visdom")) == 2
    assert capsys.readouterr().err == (
        "error: --to visdom needs --visdom.server (localhost for one on this machine)\n"
    )


@pytest.mark.parametrize("count", ["0", "-3"])
def test_no_images_at_all_are_refused(
    count: str, small_run: Path, tiny_voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(small_run, tiny_voc, "--count", count)) == 2
    assert capsys.readouterr().err == f"error: --count is above 0, got {count}\n"


def test_a_folder_without_a_run_is_refused_and_not_made(
    tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tmp_path / "typo", tiny_voc)) == 2
    assert "typo/settings.yaml: no run in this folder" in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()
