"""The gallery's command: what it writes, keeps and refuses, and how it is shown."""

import http.client
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from data.datasets.image_set import ImageSet
from data.datasets.voc import VOCSource
from data.images import read_image
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import Detections, Proposals
from localizer.backbones import Geometry
from localizer.localize import ImageHeatmaps
from tests.conftest import snapshot
from tests.tools_tests.pages.conftest import content_of
from tests.worlds import annotate, free_port, image_set, write_proposals
from tools.cli.command import parse_settings
from tools.cli.signals import Interrupted, install_signal_handlers
from tools.files.atomic import pack_arrays, write_scores
from tools.files.detections import write_detections
from tools.files.heatmaps import heatmaps_path, write_heatmaps
from tools.gallery import main
from tools.pages.draw import overlay_heatmap
from tools.pages.gallery.thumbnails import OriginalImage, Source, make_thumbnails, remove_thumbnails
from tools.pages.settings import GallerySettings
from tools.runs.folder import write_settings
from tools.runs.kinds import TrainLocalizerSettings

NUM_CLASSES = len(SYNTHETIC_CLASSES)


@pytest.fixture(scope="module")
def dataset(tiny_voc: Path) -> ImageSet:
    """Six real images with boxes."""
    return VOCSource(tiny_voc, classes=SYNTHETIC_CLASSES).open("test")


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


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
    """Every object, detected exactly."""
    detections = {
        one.image_id: Detections(one.boxes, one.labels, torch.full((len(one.labels),), 0.75))
        for one in dataset.annotations
    }
    sizes = {one.image_id: one.image_size for one in dataset.annotations}
    write_detections(path, classes or dataset.classes, detections, sizes)


class World:
    """A run with scores and nothing else, and the words of a gallery's command."""

    def __init__(self, run_dir: Path, split: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.words = f"--run-dir={run_dir} --split={split} --processes=1".split()
        self.evaluation = run_dir / "evaluations" / split
        self.gallery, self.thumbs = self.evaluation / "gallery", self.evaluation / "gallery/thumbs"
        self.capsys = capsys
        self.evaluation.mkdir(parents=True)

    def make(self, *words: str) -> dict[str, Any]:
        """What the page of the command shows."""
        assert main([*self.words, *words]) == 0
        return content_of(self.gallery / "index.html")

    def refusal(self, *words: str) -> str:
        """The line of the command's refusal."""
        self.capsys.readouterr()
        assert main([*self.words, *words]) == 2
        (line,) = self.capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        return line


@pytest.fixture
def world(
    dataset: ImageSet, tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> World:
    """An evaluation of six images without settings and checkpoint."""
    made = World(tmp_path / "run", "test", capsys)
    made.words.append(f"--voc-root={tiny_voc}")
    save_scores(made.evaluation / "scores.npz", dataset)
    save_detections(made.evaluation / "detections.json", dataset)
    return made


def test_images_are_in_the_order_of_their_names(world: World, dataset: ImageSet) -> None:
    reordered = dataset.subset([3, 0, 5, 1, 4, 2])
    save_scores(world.evaluation / "scores.npz", reordered)

    shown = world.make()

    assert shown["names"] == sorted(dataset.ids)
    for place, image_id in enumerate(shown["names"]):
        first = reordered.ids.index(image_id) * NUM_CLASSES + 1
        scores = [of_class[place] for of_class in shown["scores"]]
        assert scores == [number / 100 for number in range(first, first + NUM_CLASSES)]
        present = {label for label, *_ in shown["objects"][place]}
        assert [letters[place] != "0" for letters in shown["truth"]] == [
            label in present for label in range(NUM_CLASSES)
        ]


# Thumbnails


@pytest.mark.parametrize("longest_side", [50, 4000])
def test_thumbnails_are_reduced_to_the_size_that_is_asked(
    longest_side: int, world: World, dataset: ImageSet
) -> None:
    names = world.make(f"--longest-side={longest_side}")["thumbs"]

    assert files_in(world.thumbs) == set(names)
    for name, whole in zip(names, dataset.annotations, strict=True):
        fraction = min(1, longest_side / max(whole.image_size))
        height, width = (round(side * fraction) for side in whole.image_size)
        assert read_image(world.thumbs / name).shape == (3, height, width)


def test_made_again_nothing_changes_and_the_run_and_the_data_set_are_only_read(
    world: World, tiny_voc: Path, tmp_path: Path
) -> None:
    gallery = tmp_path / "elsewhere" / "gallery"
    words = [*world.words, f"--out={gallery}"]
    before = snapshot(tmp_path / "run"), snapshot(tiny_voc)
    assert main(words) == 0
    thumbs, page = snapshot(gallery / "thumbs"), (gallery / "index.html").read_bytes()

    assert main(words) == 0

    assert snapshot(gallery / "thumbs") == thumbs
    assert (gallery / "index.html").read_bytes() == page
    assert "6 of 6 thumbnails" in world.capsys.readouterr().out
    assert (snapshot(tmp_path / "run"), snapshot(tiny_voc)) == before


@pytest.fixture
def images(dataset: ImageSet, tmp_path: Path) -> Path:
    """Three images outside of any data set, with names of all kinds."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    names = ("<script>alert(1).jpg", "a 'b' \"c\"\n&amp;.jpg", "图\u2028\udcff.jpg")
    for name, path in zip(names, dataset.paths, strict=False):
        (folder / name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture
def unlabeled(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> World:
    """Scores of them, without labels."""
    made = World(tmp_path / "unlabeled", "all", capsys)
    made.words.append(f"--images={images}")
    names = sorted(path.name for path in images.iterdir())
    dataset = image_set([annotate([], image_id=name) for name in names], ("<b>cat",))
    save_scores(made.evaluation / "scores.npz", dataset, weights=np.zeros((3, 1)))
    return made


def test_images_need_no_boxes_and_no_plain_names_and_are_known_by_the_settings_of_a_run(
    unlabeled: World, images: Path, tmp_path: Path
) -> None:
    shown = unlabeled.make()
    assert len(shown["names"]) == 3
    assert shown["classes"] == ["<b>cat"]
    assert (shown["detections"], shown["verdicts"], shown["labeled"]) == (None, None, False)
    assert files_in(unlabeled.thumbs) == set(shown["thumbs"])

    unlabeled.words.remove(f"--images={images}")
    run_dir = tmp_path / "unlabeled"
    write_settings(run_dir, TrainLocalizerSettings(run_dir=run_dir, images=images))
    assert unlabeled.make() == shown


def test_a_changed_image_gets_another_thumbnail_and_the_others_are_kept(
    unlabeled: World, images: Path
) -> None:
    first, *others = unlabeled.make()["thumbs"]
    before = snapshot(unlabeled.thumbs)
    Image.new("RGB", (30, 20), "red").save(min(images.iterdir()), "JPEG")

    changed, *kept = unlabeled.make()["thumbs"]

    assert kept == others
    assert changed != first
    assert files_in(unlabeled.thumbs) == {changed, *kept}
    after = snapshot(unlabeled.thumbs)
    assert all(before[path] == after[path] for path in set(before) & set(after))


def test_a_refused_image_leaves_the_earlier_gallery_whole(unlabeled: World, images: Path) -> None:
    unlabeled.make()
    before = snapshot(unlabeled.gallery)
    first, second, _ = sorted(images.iterdir())
    Image.new("RGB", (30, 20), "red").save(first, "JPEG")
    second.write_bytes(second.read_bytes()[:-2000])

    assert "does not decode" in unlabeled.refusal()
    after = snapshot(unlabeled.gallery)
    changed = {path.name for path in before if after[path] != before[path]}
    assert changed <= {"thumbs", "log.txt"}


class Stopping(OriginalImage):
    """An image in the middle of whose reading the process gets a signal."""

    def draw(self, longest_side: int) -> Tensor:
        os.kill(os.getpid(), signal.SIGTERM)
        return super().draw(longest_side)

    def __repr__(self) -> str:
        return repr(OriginalImage(*self))


def test_stopped_thumbnails_are_continued_where_they_were(
    dataset: ImageSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [
        OriginalImage(path, annotation.image_size)
        for path, annotation in zip(dataset.paths, dataset.annotations, strict=True)
    ]
    install_signal_handlers()
    stopped: list[Source] = [*images[:2], Stopping(*images[2]), *images[3:]]
    with pytest.raises(Interrupted):
        make_thumbnails(tmp_path, stopped, longest_side=50, processes=1)
    assert len(list(tmp_path.iterdir())) == 3

    install_signal_handlers()  # forgets the signal
    (tmp_path / f"{'0a' * 12}.jpg.tmp").write_bytes(b"half")
    names = make_thumbnails(tmp_path, images, longest_side=50, processes=1)
    remove_thumbnails(tmp_path, keep=names.values())
    assert "3 of 6 thumbnails" in capsys.readouterr().out
    assert files_in(tmp_path) == {names[image] for image in images}


def test_other_files_in_the_folder_are_kept(world: World) -> None:
    (world.thumbs / "000004.jpg").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(world.thumbs / "000001.jpg")
    (world.thumbs / "notes.jpg").write_bytes(b"not an image")
    before = snapshot(world.thumbs)

    world.make()
    assert before.items() <= snapshot(world.thumbs).items()


# Heatmaps


def heatmaps_of(image_size: tuple[int, int]) -> ImageHeatmaps:
    """Of every class on 2 x 3 cells over the whole image; the highest is cell 0, 1, 2, ..."""
    logits = torch.eye(NUM_CLASSES, 6).reshape(NUM_CLASSES, 2, 3)
    return ImageHeatmaps(logits, torch.zeros(NUM_CLASSES), Geometry(10, 4.5), (20, 30), image_size)


def write_files(
    folder: Path, dataset: ImageSet, row: int, labels: Sequence[int], **changes: Any
) -> Path:
    """The heatmaps of an image as ``view_heatmaps`` writes them; returns the file's path."""
    folder.mkdir(exist_ok=True)
    path = heatmaps_path(folder, dataset.split, dataset.ids[row])
    heatmaps = heatmaps_of(dataset.annotations[row].image_size)
    classes = changes.pop("classes", SYNTHETIC_CLASSES)
    write_heatmaps(path, replace(heatmaps, **changes), labels, classes)
    return path


def test_the_heatmap_of_every_class_in_a_file_is_drawn_over_the_image(
    world: World, dataset: ImageSet
) -> None:
    write_files(world.evaluation / "heatmaps", dataset, 3, [5, 0, 2])

    shown = world.make()

    assert list(shown["heatmap"]) == ["3"]
    assert list(shown["heatmap"]["3"]) == ["0", "2", "5"]
    whole = read_image(world.thumbs / shown["thumbs"][3])
    heatmaps = heatmaps_of((whole.shape[1], whole.shape[2]))
    for label, name in shown["heatmap"]["3"].items():
        drawn = read_image(world.thumbs / name)
        expected = overlay_heatmap(whole, heatmaps, int(label))
        assert (drawn.int() - expected.int()).abs().float().mean() < 6  # JPEG rounds


def test_a_changed_file_of_heatmaps_and_a_changed_image_get_other_thumbnails(
    unlabeled: World, images: Path
) -> None:
    folder = unlabeled.evaluation / "heatmaps"
    folder.mkdir()
    first = min(images.iterdir())
    height, width = read_image(first).shape[1:]
    path, heatmaps = heatmaps_path(folder, "all", first.name), heatmaps_of((height, width))

    def make() -> tuple[str, str]:
        shown = unlabeled.make()
        return shown["thumbs"][0], shown["heatmap"]["0"]["0"]

    write_heatmaps(path, heatmaps, [0], ["<b>cat"])
    image, overlay = make()
    assert make() == (image, overlay)
    write_heatmaps(path, replace(heatmaps, logits=-heatmaps.logits), [0], ["<b>cat"])
    same_image, other_overlay = make()
    assert same_image == image
    assert other_overlay != overlay
    Image.new("RGB", (width, height), "red").save(first, "JPEG")
    assert not {image, overlay, other_overlay} & set(make())


def test_images_without_labels_have_the_heatmaps_that_were_written(
    unlabeled: World, images: Path
) -> None:
    folder = unlabeled.evaluation / "heatmaps"
    folder.mkdir()
    for path in images.iterdir():
        height, width = read_image(path).shape[1:]
        written = heatmaps_path(folder, "all", path.name)
        write_heatmaps(written, heatmaps_of((height, width)), [0], ["<b>cat"])

    assert [list(labels) for labels in unlabeled.make()["heatmap"].values()] == [["0"]] * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": (8, 9)}, "another image, of 9x8"),
        ({"classes": ["unknown"] * NUM_CLASSES}, "other classes: unknown"),
        ({"logits": torch.full((NUM_CLASSES, 2, 3), torch.nan)}, "not finite"),
        ({}, "not a file of heatmaps"),
    ],
)
def test_heatmaps_that_do_not_fit_are_left_out_by_name_and_the_others_are_shown(
    change: dict[str, Any], message: str, world: World, dataset: ImageSet, tmp_path: Path
) -> None:
    write_files(tmp_path / "heatmaps", dataset, 1, [0])
    path = write_files(tmp_path / "heatmaps", dataset, 0, [0], **change)
    if not change:
        path.write_bytes(path.read_bytes()[:-100])

    assert list(world.make(f"--heatmaps={path.parent}")["heatmap"]) == ["1"]
    (line,) = world.capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: heatmaps left out: {path}: ")
    assert message in line


def test_strips_without_their_heatmaps_are_named_with_the_command_that_writes_both(
    world: World, dataset: ImageSet, tmp_path: Path
) -> None:
    path = write_files(tmp_path / "heatmaps", dataset, 0, [0])
    path.rename(path.with_suffix(".jpg"))

    assert world.make(f"--heatmaps={path.parent}")["heatmap"] == {}
    (line,) = world.capsys.readouterr().err.splitlines()
    assert path.with_suffix(".jpg").name in line
    assert "(run view_heatmaps again)" in line


# Refusals


@pytest.mark.parametrize("damage", ["missing", "text", "cut", "pickle", "other"])
def test_a_missing_or_damaged_file_of_scores_is_refused_and_nothing_is_made(
    damage: str, world: World, dataset: ImageSet
) -> None:
    path = world.evaluation / "scores.npz"
    whole = path.read_bytes()
    path.write_bytes(b"scores" if damage == "text" else whole[: len(whole) // 2])
    if damage == "missing":
        path.unlink()
    if damage == "pickle":
        np.savez(path, allow_pickle=True, ids=np.array([{"a": 1}], dtype=object))
    if damage == "other":
        path.write_bytes(pack_arrays(ids=np.array(dataset.ids)))

    assert world.refusal().startswith(f"error: {path}: ")
    assert not world.gallery.exists()


ONES = np.ones((6, NUM_CLASSES))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": np.ones((2, 2))}, "do not fit together"),
        ({"ids": np.arange(6)}, "do not fit together"),
        ({"ids": np.array(["x"] * 6)}, "twice: x"),
        ({"scores": ONES * np.nan}, "not finite"),
        ({"targets": ONES * 2}, "not 0 or 1"),
        ({"ids": np.array(list("uvwxyz"))}, "u, v, w, x, y and 1 more; images without scores: "),
    ],
)
def test_scores_that_fit_nothing_are_refused(
    change: dict[str, Any], message: str, world: World, dataset: ImageSet
) -> None:
    save_scores(world.evaluation / "scores.npz", dataset, **change)

    line = world.refusal()
    assert f"{world.evaluation}/scores.npz: " in line
    assert message in line


def test_scores_and_detections_of_other_images_or_classes_are_refused(
    world: World, tiny_voc: Path, dataset: ImageSet
) -> None:
    save_scores(world.evaluation / "scores.npz", dataset.subset([0, 1, 2, 3]))
    assert f"images without scores: {dataset.ids[4]}, {dataset.ids[5]}" in world.refusal()

    save_scores(world.evaluation / "scores.npz", dataset)
    path = world.evaluation / "detections.json"
    save_detections(path, dataset, classes=tuple(reversed(SYNTHETIC_CLASSES)))
    assert f"{path}: classes " in world.refusal()
    others = VOCSource(tiny_voc, classes=SYNTHETIC_CLASSES).open("val")
    save_detections(path, others)
    assert min(others.ids) in world.refusal()


def test_boxes_of_a_named_file_are_shown_instead_of_those_of_the_evaluation(
    world: World, dataset: ImageSet, tmp_path: Path
) -> None:
    path = tmp_path / "detections.json"
    assert str(path) in world.refusal(f"--detections={path}")
    (world.evaluation / "detections.json").rename(path)

    assert world.make()["detections"] is None
    shown = world.make(f"--detections={path}")["detections"]
    assert [len(of_image) for of_image in shown] == [len(one.labels) for one in dataset.annotations]


def test_the_page_of_another_is_not_overwritten(world: World, tmp_path: Path) -> None:
    out = tmp_path / "site"
    out.mkdir()
    (out / "index.html").write_text("<h1>My site</h1>")

    assert f"{out}/index.html: " in world.refusal(f"--out={out}")
    assert [path.name for path in out.iterdir()] == ["index.html"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--out={voc}/VOC2007/gallery", "data set"),
        ("--heatmaps={voc}/none", "none: no such folder"),
        ("--proposals={voc}/none.npz", "none.npz: "),
        ("--split=none", "evaluations/none/scores.npz"),
        ("--labels=labels.csv", "--labels: "),
        ("--count=0", "--count"),
        ("--longest-side=5000", "--longest-side"),
        ("--processes=-1", "--processes"),
        ("--serve=65536", "--serve"),
    ],
)
def test_a_wrong_setting_is_refused(
    option: str, message: str, world: World, tiny_voc: Path
) -> None:
    assert message in world.refusal(option.format(voc=tiny_voc))
    assert not world.gallery.exists()


def test_ten_proposals_are_shown_and_an_image_without_them_is_refused(
    world: World, dataset: ImageSet, tmp_path: Path
) -> None:
    twelve = Proposals(torch.tensor([[0.0, 0, 9, 9 + side] for side in range(12)]), None)
    path = write_proposals(tmp_path / "proposals.npz", dict.fromkeys(dataset.ids, twelve))
    shown = world.make(f"--proposals={path}")["proposals"]
    assert shown == [[[0, 0, 90, 90 + 10 * side] for side in range(10)]] * 6

    write_proposals(path, dict.fromkeys(dataset.ids[1:], twelve))
    assert dataset.ids[0] in world.refusal(f"--proposals={path}")


# The server


def test_a_port_in_use_ends_the_command_before_any_work(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main([*world.words, f"--serve={port}"]) == 1

    (line,) = world.capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: 127.0.0.1:{port}: ")
    assert not world.gallery.exists()


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_gallery_is_shown_until_a_signal_comes(
    stop: signal.Signals, code: int, world: World, dataset: ImageSet
) -> None:
    port = free_port()
    answers: list[tuple[int, bytes]] = []
    shown = world.make()["thumbs"][5]
    (world.thumbs / "other.jpg").write_bytes(b"")

    def look_and_stop() -> None:
        paths = ["/", f"/thumbs/{shown}", "/originals/5", "/originals/6", "/thumbs/other.jpg"]
        paths += ["/log.txt", "/../scores.npz"]
        try:
            for path in paths:
                answers.append(answer_of(port, path))
        finally:
            os.kill(os.getpid(), stop)

    thread = threading.Thread(target=look_and_stop)
    thread.start()
    try:
        assert main([*world.words, f"--serve={port}"]) == code
    finally:
        thread.join()

    assert answers[0] == (200, (world.gallery / "index.html").read_bytes())
    assert [status for status, _ in answers] == [200, 200, 200, 404, 404, 404, 404]
    assert answers[2][1] == max(dataset.paths).read_bytes()
    assert world.capsys.readouterr().err == f"stopped by {stop.name}\n"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def answer_of(port: int, path: str) -> tuple[int, bytes]:
    """Asks again until the server listens; it answers once the page is written."""
    for _ in range(200):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except ConnectionRefusedError:
            time.sleep(0.05)
        finally:
            connection.close()
    raise TimeoutError(f"nothing listens on {port}")


@pytest.mark.parametrize(
    ("words", "port"),
    [
        ("", None),
        ("--serve --count 3", 8000),
        ("--serve true", 8000),
        ("--serve 9000", 9000),
        ("--serve=1", 1),
        ("--serve=0", 0),
        ("--serve false", None),
    ],
)
def test_a_server_without_a_number_has_the_usual_port(words: str, port: int | None) -> None:
    settings = parse_settings(GallerySettings, "gallery", ["--run-dir=run", *words.split()])
    assert settings.port == port
