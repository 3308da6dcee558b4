"""A look at one image: the words, the drawing, the window; with and without images."""

import os
import re
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from data.datasets.voc import VOCDataset, annotation_path, image_ids, image_path
from data.images import read_image
from data.proposals.files import pack_proposals
from data.proposals.propose import ProposeSettings, propose
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import Proposals
from tools.files.atomic import pack_arrays
from tools.inspect_image import main
from tools.loggers import visdom as visdom_windows
from tools.loggers.backend import Backend
from tools.loggers.settings import VisdomSettings

CAR = """<annotation>
    <size><width>600</width><height>400</height><depth>3</depth></size>
    <object><name>car</name><truncated>1</truncated><difficult>0</difficult>
        <bndbox><xmin>101</xmin><ymin>201</ymin><xmax>300</xmax><ymax>360</ymax></bndbox></object>
    <object><name>person</name><difficult>1</difficult>
        <part><name>head</name>
            <bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>
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


def words(root: Path, out: Path, *others: str) -> list[str]:
    return [f"--voc-root={root}", f"--out={out}", *others]


def gray(path: Path, height: int, width: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (128, 128, 128)).save(path)


def is_lime(pixels: Tensor) -> Tensor:
    """Where a drawing has the color of true boxes; JPEG blurs it a little."""
    red, green, blue = pixels.int()
    lime: Tensor = (green - torch.maximum(red, blue)) > 80
    return lime


# Words


def test_lists_and_annotations_are_enough_for_the_words(
    root: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(root, out, "--index", "1")) == 0

    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "trainval 1: car",
        f"file: {image_path(root, 'car')}",
        "size: 600x400",
        "classes: car, person",
        "  car: 100 200 300 360, truncated",
        "  person: 400 0 600 99.5, difficult",
        "  car: 4 4 60 60",
        "the image is not there, so nothing is drawn",
    ]
    assert captured.err == ""
    assert not out.parent.exists()


def test_the_first_image_of_trainval_is_the_default(
    root: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(root, out)) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "trainval 0: empty"
    assert lines[2:4] == ["size: 8x6", "classes: none"]


def test_the_root_comes_from_the_environment(
    root: Path, out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOC_ROOT", str(root))

    assert main([f"--out={out}"]) == 0
    assert capsys.readouterr().out.startswith("trainval 0: empty\n")


def test_a_looked_at_voc_stays_as_it_is(tiny_voc: Path, out: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny_voc.rglob("*")}
    classes = f"--classes=[{','.join(SYNTHETIC_CLASSES)}]"

    assert main(words(tiny_voc, out, classes, "--split=test", "--index=5")) == 0
    assert {path: path.stat().st_mtime_ns for path in tiny_voc.rglob("*")} == before


@pytest.mark.voc
def test_number_2018_of_the_official_list_is_a_car(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Path(os.environ.get("VOC_ROOT", "nowhere")).parent / "full"
    if not (whole / "Annotations.tar.xz").is_file():
        pytest.skip(f"no complete lists and annotations in {whole}")
    lists = tmp_path / "VOC2007" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    shutil.copy(whole / "ImageSets" / "Main" / "trainval.txt", lists)
    with tarfile.open(whole / "Annotations.tar.xz") as archive:
        member = archive.extractfile("Annotations/003998.xml")
        assert member is not None
        path = annotation_path(tmp_path, "003998")
        path.parent.mkdir()
        path.write_bytes(member.read())

    assert main(words(tmp_path, out, "--split", "trainval", "--index", "2018")) == 0
    text = capsys.readouterr().out
    assert text.startswith("trainval 2018: 003998\n")
    assert "\nsize: 500x375\nclasses: car\n  car: 11 59 500 307, truncated\n" in text


@pytest.mark.voc
def test_every_box_of_a_real_image_is_drawn(
    voc_root: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(voc_root, out, "--split", "test", "--index", "7")) == 0

    annotation = VOCDataset(voc_root, "test").annotations[7]
    text = capsys.readouterr().out
    assert text.startswith(f"test 7: {annotation.image_id}\n")
    assert len(re.findall(r"^  \w+: ", text, re.MULTILINE)) == len(annotation.boxes)
    assert text.endswith(f"drawn: {out}\n")
    assert tuple(read_image(out).shape[1:]) == annotation.image_size


# The drawing


def test_boxes_are_drawn_where_they_belong(
    root: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gray(image_path(root, "car"), 400, 600)

    assert main(words(root, out, "--index", "1")) == 0
    assert capsys.readouterr().out.endswith(f"  car: 4 4 60 60\ndrawn: {out}\n")
    lime = is_lime(read_image(out))
    assert lime.shape == (400, 600)
    assert lime[359, 110:290].all()  # the last row of the first box, its last column
    assert lime[230:350, 299].all()
    assert lime[230:350, 100].all()
    assert lime[200, 160:290].all()  # right of the text
    assert lime[20:90, 599].all()  # a box that ends with the image
    assert not lime[205:355, 160:290].any()  # the inside
    assert not lime[362:].any()
    assert not lime[100:, 305:].any()


def test_each_box_has_its_class_beside_it(root: Path, out: Path) -> None:
    gray(image_path(root, "car"), 400, 600)

    assert main(words(root, out, "--index", "1")) == 0
    drawn = read_image(out).int()
    for top, left in ((200, 100), (0, 400), (4, 4)):
        corner = drawn[:, top : top + 14, left : left + 20]
        assert (corner.amax(dim=0) < 80).sum() > 40  # the dark ground
        assert (corner.amin(dim=0) > 160).any()  # the white letters


def test_an_image_without_objects_is_drawn_as_it_is(root: Path, out: Path) -> None:
    gray(image_path(root, "empty"), 6, 8)

    assert main(words(root, out)) == 0
    assert (read_image(out).int() - 128).abs().max() <= 2  # JPEG rounds


def test_an_image_of_another_size_than_its_annotation_is_refused_after_the_words(
    root: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = image_path(root, "car")
    gray(path, 600, 400)

    assert main(words(root, out, "--index", "1")) == 2
    captured = capsys.readouterr()
    assert "car: 4 4 60 60" in captured.out
    assert captured.err == (f"error: {path}: the image is 400x600, its annotation says 600x400\n")
    assert not out.exists()


def test_a_damaged_image_is_refused_by_name(
    root: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = image_path(root, "car")
    path.parent.mkdir()
    path.write_bytes(b"<html>")

    assert main(words(root, out, "--index", "1")) == 2
    assert capsys.readouterr().err.startswith(f"error: {path}: the image does not decode")
    assert not out.exists()


# Proposals


def write_proposals(path: Path, found: Mapping[str, Proposals]) -> Path:
    path.write_bytes(pack_arrays(**pack_proposals(found, {})))
    return path


def steps(count: int, *, with_scores: bool) -> Proposals:
    """Boxes of 20 x 20 pixels, one right of the other, the last one with the highest score."""
    boxes = torch.tensor([[40.0 * n, 100, 40 * n + 20, 120] for n in range(count)]).reshape(-1, 4)
    return Proposals(boxes, torch.arange(count) / 100 if with_scores else None)


def is_magenta(pixels: Tensor) -> Tensor:
    red, green, blue = pixels.int()
    magenta: Tensor = (torch.minimum(red, blue) - green) > 80
    return magenta


@pytest.mark.parametrize(("with_scores", "drawn"), [(True, range(2, 12)), (False, range(10))])
def test_the_ten_best_proposals_are_drawn_in_another_image(
    with_scores: bool,
    drawn: range,
    root: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gray(image_path(root, "car"), 400, 600)
    found = {"car": steps(12, with_scores=with_scores), "another": steps(1, with_scores=True)}
    path = write_proposals(root / "p.npz", found)

    assert main(words(root, out, "--index=1", f"--proposals={path}")) == 0
    best = out.with_name("image_proposals.jpg")
    says = "12, best scores 0.110, 0.100, 0.090, " if with_scores else "12 without scores\n"
    text = capsys.readouterr().out
    assert f"\nproposals: {says}" in text
    assert text.endswith(f"\ndrawn: {out}\ndrawn: {best}\n")
    bottoms = is_magenta(read_image(best))[119]  # below the texts
    assert [n for n in range(12) if bottoms[40 * n + 4 : 40 * n + 16].all()] == list(drawn)
    assert is_lime(read_image(out)).any()
    assert not is_lime(read_image(best)).any()


def test_each_proposal_has_its_score_beside_it(root: Path, out: Path) -> None:
    gray(image_path(root, "car"), 400, 600)
    path = write_proposals(root / "p.npz", {"car": steps(1, with_scores=True)})

    assert main(words(root, out, "--index=1", f"--proposals={path}")) == 0
    near = read_image(out.with_name("image_proposals.jpg"))[:, 100:116, :36].int()
    assert (near < 64).all(dim=0).any()
    assert (near > 192).all(dim=0).any()


def test_an_image_with_no_proposals_is_drawn_as_it_is(
    root: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gray(image_path(root, "car"), 400, 600)
    path = write_proposals(root / "p.npz", {"car": steps(0, with_scores=True)})

    assert main(words(root, out, "--index=1", f"--proposals={path}")) == 0
    assert "\nproposals: none\n" in capsys.readouterr().out
    drawn = read_image(out.with_name("image_proposals.jpg"))
    assert (drawn.int() - 128).abs().max() < 3


@pytest.mark.parametrize(
    ("found", "what"),
    [
        ({"other": steps(1, with_scores=True)}, "no proposals of image car"),
        ({"car": steps(16, with_scores=True)}, "image car: 6% of the boxes leave 600x400: row 15"),
        (None, "no such file of proposals"),
    ],
)
def test_proposals_of_other_images_are_refused_before_the_words(
    found: Mapping[str, Proposals] | None,
    what: str,
    root: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = root / "p.npz"
    if found is not None:
        write_proposals(path, found)

    assert main(words(root, out, "--index=1", f"--proposals={path}")) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {path}: {what}")
    assert captured.out == ""


def test_visdom_gets_both_drawings(root: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gray(image_path(root, "car"), 400, 600)
    monkeypatch.setattr(visdom_windows, "VisdomWindows", Windows)
    monkeypatch.setattr(Windows, "shown", {})
    path = write_proposals(root / "p.npz", {"car": steps(3, with_scores=True)})
    others = ("--index=1", f"--proposals={path}", "--visdom.server=localhost")

    assert main(words(root, out, *others)) == 0
    assert list(Windows.shown) == ["trainval_1_car", "trainval_1_car_proposals"]
    assert is_magenta(Windows.shown["trainval_1_car_proposals"]).any()


@pytest.mark.voc
def test_the_best_proposals_of_a_real_image_are_drawn(voc_root: Path, out: Path) -> None:
    name = image_ids(voc_root, "test")[7]
    proposals = propose(read_image(image_path(voc_root, name)), ProposeSettings())
    path = write_proposals(out.parent.parent / "p.npz", {name: proposals})

    assert main(words(voc_root, out, "--split=test", "--index=7", f"--proposals={path}")) == 0
    assert is_magenta(read_image(out.with_name("image_proposals.jpg"))).float().mean() > 0.01


# Any folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images and labels beside them."""
    gray(tmp_path / "photographs" / "a b.png", 6, 8)
    gray(tmp_path / "photographs" / "图" / "c.png", 12, 10)
    (tmp_path / "labels.csv").write_text("image,labels\na b.png,\n图/c.png,dog|cat\n")
    return tmp_path / "photographs"


def test_an_image_of_a_folder_has_labels_and_no_boxes(
    folder: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("VOC_ROOT", raising=False)
    argv = [f"--images={folder}", f"--labels={folder.parent / 'labels.csv'}", f"--out={out}"]

    assert main([*argv, "--split=all", "--index=1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "all 1: 图/c.png",
        f"file: {folder}/图/c.png",
        "size: 10x12",
        "classes: cat, dog",
        f"drawn: {out}",
    ]
    assert read_image(out).shape == (3, 12, 10)


def test_an_image_without_labels_has_no_classes(
    folder: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [f"--images={folder}", f"--out={out}", "--split=all", "--classes=[cat]"]

    assert main(argv) == 0
    assert "\nclasses: none\n" in capsys.readouterr().out


# Refusals


@pytest.mark.parametrize(
    ("others", "what"),
    [
        (("--index=2",), "--index 2: trainval has 2 images, from 0"),
        (("--index=99999",), "--index 99999: trainval has 2 images, from 0"),
        (("--index=-1",), "--index is 0 or more, got -1"),
        (("--index", "-1"), "--index is 0 or more, got -1"),
        (("--classes=[cat]", "--index=1"), "class 'car' is not one of cat"),
        (("--split=nope",), "nope.txt: no list of split 'nope'"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(
    others: tuple[str, ...],
    what: str,
    root: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(words(root, out, *others)) == 2

    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    assert what in line
    assert captured.out == ""
    assert not out.exists()


@pytest.mark.parametrize("index", ["one", "1.5", ""])
def test_a_number_that_is_none_is_refused(
    index: str, root: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words(root, out, f"--index={index}"))

    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "index" in line


def test_a_number_beyond_a_folder_is_refused(
    folder: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [f"--images={folder}", f"--out={out}", "--split=all", "--classes=[cat]", "--index=2"]

    assert main(argv) == 2
    assert capsys.readouterr().err == "error: --index 2: all has 2 images, from 0\n"


def test_nothing_to_look_at_is_refused(
    out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VOC_ROOT", raising=False)

    assert main([f"--out={out}"]) == 2
    assert capsys.readouterr().err.startswith("error: --voc-root: no data (name the folder")


# The window


class Windows(Backend):
    """Remembers what would be shown."""

    shown: Mapping[str, Tensor] = {}
    server = ""

    def __init__(self, settings: VisdomSettings) -> None:
        type(self).server = f"{settings.server}:{settings.port}/{settings.env}"

    def image(self, tag: str, image: Tensor, step: int, *, window: str) -> None:
        type(self).shown = {**self.shown, window: image}


def test_visdom_gets_the_drawing_in_a_window_of_its_name(
    root: Path, out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gray(image_path(root, "car"), 400, 600)
    monkeypatch.setattr(visdom_windows, "VisdomWindows", Windows)
    visdom = ("--visdom.server", "localhost", "--visdom.port", "1234", "--visdom.env", "look")

    assert main(words(root, out, "--index", "1", *visdom)) == 0
    assert capsys.readouterr().out.endswith(
        f"drawn: {out}\nsent: localhost:1234, environment look\n"
    )
    assert Windows.server == "localhost:1234/look"
    ((window, image),) = Windows.shown.items()
    assert window == "trainval_1_car"
    assert (image.int() - read_image(out).int()).abs().float().mean() < 3  # JPEG rounds


def test_a_visdom_that_is_down_is_a_failure_and_the_file_is_there(
    root: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gray(image_path(root, "car"), 400, 600)
    down = ("--visdom.server", "127.0.0.1", "--visdom.port", "1")

    assert main(words(root, out, "--index", "1", *down)) == 1
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("error: 127.0.0.1:1: ")
    assert "Connection refused" in line
    assert "sent:" not in captured.out
    assert out.exists()
