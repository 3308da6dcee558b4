"""A look at one image: the words, the drawing, the window; with and without images."""

import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from data.datasets.voc import VOCSource
from data.datasets.voc_layout import image_path
from data.images import read_image
from data.proposals.propose import propose
from data.proposals.settings import ProposeSettings
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import Proposals
from tests.conftest import snapshot
from tests.worlds import fake_visdom, free_port, write_proposals
from tools.inspect_image import main

CAR = """<annotation>
    <size><width>600</width><height>400</height><depth>3</depth></size>
    <object><name>car</name><truncated>1</truncated><difficult>0</difficult>
        <bndbox><xmin>101</xmin><ymin>201</ymin><xmax>300</xmax><ymax>360</ymax></bndbox></object>
    <object><name>person</name><difficult>1</difficult>
        <bndbox><xmin>401</xmin><ymin>1</ymin><xmax>600</xmax><ymax>99.5</ymax></bndbox></object>
    <object><name>car</name>
        <bndbox><xmin>5</xmin><ymin>5</ymin><xmax>60</xmax><ymax>60</ymax></bndbox></object>
</annotation>"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A VOC of two annotations without images."""
    home = tmp_path / "voc" / "VOC2007"
    (home / "Annotations").mkdir(parents=True)
    (home / "ImageSets" / "Main").mkdir(parents=True)
    (home / "ImageSets" / "Main" / "trainval.txt").write_text("empty\ncar\n")
    empty = "<annotation><size><width>8</width><height>6</height></size></annotation>"
    (home / "Annotations" / "empty.xml").write_text(empty)
    (home / "Annotations" / "car.xml").write_text(CAR)
    return tmp_path / "voc"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "drawn" / "image.jpg"


Inspect = Callable[..., tuple[int, str, str]]


@pytest.fixture
def inspect(root: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> Inspect:
    """Runs the command on that VOC; returns its exit code, output and errors."""

    def run(*words: str) -> tuple[int, str, str]:
        return main([f"--voc-root={root}", f"--out={out}", *words]), *capsys.readouterr()

    return run


@pytest.fixture
def car(root: Path) -> Path:
    """The image of the second annotation."""
    path = image_path(root, "car")
    gray(path, 400, 600)
    return path


def gray(path: Path, height: int, width: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (128, 128, 128)).save(path)


LIME, MAGENTA = [1], [0, 2]


def is_color(pixels: Tensor, channels: list[int]) -> Tensor:
    """Where these channels are much brighter than the others; JPEG blurs colors a little."""
    others = [channel for channel in range(3) if channel not in channels]
    return pixels[channels].int().amin(dim=0) - pixels[others].int().amax(dim=0) > 80


def has_words(pixels: Tensor) -> bool:
    """Whether there are white letters on a dark ground."""
    dark, white = (pixels.int() < 80).all(dim=0), (pixels.int() > 160).all(dim=0)
    return int(dark.sum()) > 40 and bool(white.any())


# Words


def test_lists_and_annotations_are_enough_for_the_words(
    inspect: Inspect, root: Path, out: Path
) -> None:
    code, text, errors = inspect("--index", "1")

    assert (code, errors) == (0, "")
    assert text.splitlines() == [
        "trainval 1: car",
        f"file: {image_path(root, 'car')}",
        "size: 600x400",
        "classes: car, person",
        "  car: 100 200 300 360, truncated",
        "  person: 400 0 600 99.5, difficult",
        "  car: 4 4 60 60",
        "the image does not exist, so nothing is drawn",
    ]
    assert not out.parent.exists()


def test_the_first_image_of_the_voc_in_the_environment_is_the_default(
    root: Path, out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOC_ROOT", str(root))
    gray(image_path(root, "empty"), 6, 8)

    assert main([f"--out={out}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "trainval 0: empty"
    assert lines[2:4] == ["size: 8x6", "classes: none"]
    assert (read_image(out).int() - 128).abs().max() <= 2  # no box; JPEG rounds


def test_a_voc_is_only_read(tiny_voc: Path, inspect: Inspect) -> None:
    before = snapshot(tiny_voc)
    classes = f"--classes=[{','.join(SYNTHETIC_CLASSES)}]"

    assert inspect(f"--voc-root={tiny_voc}", classes, "--split=test", "--index=5")[0] == 0
    assert snapshot(tiny_voc) == before


@pytest.mark.voc
def test_the_boxes_and_the_best_proposals_of_a_real_image_are_drawn(
    voc_root: Path, out: Path, inspect: Inspect
) -> None:
    dataset = VOCSource(voc_root).open("test")
    annotation = dataset.annotations[7]

    code, text, _ = inspect(f"--voc-root={voc_root}", "--split=test", "--index=7")
    assert code == 0
    assert text.startswith(f"test 7: {annotation.image_id}\n")
    assert len(re.findall(r"^  \w+: ", text, re.MULTILINE)) == len(annotation.boxes)
    assert tuple(read_image(out).shape[1:]) == annotation.image_size
    drawn = read_image(out.with_name("image_proposals.jpg"))
    assert is_color(drawn, MAGENTA).float().mean() > 0.01


# The drawing


@pytest.mark.usefixtures("car")
def test_boxes_and_their_classes_are_drawn_where_they_belong(inspect: Inspect, out: Path) -> None:
    code, text, _ = inspect("--index", "1")

    assert code == 0
    best = out.with_name("image_proposals.jpg")
    assert "  car: 4 4 60 60\nproposals: " in text
    assert text.endswith(f"\ndrawn: {out}\ndrawn: {best}\n")
    drawn = read_image(out)
    lime = is_color(drawn, LIME)
    assert lime.shape == (400, 600)
    assert lime[359, 110:290].all()  # the last row of the first box, its last column
    assert lime[230:350, 299].all()
    assert lime[230:350, 100].all()
    assert lime[200, 160:290].all()  # right of the text
    assert lime[20:90, 599].all()  # a box that ends with the image
    assert not lime[205:355, 160:290].any()  # the inside
    assert not lime[362:].any()
    assert not lime[100:, 305:].any()
    for top, left in ((200, 100), (0, 400), (4, 4)):
        assert has_words(drawn[:, top : top + 14, left : left + 20])


@pytest.mark.parametrize("damage", ["another size", "no image"])
def test_a_damaged_image_is_refused_by_name_after_the_words(
    damage: str, inspect: Inspect, car: Path, out: Path
) -> None:
    gray(car, 600, 400)
    if damage == "no image":
        car.write_bytes(b"<html>")

    code, text, errors = inspect("--index", "1")
    assert code == 2
    assert "car: 4 4 60 60" in text
    assert errors.startswith(f"error: {car}: ")
    assert ("400x600" in errors) == (damage == "another size")
    assert not out.exists()


# Proposals


def boxes_in_a_row(count: int, *, with_scores: bool = True) -> Proposals:
    """Boxes of 20 x 20 pixels, one right of the other, the last one with the highest score."""
    boxes = torch.tensor([[40.0 * n, 100, 40 * n + 20, 120] for n in range(count)]).reshape(-1, 4)
    return Proposals(boxes, torch.arange(count) / 100 if with_scores else None)


@pytest.mark.usefixtures("car")
@pytest.mark.parametrize(
    ("count", "with_scores", "drawn", "summary"),
    [
        (12, True, range(2, 12), "12, best scores 0.110, 0.100, 0.090, "),
        (12, False, range(10), "12 without scores\n"),
        (0, True, range(0), "none\n"),
    ],
)
def test_the_ten_best_proposals_are_drawn_in_another_image(
    count: int,
    with_scores: bool,
    drawn: range,
    summary: str,
    inspect: Inspect,
    tmp_path: Path,
    out: Path,
) -> None:
    proposals = boxes_in_a_row(count, with_scores=with_scores)
    both = {"car": proposals, "another": boxes_in_a_row(1)}
    path = write_proposals(tmp_path / "p.npz", both)

    code, text, _ = inspect("--index=1", f"--proposals={path}")
    assert code == 0
    best = out.with_name("image_proposals.jpg")
    assert f"\nproposals: {summary}" in text
    assert text.endswith(f"\ndrawn: {out}\ndrawn: {best}\n")
    pixels = read_image(best)
    bottoms = is_color(pixels, MAGENTA)[119]  # below the texts
    assert [n for n in range(12) if bottoms[40 * n + 4 : 40 * n + 16].all()] == list(drawn)
    assert has_words(pixels[:, 100:116, 80:116]) == (with_scores and count > 0)
    assert is_color(read_image(out), LIME).any()
    assert not is_color(pixels, LIME).any()


def test_without_a_file_the_proposals_of_the_image_are_made_as_for_one(
    inspect: Inspect, tiny_voc: Path, tmp_path: Path, out: Path
) -> None:
    dataset = VOCSource(tiny_voc, classes=SYNTHETIC_CLASSES).open("val")
    made = {dataset.ids[2]: propose(dataset[2].image, ProposeSettings())}
    path = write_proposals(tmp_path / "p.npz", made)
    words = (f"--voc-root={tiny_voc}", f"--classes=[{','.join(SYNTHETIC_CLASSES)}]", "--index=2")

    texts, drawn = [], []
    for others in ([], [f"--proposals={path}"]):
        code, text, _ = inspect(*words, *others)
        assert code == 0
        texts.append(text)
        drawn.append(out.with_name("image_proposals.jpg").read_bytes())
    assert texts[0].startswith(f"val 2: {dataset.ids[2]}\n")
    assert f"\nproposals: {len(made[dataset.ids[2]].boxes)}, best scores " in texts[0]
    assert texts[0] == texts[1]
    assert drawn[0] == drawn[1]
    assert is_color(read_image(out.with_name("image_proposals.jpg")), MAGENTA).any()


@pytest.mark.parametrize(
    ("proposals", "message"),
    [
        ({"other": boxes_in_a_row(1)}, "image car"),
        ({"car": boxes_in_a_row(16)}, "row 15"),  # outside of the image
        (None, ""),
    ],
)
def test_proposals_of_other_images_are_refused_before_the_words(
    proposals: Mapping[str, Proposals] | None, message: str, inspect: Inspect, tmp_path: Path
) -> None:
    path = tmp_path / "p.npz"
    if proposals is not None:
        write_proposals(path, proposals)

    code, text, errors = inspect("--index=1", f"--proposals={path}")
    assert (code, text) == (2, "")
    assert errors.startswith(f"error: {path}: ")
    assert message in errors


# Any folder


def test_an_image_of_a_folder_has_labels_if_they_are_known_and_no_boxes(
    tmp_path: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("VOC_ROOT", raising=False)
    folder, labels = tmp_path / "photographs", tmp_path / "labels.csv"
    gray(folder / "a b.png", 6, 8)
    gray(folder / "图" / "c.png", 12, 8)  # too narrow for proposals
    labels.write_text("image,labels\na b.png,\n图/c.png,dog|cat\n")
    words = [f"--images={folder}", f"--out={out}", "--split=all"]

    assert main([*words, f"--labels={labels}", "--index=1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "all 1: 图/c.png",
        f"file: {folder}/图/c.png",
        "size: 8x12",
        "classes: cat, dog",
        "proposals: none",
        f"drawn: {out}",
        f"drawn: {out.with_name('image_proposals.jpg')}",
    ]
    assert read_image(out).shape == (3, 12, 8)

    assert main([*words, "--classes=[cat]"]) == 0
    assert "\nclasses: none\n" in capsys.readouterr().out
    assert main([*words, "--classes=[cat]", "--index=2"]) == 2
    assert "--index 2" in capsys.readouterr().err


# Refusals


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--index=2"], "--index 2"),
        (["--index=-1"], "--index"),
        (["--classes=[cat]", "--index=1"], "'car'"),
        (["--split=nope"], "nope.txt"),
        (["--voc-root=null"], "--voc-root"),
    ],
)
def test_an_image_that_does_not_exist_is_refused_in_one_line(
    words: list[str], message: str, inspect: Inspect, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VOC_ROOT", raising=False)

    code, text, errors = inspect(*words)

    assert (code, text) == (2, "")
    (line,) = errors.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not out.exists()


# The window


@pytest.mark.usefixtures("car")
def test_visdom_gets_both_drawings_in_windows_of_their_names(
    inspect: Inspect, tmp_path: Path, out: Path
) -> None:
    path = write_proposals(tmp_path / "p.npz", {"car": boxes_in_a_row(3)})

    with fake_visdom() as server:
        words = (f"--proposals={path}", "--visdom.env=look", *server.words)
        code, text, _ = inspect("--index=1", *words)
    assert code == 0
    assert text.endswith(", environment look\n")
    for event, window, name in zip(
        server.events,
        ("trainval_1_car", "trainval_1_car_proposals"),
        ("image.jpg", "image_proposals.jpg"),
        strict=True,
    ):
        assert (event["win"], event["eid"]) == (window, "look")
        jpeg = b64decode(event["data"][0]["content"]["src"].partition(",")[2])
        shown = torch.from_numpy(np.array(Image.open(BytesIO(jpeg)))).permute(2, 0, 1)
        written = read_image(out.with_name(name))
        assert (shown.int() - written.int()).abs().float().mean() < 3  # JPEG rounds


@pytest.mark.usefixtures("car")
def test_a_visdom_that_is_down_is_a_failure_and_the_file_is_written(
    inspect: Inspect, out: Path
) -> None:
    port = free_port()

    code, text, errors = inspect("--index=1", "--visdom.server=127.0.0.1", f"--visdom.port={port}")
    assert code == 1
    (line,) = errors.splitlines()
    assert line.startswith(f"error: 127.0.0.1:{port}: ")
    assert "sent:" not in text
    assert out.exists()
