"""The gallery's command: what it writes, what it keeps, what it refuses, how it is shown."""

import http.client
import json
import math
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from data.datasets.image_set import ImageSet
from data.datasets.voc import VOCDataset
from data.images import read_image
from data.proposals.files import pack_proposals
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import Detections, Proposals
from tests.conftest import snapshot
from tools.cli.signals import Interrupted
from tools.files.atomic import pack_arrays, write_scores
from tools.files.detections import write_detections
from tools.gallery import main, with_port
from tools.pages.draw import caption, fit_height, in_a_row, write_jpeg
from tools.pages.gallery import thumbnails
from tools.pages.heatmaps import HEIGHT

NUM_CLASSES = len(SYNTHETIC_CLASSES)


@pytest.fixture(scope="module")
def dataset(tiny_voc: Path) -> VOCDataset:
    """Six real images with boxes."""
    return VOCDataset(tiny_voc, "test", classes=SYNTHETIC_CLASSES)


def save_scores(path: Path, dataset: ImageSet, **changes: Any) -> None:
    """A file as ``evaluate`` writes it, with scores .01, .02, ... row by row."""
    shape = (len(dataset.ids), len(dataset.classes))
    arrays = {
        "ids": np.array(dataset.ids),
        "classes": np.array(dataset.classes),
        "scores": np.arange(1, math.prod(shape) + 1).reshape(shape) / 100,
        "targets": dataset.targets.numpy(),
        "weights": dataset.weights.numpy(),
    }
    write_scores(path, **arrays | changes)


def save_detections(path: Path, dataset: ImageSet, classes: tuple[str, ...] = ()) -> None:
    """Every object, found exactly."""
    found = {
        one.image_id: Detections(one.boxes, one.labels, torch.full((len(one.labels),), 0.75))
        for one in dataset.annotations
    }
    sizes = {one.image_id: one.image_size for one in dataset.annotations}
    write_detections(path, classes or dataset.classes, found, sizes)


@pytest.fixture
def run_dir(dataset: VOCDataset, tmp_path: Path) -> Path:
    """What a gallery is made of, and nothing else: no settings, no checkpoint."""
    folder = tmp_path / "run"
    folder.mkdir()
    save_scores(folder / "scores.npz", dataset)
    save_detections(folder / "detections.json", dataset)
    return folder


@pytest.fixture
def words(run_dir: Path, tiny_voc: Path) -> Callable[..., list[str]]:
    """Words of a command on one process, then others."""

    def words_for(*others: str) -> list[str]:
        small = f"--run-dir={run_dir} --voc-root={tiny_voc} --processes=1"
        return [*small.split(), *others]

    return words_for


def content_of(page: Path) -> dict[str, Any]:
    """What the page's script reads."""
    found = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page.read_text())
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
    return content


def thumbs_of(folder: Path) -> list[Path]:
    return sorted((folder / "thumbs").iterdir())


def test_images_stand_in_the_order_of_their_names(
    words: Callable[..., list[str]], run_dir: Path, dataset: VOCDataset
) -> None:
    order = [3, 0, 5, 1, 4, 2]
    reordered = dataset.subset(order)
    save_scores(run_dir / "scores.npz", reordered)

    assert main(words()) == 0

    shown = content_of(run_dir / "gallery" / "index.html")
    assert shown["names"] == sorted(dataset.ids)
    for place, image_id in enumerate(shown["names"]):
        row = reordered.ids.index(image_id)
        first = row * NUM_CLASSES + 1
        scores = [of_class[place] for of_class in shown["scores"]]
        assert scores == [number / 100 for number in range(first, first + NUM_CLASSES)]
        present = {label for label, *_ in shown["objects"][place]}
        assert [letters[place] != "0" for letters in shown["truth"]] == [
            label in present for label in range(NUM_CLASSES)
        ]


# Thumbnails


def test_thumbnails_are_numbered_and_of_the_size_that_is_asked(
    words: Callable[..., list[str]], run_dir: Path, dataset: VOCDataset
) -> None:
    assert main(words("--longest-side", "50")) == 0

    paths = thumbs_of(run_dir / "gallery")
    assert [path.name for path in paths] == [f"{number:06d}.jpg" for number in range(6)]
    for path, whole in zip(paths, dataset.annotations, strict=True):
        fraction = 50 / max(whole.image_size)
        height, width = (round(side * fraction) for side in whole.image_size)
        assert read_image(path).shape == (3, height, width)


def test_a_small_image_is_not_enlarged(
    words: Callable[..., list[str]], run_dir: Path, dataset: VOCDataset
) -> None:
    assert main(words("--longest-side", "4000")) == 0

    sizes = [tuple(read_image(path).shape[1:]) for path in thumbs_of(run_dir / "gallery")]
    assert sizes == [whole.image_size for whole in dataset.annotations]


def test_made_again_nothing_but_the_page_is_written(
    words: Callable[..., list[str]], run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words()) == 0
    before = snapshot(run_dir / "gallery" / "thumbs")
    page = (run_dir / "gallery" / "index.html").read_bytes()

    assert main(words()) == 0

    assert snapshot(run_dir / "gallery" / "thumbs") == before
    assert (run_dir / "gallery" / "index.html").read_bytes() == page
    assert "6 of 6 thumbnails are there already" in capsys.readouterr().out


def test_the_run_and_the_data_set_are_only_read(
    words: Callable[..., list[str]], run_dir: Path, tiny_voc: Path, tmp_path: Path
) -> None:
    before = snapshot(run_dir), snapshot(tiny_voc)

    assert main(words("--out", str(tmp_path / "elsewhere" / "gallery"))) == 0

    assert (snapshot(run_dir), snapshot(tiny_voc)) == before


@pytest.fixture
def images(dataset: VOCDataset, tmp_path: Path) -> Path:
    """Three images of one's own with names of all kinds."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    names = ("<script>alert(1).jpg", "a 'b' \"c\"\n&amp;.jpg", "图\u2028\udcff.jpg")
    for name, path in zip(names, dataset.paths, strict=False):
        (folder / name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture
def own(images: Path, tmp_path: Path) -> list[str]:
    """Words for a gallery of them, from scores alone."""
    run_dir = tmp_path / "own"
    run_dir.mkdir()
    ids = sorted(path.name for path in images.iterdir())
    zeros = np.zeros((3, 1))
    arrays = {"scores": zeros + 0.5, "targets": zeros, "weights": zeros}
    names = {"ids": np.array(ids), "classes": np.array(["<b>cat"])}
    write_scores(run_dir / "scores.npz", **names, **arrays)
    return f"--run-dir={run_dir} --images={images} --split=all --processes=1".split()


def test_images_of_one_s_own_need_no_boxes_and_no_plain_names(
    own: list[str], tmp_path: Path
) -> None:
    assert main(own) == 0

    folder = tmp_path / "own" / "gallery"
    shown = content_of(folder / "index.html")
    assert len(shown["names"]) == 3
    assert (shown["detections"], shown["verdicts"], shown["labeled"]) == (None, None, False)
    assert [path.name for path in thumbs_of(folder)] == ["000000.jpg", "000001.jpg", "000002.jpg"]


def test_a_run_that_learned_from_a_folder_finds_its_images_again(
    own: list[str], images: Path, tmp_path: Path
) -> None:
    settings = {"images": str(images), "labels": None, "classes": ["another"], "seed": 0}
    (tmp_path / "own" / "settings.yaml").write_text(yaml.safe_dump(settings))

    assert main([word for word in own if not word.startswith("--images")]) == 0

    shown = content_of(tmp_path / "own" / "gallery" / "index.html")
    assert len(shown["names"]) == 3
    assert shown["classes"] == ["<b>cat"]


def test_a_changed_image_gets_another_thumbnail_and_the_others_stay(
    own: list[str], images: Path, tmp_path: Path
) -> None:
    assert main(own) == 0
    folder = tmp_path / "own" / "gallery"
    before = snapshot(folder / "thumbs")
    first = sorted(images.iterdir())[0]
    Image.new("RGB", (30, 20), "red").save(first, "JPEG")

    assert main(own) == 0

    after = snapshot(folder / "thumbs")
    numbers = content_of(folder / "index.html")["thumbs"]
    assert numbers == [3, 1, 2]
    assert {path.name for path in after} == {f"{number:06d}.jpg" for number in numbers}
    kept = set(before) & set(after)
    assert len(kept) == 2
    assert all(before[path] == after[path] for path in kept)


def test_a_refused_image_leaves_the_earlier_gallery_whole(
    own: list[str], images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(own) == 0
    folder = tmp_path / "own" / "gallery"
    before = snapshot(folder)
    first, second, _ = sorted(images.iterdir())
    Image.new("RGB", (30, 20), "red").save(first, "JPEG")
    second.write_bytes(second.read_bytes()[:-2000])

    assert main(own) == 2

    assert "the image does not decode" in capsys.readouterr().err
    after = snapshot(folder)
    assert all(
        after[path] == before[path] for path in before if path.name not in ("thumbs", "log.txt")
    )


def test_a_stopped_command_leaves_no_page_and_goes_on_where_it_was(
    words: Callable[..., list[str]],
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    looks = iter([False, False, True])

    def stop() -> None:
        if next(looks):
            raise Interrupted(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(thumbnails, "check_interrupted", stop)
        assert main(words()) == 143
    gallery = run_dir / "gallery"
    assert not (gallery / "index.html").exists()
    assert len(thumbs_of(gallery)) == 3

    (gallery / "thumbs" / "000003.jpg.tmp").write_bytes(b"half")
    assert main(words()) == 0
    assert "3 of 6 thumbnails are there already" in capsys.readouterr().out
    assert len(thumbs_of(gallery)) == 6


def test_images_of_others_in_the_folder_stay(
    words: Callable[..., list[str]], run_dir: Path
) -> None:
    thumbs = run_dir / "gallery" / "thumbs"
    thumbs.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(thumbs / "000001.jpg")
    (thumbs / "000002.jpg").write_bytes(b"not an image")
    (thumbs / "notes.jpg").write_bytes(b"a note")
    (thumbs / "000004.jpg").mkdir()
    before = snapshot(thumbs)

    assert main(words()) == 0

    assert content_of(run_dir / "gallery" / "index.html")["thumbs"] == [0, 3, 5, 6, 7, 8]
    assert before.items() <= snapshot(thumbs).items()


# Heatmap


@pytest.fixture
def strip(dataset: VOCDataset) -> Callable[..., Path]:
    """Writes a strip as ``view_heatmaps`` does: a gray image, then red, green, blue panels."""

    def write(folder: Path, row: int, panels: int) -> Path:
        folder.mkdir(exist_ok=True)
        height, width = dataset.annotations[row].image_size
        parts = [fit_height(torch.full((3, height, width), 128, dtype=torch.uint8), HEIGHT)]
        for number in range(panels):
            parts.append(torch.zeros_like(parts[0]))
            parts[-1][number % 3] = 255
        path = folder / f"test_{dataset.ids[row]}.jpg"
        write_jpeg(path, in_a_row([caption(part, "words") for part in parts]))
        return path

    return write


def test_heatmap_is_cut_out_class_by_class(
    words: Callable[..., list[str]],
    run_dir: Path,
    dataset: VOCDataset,
    strip: Callable[..., Path],
) -> None:
    row = int(dataset.targets.sum(dim=1).argmax())
    labels = dataset.targets[row].nonzero().flatten().tolist()
    assert len(labels) >= 2
    strip(run_dir / "heatmaps", row, len(labels))

    assert main(words()) == 0

    heatmap = content_of(run_dir / "gallery" / "index.html")["heatmap"]
    assert list(heatmap) == [str(row)]
    assert list(heatmap[str(row)]) == [str(label) for label in labels]
    height, width = dataset.annotations[row].image_size
    for channel, number in enumerate(heatmap[str(row)].values()):
        panel = read_image(run_dir / "gallery" / "thumbs" / f"{number:06d}.jpg").double()
        assert panel.shape[2] / panel.shape[1] == pytest.approx(width / height, rel=0.02)
        means = panel.mean(dim=(1, 2))
        assert int(means.argmax()) == channel % 3
        assert means.sum() < 270  # one pure color: no words and no neighbor


def test_a_strip_of_other_classes_is_left_out_with_a_warning(
    words: Callable[..., list[str]],
    run_dir: Path,
    tmp_path: Path,
    strip: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = strip(tmp_path / "heatmap", 0, NUM_CLASSES)

    assert main(words("--heatmaps", str(path.parent))) == 0

    assert content_of(run_dir / "gallery" / "index.html")["heatmap"] == {}
    assert capsys.readouterr().err.startswith(f"warning: {path.parent}: not one panel")


# Refusals


def refuse(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The line of a refusal."""
    assert main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def test_a_run_without_scores_is_refused_and_nothing_is_made(
    words: Callable[..., list[str]], run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_dir / "scores.npz").unlink()

    line = refuse(words(), capsys)

    assert line == f"error: {run_dir}/scores.npz: no such file of scores (evaluate writes one)"
    assert not (run_dir / "gallery").exists()


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "pickle", "other"])
def test_a_damaged_file_of_scores_is_refused(
    damage: str,
    words: Callable[..., list[str]],
    run_dir: Path,
    dataset: VOCDataset,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = run_dir / "scores.npz"
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "text": b"scores"}.get(damage, whole[: len(whole) // 2]))
    if damage == "pickle":
        np.savez(path, allow_pickle=True, ids=np.array([{"a": 1}], dtype=object))
    if damage == "other":
        path.write_bytes(pack_arrays(ids=np.array(dataset.ids)))

    assert "scores.npz: not a file of scores (" in refuse(words(), capsys)


WRONG: dict[str, tuple[Callable[[ImageSet], dict[str, Any]], str]] = {
    "shape": (lambda given: {"weights": np.ones((2, 2))}, "do not fit together"),
    "kind": (lambda given: {"ids": np.arange(6)}, "do not fit together"),
    "twice": (lambda given: {"ids": np.array(given.ids[:5] + given.ids[:1])}, "listed twice: "),
    "not a number": (
        lambda given: {"scores": np.full((6, NUM_CLASSES), np.nan)},
        "a score that is not finite",
    ),
    "target": (lambda given: {"targets": given.targets.numpy() + 2}, "a target that is not 0 or 1"),
    "other images": (
        lambda given: {"ids": np.array([*given.ids[:5], "999999"])},
        "scores of images that are not there: 999999; images without scores: ",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_scores_that_fit_nothing_are_refused(
    what: str,
    words: Callable[..., list[str]],
    run_dir: Path,
    dataset: VOCDataset,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change, message = WRONG[what]
    save_scores(run_dir / "scores.npz", dataset, **change(dataset))

    line = refuse(words(), capsys)

    assert f"{run_dir}/scores.npz: " in line
    assert message in line


def test_a_part_of_the_images_is_named_as_missing(
    words: Callable[..., list[str]],
    run_dir: Path,
    dataset: VOCDataset,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save_scores(run_dir / "scores.npz", dataset.subset([0, 1, 2, 3]))

    line = refuse(words(), capsys)

    assert f"images without scores: {dataset.ids[4]}, {dataset.ids[5]}" in line
    assert "evaluate --split test" in line


def test_detections_of_other_classes_or_images_are_refused(
    words: Callable[..., list[str]],
    run_dir: Path,
    tiny_voc: Path,
    dataset: VOCDataset,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = run_dir / "detections.json"
    save_detections(path, dataset, classes=tuple(reversed(SYNTHETIC_CLASSES)))
    assert "are not those of scores.npz" in refuse(words(), capsys)

    save_detections(path, VOCDataset(tiny_voc, "val", classes=SYNTHETIC_CLASSES))
    assert "images that scores.npz does not have: " in refuse(words(), capsys)

    path.write_text("[]")
    assert "not a file of detections" in refuse(words(), capsys)


def test_the_page_of_another_is_not_overwritten(
    words: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "site"
    out.mkdir()
    (out / "index.html").write_text("<h1>My site</h1>")

    line = refuse(words("--out", str(out)), capsys)

    assert "index.html: not the page of a gallery (--out names another folder)" in line
    assert [path.name for path in out.iterdir()] == ["index.html"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--out={voc}/VOC2007/gallery", "lies in the data set, which is never written to"),
        ("--heatmaps={voc}/none", "no such folder (view_heatmaps --to files writes one)"),
        ("--proposals={voc}/none.npz", "no such file of proposals"),
        ("--split=none", "no list of split 'none'"),
        ("--labels=labels.csv", "--labels: of which images?"),
        ("--count=0", "--count is above 0, got 0"),
        ("--longest-side=0", "--longest-side is 1 to 4096 pixels, got 0"),
        ("--longest-side=5000", "--longest-side is 1 to 4096 pixels, got 5000"),
        ("--processes=-1", "--processes is 0 or more, got -1"),
        ("--serve=65536", "--serve is a port, 0 to 65535, got 65536"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(
    option: str,
    message: str,
    words: Callable[..., list[str]],
    run_dir: Path,
    tiny_voc: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = refuse(words(option.format(voc=tiny_voc)), capsys)

    assert message in line
    assert not (run_dir / "gallery").exists()


def test_proposals_of_other_images_are_refused_and_ten_are_shown(
    words: Callable[..., list[str]],
    run_dir: Path,
    dataset: VOCDataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    twelve = Proposals(torch.tensor([[0.0, 0, 9, 9 + side] for side in range(12)]), None)
    path = tmp_path / "proposals.npz"
    path.write_bytes(pack_arrays(**pack_proposals(dict.fromkeys(dataset.ids, twelve), {})))
    assert main(words("--proposals", str(path))) == 0
    shown = content_of(run_dir / "gallery" / "index.html")["proposals"]
    assert shown == [[[0, 0, 90, 90 + 10 * side] for side in range(10)]] * 6

    capsys.readouterr()
    path.write_bytes(pack_arrays(**pack_proposals(dict.fromkeys(dataset.ids[1:], twelve), {})))
    assert f"no proposals of {dataset.ids[0]}" in refuse(words("--proposals", str(path)), capsys)


# Shown


def test_a_port_that_is_taken_ends_the_command_before_any_work(
    words: Callable[..., list[str]], run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(words("--serve", str(port))) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: 127.0.0.1:{port}: Address already in use (--serve PORT")
    assert not (run_dir / "gallery").exists()


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_gallery_is_shown_until_a_signal_comes(
    stop: signal.Signals,
    code: int,
    words: Callable[..., list[str]],
    run_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    answers: list[tuple[int, bytes]] = []

    def look_and_stop() -> None:
        paths = ("/", "/thumbs/000005.jpg", "/thumbs/000006.jpg", "/log.txt", "/../scores.npz")
        try:
            for path in paths:
                answers.append(answer_of(port, path))
        finally:
            os.kill(os.getpid(), stop)

    thread = threading.Thread(target=look_and_stop)
    thread.start()
    try:
        assert main(words("--serve", str(port))) == code
    finally:
        thread.join()

    page = (run_dir / "gallery" / "index.html").read_bytes()
    assert answers[0] == (200, page)
    assert [status for status, _ in answers] == [200, 200, 404, 404, 404]
    assert capsys.readouterr().err == f"stopped by {stop.name}\n"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def answer_of(port: int, path: str) -> tuple[int, bytes]:
    """Asked again while nobody listens; who listens answers once the page is written."""
    for _ in range(200):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except ConnectionRefusedError:
            time.sleep(0.05)
        finally:
            connection.close()
    raise TimeoutError(f"nobody listens on {port}")


def test_a_server_without_a_number_has_the_usual_port() -> None:
    assert with_port(["--serve"]) == ["--serve", "8000"]
    assert with_port(["--serve", "--count", "3"]) == ["--serve", "8000", "--count", "3"]
    assert with_port(["--serve", "9000"]) == ["--serve", "9000"]
    assert with_port(["--serve=9000", "--count=3"]) == ["--serve=9000", "--count=3"]
    assert with_port([]) == []
