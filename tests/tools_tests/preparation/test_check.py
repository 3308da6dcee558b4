"""The check of a data set: every problem at once, nothing twice, and a table of what there is."""

import io
import json
import os
import re
import shutil
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from data.datasets.voc import VOC_CLASSES
from data.datasets.voc_layout import annotation_path, image_ids, image_path
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import Proposals
from tests.conftest import snapshot
from tests.worlds import write_proposals
from tools.check_data import main

CLASSES = f"--classes=[{','.join(SYNTHETIC_CLASSES)}]"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "images.json"


@pytest.fixture
def world(tiny_voc: Path, tmp_path: Path) -> Path:
    """A copy of the small world that a test may damage."""
    return Path(shutil.copytree(tiny_voc, tmp_path / "world"))


def words(root: Path, cache: Path, *others: str) -> list[str]:
    return [f"--voc-root={root}", f"--cache={cache}", *others]


def listed(out: str, below: Path) -> list[Path]:
    """Files that a line of the output accuses, in the order of the lines."""
    lines = re.findall(rf"^({re.escape(str(below))}/[^:]*): .+ \(.+\)$", out, re.MULTILINE)
    return [Path(line) for line in lines]


def table_of(out: str, rows: int) -> list[list[str]]:
    """Cells of the heading and of that many rows below it."""
    _, heads, _, *lines = out.splitlines()
    return [re.split(r"\s{2,}", line) for line in (heads, *lines[:rows])]


def white(path: Path, height: int = 6, width: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), "white").save(path)


# Twenty damages of a folder in VOC's layout


def put(path: Path, content: str | bytes) -> None:
    """In place of the file; where it was a link, what it points to stays as it is."""
    path.unlink()
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def zipped(path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.jpg", path.read_bytes())
    put(path, buffer.getvalue())


def turned(path: Path) -> None:
    """Turned in a program for images: whole, and no longer as annotated."""
    with Image.open(path) as image:
        upright = image.transpose(Image.Transpose.ROTATE_90)
    path.unlink()
    upright.save(path)


def in_fractions(path: Path) -> None:
    path.unlink()
    Image.fromarray(np.full((6, 8), 0.5, dtype=np.float32)).save(path, "TIFF")


def huge(path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("1", (15_626, 16_000)).save(buffer, "PNG")
    put(path, buffer.getvalue())


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


IMAGES: tuple[Callable[[Path], object], ...] = (
    Path.unlink,
    folder,
    pipe,
    lambda path: put(path, b""),
    lambda path: put(path, path.read_bytes()[: path.stat().st_size // 2]),
    lambda path: put(path, bytes(path.stat().st_size)),
    lambda path: put(path, "<!DOCTYPE html><html>404 Not Found</html>"),
    zipped,
    huge,
    in_fractions,
    turned,
)
ANNOTATIONS: tuple[Callable[[str], str], ...] = (
    lambda text: "",
    lambda text: text[: len(text) // 2],
    lambda text: "<!DOCTYPE annotation>" + text,
    lambda text: re.sub(r"(<object>.*?<name>)\w+<", r"\1yeti<", text, count=1, flags=re.DOTALL),
    lambda text: re.sub(r"<xmax>[\d.]+<", "<xmax>99999<", text, count=1),
)


def damage(root: Path) -> set[Path]:
    """Damage twenty files of images, annotations and lists, each in its own way."""
    learned, tested = image_ids(root, "trainval"), image_ids(root, "test")
    bad = set()
    names = iter(learned)
    for spoil in IMAGES:
        path = image_path(root, next(names))
        spoil(path)
        bad.add(path)
    for rewrite in ANNOTATIONS:
        path = annotation_path(root, next(names))
        put(path, rewrite(path.read_text()))
        bad.add(path)
    for place in (image_path, annotation_path):  # a learned image under a tested name
        put(place(root, tested[0]), place(root, learned[-1]).read_bytes())
    bad.add(image_path(root, tested[0]))
    lists = root / "VOC2007" / "ImageSets" / "Main"
    put(lists / "train.txt", f"{learned[0]}\n../../../etc/passwd\n")
    put(lists / "val.txt", f"{learned[1]}\n{learned[2]}\n{learned[1]}\n")
    put(lists / "test.txt", "\n".join([*tested, learned[-1]]))
    return bad | {lists / f"{split}.txt" for split in ("train", "val", "test")}


def copy_of_links(root: Path, into: Path, counts: dict[str, int]) -> Path:
    """A part of a VOC whose images and annotations are links to the whole."""
    home = into / "VOC2007"
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (home / name).mkdir(parents=True)
    lists = {split: image_ids(root, split)[:count] for split, count in counts.items()}
    lists["trainval"] = lists["train"] + lists["val"]
    for split, ids in lists.items():
        (home / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(ids))
        for image_id in ids:
            for place in (image_path, annotation_path):
                if not place(into, image_id).exists():
                    place(into, image_id).symlink_to(place(root, image_id).resolve())
    return into


def assert_exactly(bad: set[Path], root: Path, count: int, captured: tuple[str, str]) -> None:
    out, err = captured
    assert set(listed(out, root)) == bad
    assert len(listed(out, root)) == len(bad) == 20
    assert err == f"error: {root}: 20 problems in {count} images (listed above)\n"


# Everything at once


def test_twenty_damaged_files_are_listed_by_file_lists_first_and_the_second_time_too(
    world: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = damage(world)
    before = snapshot(world)

    assert main(words(world, cache, CLASSES)) == 2
    first = capsys.readouterr()
    assert_exactly(bad, world, 24, first)
    accused = listed(first.out, world)
    kinds = [path.parent.name for path in accused]
    assert kinds == ["Main"] * 3 + ["Annotations"] * 5 + ["JPEGImages"] * 12
    assert accused == [
        path for kind in dict.fromkeys(kinds) for path in sorted(bad) if path.parent.name == kind
    ]
    assert main(words(world, cache, CLASSES)) == 2
    assert capsys.readouterr() == first
    assert snapshot(world) == before


def test_without_a_place_for_its_cache_everything_is_told_all_the_same(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = damage(world)
    (tmp_path / "runs").write_text("a file")

    assert main(words(world, tmp_path / "runs" / "images.json", CLASSES)) == 2

    out, err = capsys.readouterr()
    assert set(listed(out, world)) == bad
    warning, error = err.splitlines()
    assert warning.startswith("warning: ")
    assert str(tmp_path / "runs") in warning
    assert error.startswith(f"error: {world}: 20 problems")


@pytest.mark.voc
def test_a_part_of_the_real_images_with_twenty_damaged_files_lists_exactly_those_twenty(
    voc_root: Path, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = {"train": 40, "val": 30, "test": 30}
    root = copy_of_links(voc_root, tmp_path / "some", counts)
    originals = [path.resolve() for path in (root / "VOC2007" / "JPEGImages").iterdir()]
    before = [path.stat().st_mtime_ns for path in originals]
    bad = damage(root)

    assert main(words(root, cache)) == 2
    assert_exactly(bad, root, 100, capsys.readouterr())
    assert [path.stat().st_mtime_ns for path in originals] == before


@pytest.mark.voc
def test_the_real_images_are_clean(
    voc_root: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count = len(image_ids(voc_root, "trainval")) + len(image_ids(voc_root, "test"))

    assert main(words(voc_root, cache)) == 0
    captured = capsys.readouterr()
    assert f"\n{voc_root}: {count} images, no problems\n" in captured.out
    assert captured.err == ""
    (line,) = re.findall(r"^car .*$", captured.out, re.MULTILINE)
    if count == 1312:  # the part that travels beside the project
        assert [cell.split("/")[0] for cell in re.split(r"\s{2,}", line)[-2:]] == ["141", "38"]


# A clean data set


def test_a_clean_data_set_ends_with_its_count_and_its_images_are_in_the_cache(
    tiny_voc: Path, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(tiny_voc)
    link = tmp_path / "Bilder für später 图"
    link.symlink_to(tiny_voc, target_is_directory=True)

    assert main(words(link, cache, CLASSES)) == 0
    captured = capsys.readouterr()
    assert f"\n{link}: 24 images, no problems\n" in captured.out
    assert captured.err == ""
    assert snapshot(tiny_voc) == before
    paths = sorted((link / "VOC2007" / "JPEGImages").iterdir())
    assert sorted(json.loads(cache.read_text())) == [str(path) for path in paths]
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]


def test_the_table_counts_images_objects_and_difficult_ones(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = {"a": ["cat 0", "cat 0", "dog 1"], "b": ["cat 0", "cat 1"], "c": ["dog 1"]}
    home = tmp_path / "voc" / "VOC2007"
    for name, kinds in objects.items():
        width = 8 + ord(name)
        white(home / "JPEGImages" / f"{name}.jpg", 6, width)
        boxes = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox>"
        nodes = "".join(
            f"<object><name>{one[:3]}</name><difficult>{one[4]}</difficult>{boxes}</object>"
            for one in kinds
        )
        size = f"<size><width>{width}</width><height>6</height></size>"
        path = annotation_path(tmp_path / "voc", name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"<annotation>{size}{nodes}</annotation>")
    (home / "ImageSets" / "Main").mkdir(parents=True)
    (home / "ImageSets" / "Main" / "train.txt").write_text("a\nb\n")
    (home / "ImageSets" / "Main" / "test.txt").write_text("c\n")

    assert main(words(tmp_path / "voc", cache, "--classes", "[dog,cat]")) == 0
    assert table_of(capsys.readouterr().out, 2) == [
        ["class", "train (2)", "test (1)"],
        ["dog", "0/0 +1", "0/0 +1"],
        ["cat", "2/3 +1", "0/0"],
    ]


def test_the_classes_of_voc_are_the_default(
    tiny_voc: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tiny_voc, cache)) == 2
    out = capsys.readouterr().out
    assert f"'{SYNTHETIC_CLASSES[0]}'" in out
    assert ", ".join(VOC_CLASSES) in out


def test_a_tested_image_of_the_same_content_as_a_learned_one_is_named_with_it(
    world: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in (image_path, annotation_path):
        shutil.copyfile(place(world, "000003"), place(world, "000020"))

    assert main(words(world, cache, CLASSES)) == 2
    out = capsys.readouterr().out
    assert listed(out, world) == [image_path(world, "000020")]
    assert f"the same file as {image_path(world, '000003')}" in out


# What is known of images


def test_a_changed_image_is_read_again_and_the_others_are_not(
    world: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(world, cache, CLASSES)) == 0
    capsys.readouterr()
    changed, unread = image_path(world, "000007"), image_path(world, "000008")
    before = unread.stat()
    unread.write_bytes(bytes(before.st_size))
    os.utime(unread, ns=(before.st_atime_ns, before.st_mtime_ns))
    changed.write_bytes(b"bad")

    assert main(words(world, cache, CLASSES)) == 2
    assert listed(capsys.readouterr().out, world) == [changed]


@pytest.mark.parametrize(
    "content",
    [b"not JSON", b"\xff\xfe", b"[]", b'{"a": 1}', b'{"a": [1, 2]}', b"[" * 100_000],
)
def test_a_damaged_cache_is_ignored_and_written_anew(
    tiny_voc: Path, cache: Path, content: bytes
) -> None:
    cache.parent.mkdir()
    cache.write_bytes(content)

    assert main(words(tiny_voc, cache, CLASSES)) == 0
    assert len(json.loads(cache.read_text())) == 24


def test_a_signal_stops_a_check_between_two_images(
    tiny_voc: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    decoded = []
    convert = Image.Image.convert

    def stop(image: Image.Image, *args: Any, **options: Any) -> Image.Image:
        decoded.append(image)
        signal.raise_signal(signal.SIGTERM)
        return convert(image, *args, **options)

    monkeypatch.setattr(Image.Image, "convert", stop)

    assert main(words(tiny_voc, cache, CLASSES)) == 143
    assert len(decoded) == 1
    assert not cache.exists()
    assert "problems" not in capsys.readouterr().out


def test_a_part_of_an_official_split_says_so(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "VOC2007"
    (home / "ImageSets" / "Main").mkdir(parents=True)
    (home / "Annotations").mkdir()
    (home / "ImageSets" / "Main" / "test.txt").write_text("a\n")
    size = "<size><width>8</width><height>6</height></size>"
    (home / "Annotations" / "a.xml").write_text(f"<annotation>{size}</annotation>")
    white(home / "JPEGImages" / "a.jpg")

    assert main(words(tmp_path, cache)) == 0
    assert "\ntest: 1 images (partial: 1 of 4952)\n" in capsys.readouterr().out


# Images that may be left out


def test_bad_images_and_annotations_are_left_out_on_request_by_name_with_a_count(
    world: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, without, thin = (image_path(world, name) for name in image_ids(world, "val")[:3])
    put(broken, broken.read_bytes()[:1000])
    put(annotation_path(world, without.stem), "")
    put(annotation_path(world, thin.stem), "<annotation/>")
    thin.unlink()
    white(thin, 1, 200)

    assert main(words(world, cache, CLASSES)) == 2
    assert "left out" not in capsys.readouterr().err
    assert main(words(world, cache, CLASSES, "--on-bad=skip")) == 0
    captured = capsys.readouterr()
    warnings = [line.split(": left out: ")[0] for line in captured.err.splitlines()]
    assert sorted(warnings) == sorted(f"warning: {path}" for path in (broken, without, thin))
    assert f"\n{world}: 24 images, 3 bad ones left out, no problems\n" in captured.out


@pytest.mark.parametrize(("lacking", "code"), [(0, 0), (1, 2)])
def test_proposals_may_lack_an_image_that_is_left_out_and_no_other(
    lacking: int, code: int, world: Path, cache: Path, tmp_path: Path
) -> None:
    ids = image_ids(world, "val")
    put(image_path(world, ids[0]), b"")
    boxes = {name: ONE_BOX for name in ids if name != ids[lacking]}
    path = proposals_of(tmp_path / "p.npz", boxes)

    assert main(words(world, cache, CLASSES, "--on-bad=skip", f"--proposals={path}")) == code


def test_what_leaving_an_image_out_does_not_cure_is_a_problem_still(
    world: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, turned_one = (image_path(world, name) for name in image_ids(world, "val")[:2])
    put(bad, b"")
    turned(turned_one)

    assert main(words(world, cache, CLASSES, "--on-bad=skip")) == 2
    captured = capsys.readouterr()
    assert listed(captured.out, world) == [turned_one]
    assert captured.err.endswith(f"error: {world}: 1 problems in 24 images (listed above)\n")


# Any folder of images


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    for number, name in enumerate(("a.png", "b b.png", "图/c.png", "d.png")):
        white(folder / name, 6 + number, 8)
    return folder


def check_folder(folder: Path, cache: Path, *lines: str) -> int:
    labels = folder.parent / "labels.csv"
    labels.write_text("\n".join(lines))
    return main([f"--images={folder}", f"--cache={cache}", f"--labels={labels}"])


def test_a_clean_folder_shows_its_classes_by_split(
    images: Path,
    cache: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("VOC_ROOT", raising=False)
    before = snapshot(images)
    lines = ("a.png,cat|dog,train", "b b.png,dog,val", "图/c.png,cat,test", "d.png,,train")

    assert check_folder(images, cache, "image,labels,split", *lines) == 0
    out = capsys.readouterr().out
    assert table_of(out, 2) == [
        ["class", "all (4)", "train (2)", "val (1)", "test (1)", "trainval (3)"],
        ["cat", "2/2", "1/1", "0/0", "1/1", "1/1"],
        ["dog", "2/2", "1/1", "1/1", "0/0", "2/2"],
    ]
    assert (
        f"{images}: 4 images, no problems\n"
        "next: python -m tools.train_localizer --config localizer_lite0 "
        f"--images={images} --labels={images.parent / 'labels.csv'} --run-dir runs/lite0"
    ) in out
    assert snapshot(images) == before


def test_every_bad_image_of_a_folder_is_listed_at_once(
    images: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "a.png").write_bytes(b"<html>")
    (images / "图" / "c.png").unlink()
    shutil.copyfile(images / "b b.png", images / "d.png")
    lines = ("d.png,dog,test", "a.png,cat,train", "b b.png,dog,train", "图/c.png,cat,train")

    assert check_folder(images, cache, "image,labels,split", *lines) == 2
    captured = capsys.readouterr()
    names = ("a.png", "d.png", "图/c.png")
    assert listed(captured.out, images) == [images / name for name in names]
    assert captured.err == f"error: {images}: 3 problems in 4 images (listed above)\n"


def test_a_class_that_is_not_named_is_a_problem_of_each_of_its_images(
    images: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = images.parent / "labels.csv"
    labels.write_text("image,labels\na.png,cat|yeti\nb b.png,yeti\nd.png,cat")
    argv = [f"--images={images}", f"--labels={labels}", f"--cache={cache}"]

    assert main([*argv, "--classes", "[cat,dog]"]) == 2
    out = capsys.readouterr().out
    assert listed(out, images) == [images / "a.png", images / "b b.png"]
    assert "class 'yeti' is not one of cat, dog" in out


def test_turned_images_and_those_that_become_one_gray_are_told_and_no_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("RGB", (8, 6)).save(folder / "phone.jpg", exif=exif)
    Image.fromarray(np.array([[0, 4095]], dtype=np.uint16)).save(folder / "camera.png")
    Image.fromarray(np.array([[0, 65535]], dtype=np.uint16)).save(folder / "full.png")

    assert main(["--images", str(folder), f"--cache={tmp_path / 'states.json'}"]) == 0

    printed = capsys.readouterr()
    assert "1 images are turned upright, as their EXIF orientation says\n" in printed.out
    told = "warning: 1 images of 16-bit gray take less than a tenth of its range and become nearly"
    assert printed.err.startswith(told)
    assert printed.err.endswith(f"{folder / 'camera.png'}\n")


def test_every_bad_line_of_the_labels_is_listed_with_the_bad_images_of_the_others(
    images: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "d.png").write_bytes(b"")
    lines = ("a.png,cat,dog", "/b b.png,cat", "d.png,cat", "gone.png,cat", "图/c,dog")

    assert check_folder(images, cache, "image,labels", *lines) == 2
    captured = capsys.readouterr()
    labels = images.parent / "labels.csv"
    where = [line.split(": ")[0] for line in captured.out.splitlines() if ".png" in line]
    assert where == [str(labels), *(f"{images}/{name}" for name in ("d.png", "gone.png"))]
    assert f"{labels}: line 2: 3 columns instead of 2 (correct the line" in captured.out
    assert captured.err.endswith(f"error: {images}: 4 problems in 3 images (listed above)\n")


def test_at_most_twenty_problems_of_a_file_are_listed_and_all_are_counted(
    images: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["a.png,cat", *(f"/{k}.png,cat" for k in range(50))]

    assert check_folder(images, cache, "image,labels", *lines) == 2
    captured = capsys.readouterr()
    assert captured.out.count("is not a path below the folder") == 20
    assert captured.out.endswith(f"\n{images.parent}/labels.csv: 30 more problems\n")
    assert "50 problems in 1 images" in captured.err


def test_the_form_and_what_is_doubtful_are_told(
    images: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "phone.heic").write_bytes(b"")
    lines = ("a.png,1,0,train", "b b.png,1,-1,train", "图/c.png,0,1,val")

    assert check_folder(images, cache, "image,cat,dog,split", *lines) == 0
    captured = capsys.readouterr()
    assert "labels: labels.csv: a column for each class, -1 or nothing unknown\n" in captured.out
    assert captured.err.splitlines() == [
        f"warning: {images}: images without a line in the labels, not used: d.png",
        f"warning: {images}: images of kinds that are not read (convert them to JPEG or PNG): "
        "1 .heic",
        "warning: train: class 'dog' has no image that holds it to learn from",
        "warning: train: class 'cat' has no image without it to learn from",
    ]


def test_a_folder_without_labels_is_checked_image_by_image(
    images: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [f"--images={images}", f"--cache={cache}"]
    assert main(argv) == 0
    assert f"\n{images}: 4 images, no problems\n" in capsys.readouterr().out

    (images / "e.jpg").symlink_to("gone.jpg")
    os.mkfifo(images / "f.jpg")
    (images / "g.jpg").write_bytes(b"")
    assert main(argv) == 2
    assert listed(capsys.readouterr().out, images) == [
        images / name for name in ("e.jpg", "f.jpg", "g.jpg")
    ]


# Proposals


def proposals_of(path: Path, boxes: dict[str, Tensor]) -> Path:
    return write_proposals(path, {name: Proposals(rows, None) for name, rows in boxes.items()})


ONE_BOX = torch.tensor([[0.0, 0.0, 5.0, 4.0]])


def test_proposals_inside_of_their_images_are_no_problem(
    tiny_voc: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = image_ids(tiny_voc, "val")
    path = proposals_of(tmp_path / "p.npz", dict.fromkeys(ids, ONE_BOX))

    assert main(words(tiny_voc, cache, CLASSES, f"--proposals={path}")) == 0
    out = capsys.readouterr().out
    assert "\nproposals of all images of: val\n" in out
    assert f"\n{tiny_voc}: 24 images, no problems\n" in out


def test_problems_of_proposals_are_listed_with_the_others(
    world: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = image_ids(world, "test")
    image_path(world, ids[5]).write_bytes(b"")
    boxes = dict.fromkeys(ids[1:], ONE_BOX)
    boxes |= {ids[1]: torch.zeros(0, 4), ids[2]: ONE_BOX + 9999, "stranger": ONE_BOX}
    path = proposals_of(tmp_path / "p.npz", boxes)

    assert main(words(world, cache, CLASSES, f"--proposals={path}")) == 2
    captured = capsys.readouterr()
    assert "\nproposals of all images of: no split\n" in captured.out
    named = [f"such as {ids[0]}", "such as stranger", f"such as {ids[1]}", f"image {ids[2]}: 100%"]
    *of_proposals, of_image = captured.out.splitlines()[-5:]
    for line, name in zip(of_proposals, named, strict=True):
        assert line.startswith(f"{path}: ")
        assert name in line
    assert of_image.startswith(f"{image_path(world, ids[5])}: ")
    assert captured.err == f"error: {world}: 5 problems in 24 images (listed above)\n"


def test_proposals_of_a_folder_go_by_the_paths_below_it(
    images: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = proposals_of(tmp_path / "p.npz", dict.fromkeys(["a.png", "图/c.png"], ONE_BOX))

    assert main([f"--images={images}", f"--cache={cache}", f"--proposals={path}"]) == 2
    (line,) = re.findall(rf"^{path}: .*$", capsys.readouterr().out, re.MULTILINE)
    assert "2 images" in line
    assert "b b.png" in line


def test_proposals_that_cannot_be_read_are_one_problem(
    tiny_voc: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.npz").write_bytes(b"<html>")

    assert main(words(tiny_voc, cache, CLASSES, f"--proposals={tmp_path}/p.npz")) == 2
    captured = capsys.readouterr()
    assert f"\n{tmp_path}/p.npz: " in captured.out
    assert captured.err == f"error: {tiny_voc}: 1 problems in 24 images (listed above)\n"


# Refusals


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        ("", "--voc-root"),
        ("--voc-root={0}/no", "{0}/no: "),
        ("--voc-root={0}/there", "{0}/there/VOC2007/ImageSets/Main: "),
        ("--images={0}/no", "{0}/no: "),
        ("--images={0}/there", "{0}/there: "),
        ("--labels={0}/bad.csv", "--labels"),
        ("--images={0}/there --labels={0}/no.csv", "{0}/no.csv: "),
        ("--images={0}/there --labels={0}/bad.csv", "{0}/bad.csv: "),
        ("--images={0}/there --val-fraction=1", "--val-fraction"),
        ("--classes=[a,b,a]", "--classes"),
    ],
)
def test_what_cannot_be_checked_is_refused_in_one_line(
    argv: str,
    named: str,
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("VOC_ROOT", raising=False)
    (tmp_path / "there" / "VOC2007").mkdir(parents=True)
    (tmp_path / "bad.csv").write_text("image;class\n")

    assert main([*argv.format(tmp_path).split(), f"--cache={cache}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {named.format(tmp_path)}")
    assert not cache.exists()
