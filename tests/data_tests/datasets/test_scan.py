"""A scan meets every kind of bad image at once, reads nothing twice, and compares the lists."""

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from data import parallel
from data.datasets import scan
from data.datasets.scan import (
    ImageState,
    Problem,
    image_problems,
    same_images,
    scan_images,
    scan_proposals,
    scan_voc,
)
from data.images import read_image
from data.proposals.files import pack_proposals
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import Proposals
from tests.conftest import snapshot

Make = Callable[[Path], object]


def noise(height: int = 48, width: int = 64) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image or noise()).save(buffer, kind, **options)
    return buffer.getvalue()


def content(bytes_: bytes) -> Make:
    return lambda path: path.write_bytes(bytes_)


def cut(kind: str, fraction: float) -> Make:
    whole = encoded(kind)
    return content(whole[: int(len(whole) * fraction)])


def rotten(kind: str, **options: Any) -> Make:
    """Half of its bytes lost to zeros, as on a bad disk; the head is whole."""
    whole = bytearray(encoded(kind, **options))
    whole[len(whole) // 4 : 3 * len(whole) // 4] = bytes(3 * len(whole) // 4 - len(whole) // 4)
    return content(bytes(whole))


def chunk(name: bytes, body: bytes) -> bytes:
    summed = struct.pack(">I", zlib.crc32(name + body))
    return struct.pack(">I", len(body)) + name + body + summed


def png(width: int, height: int, pixels: bytes, depth: int = 8, color: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(pixels))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.jpg", encoded("JPEG"))
    return buffer.getvalue()


def gray(values: list[int] | list[float], dtype: type[np.generic]) -> bytes:
    return encoded("TIFF", Image.fromarray(np.array([values], dtype=dtype)))


BAD: dict[str, Make] = {
    "missing": lambda path: None,
    "link to nothing": lambda path: path.symlink_to("gone.jpg"),
    "link to itself": lambda path: path.symlink_to(path),
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "empty": content(b""),
    "one byte": content(b"\xff"),
    "zeros": content(bytes(10_000)),
    "text": content(b"once upon a time there was a cat"),
    "page of an error": content(b"<!DOCTYPE html><html><body>404 Not Found</body></html>"),
    "zip": content(zipped()),
    "pdf": content(encoded("PDF")),
    "drawing": content(b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
    "postscript": content(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"),
    "film": content(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(100)),
    "annotation": content(b"<annotation><size/></annotation>"),
    "pointer": content(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
    "icon": content(encoded("ICO")),  # an image, and of none of the kinds that are read
    "jpeg begun": content(b"\xff\xd8\xff\xe0"),
    "jpeg without its first byte": content(encoded("JPEG")[1:]),
    "jpeg cut in its head": cut("JPEG", 0.05),
    "jpeg cut": cut("JPEG", 0.6),
    "progressive jpeg cut": content(encoded("JPEG", progressive=True)[:1500]),
    "png cut": cut("PNG", 0.6),
    "gif cut": cut("GIF", 0.6),
    "tiff cut": cut("TIFF", 0.6),
    "webp cut": cut("WEBP", 0.6),
    "bmp cut": cut("BMP", 0.6),
    "ppm cut": cut("PPM", 0.6),
    "png rotten": rotten("PNG"),
    "gif rotten": rotten("GIF"),
    "jpeg rotten": rotten("JPEG"),
    "jpeg rot at the head": content(b"\xff\xd8" + bytes(20) + encoded("JPEG")[22:]),
    "webp rotten": content(encoded("WEBP").replace(b"VP8", b"VP9")),
    "tiff rotten": rotten("TIFF", compression="tiff_lzw"),
    "png without pixels": content(png(0, 0, b"")),
    "png of too few pixels": content(png(64, 48, b"\0" * 100)),
    "png with a wrong sum": content(encoded("PNG").replace(b"IHDR", b"IHDS")),
    "bomb": content(png(30_000, 30_000, b"")),
    "long bomb": content(png(2_000_000_000, 1, b"")),
    "bmp bomb": content(
        b"BM" + struct.pack("<IIIIIIHHIIIIII", 54, 0, 54, 40, 50_000, 50_000, 1, 24, *[0] * 6)
    ),
    "fractions": content(gray([0.5, 0.25], np.float32)),
    "32 bit": content(gray([70_000, 3], np.int32)),
    "below zero": content(gray([-5, 3], np.int32)),
}

FINE: dict[str, Make] = {
    "jpeg": content(encoded("JPEG")),
    "progressive": content(encoded("JPEG", progressive=True)),
    "gray": content(encoded("JPEG", noise().convert("L"))),
    "cmyk": content(encoded("JPEG", noise().convert("CMYK"))),
    "turned by exif": content(encoded("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0")),
    "misnamed": content(encoded("PNG")),
    "palette": content(encoded("PNG", noise().convert("P"))),
    "alpha": content(encoded("PNG", noise().convert("RGBA"))),
    "gray and alpha": content(encoded("PNG", noise().convert("LA"))),
    "one bit": content(encoded("PNG", noise().convert("1"))),
    "16 bit": content(encoded("PNG", Image.fromarray(np.full((48, 64), 700, dtype=np.uint16)))),
    "16 bit colors": content(png(64, 48, (b"\0" + b"\2\0" * 3 * 64) * 48, depth=16)),
    "words after the end": content(encoded("JPEG") + b"and more"),
    "film of two images": content(
        encoded("GIF", save_all=True, append_images=[noise().rotate(180)])
    ),
    "signs 图 & blanks": content(encoded("WEBP")),
}


def write(folder: Path, makes: dict[str, Make]) -> dict[Path, str]:
    """One file ``NAME.jpg`` of each kind, whatever it holds."""
    paths = {folder / f"{kind}.jpg": kind for kind in makes}
    for path, kind in paths.items():
        makes[kind](path)
    return paths


def scanned(
    paths: list[Path], known: dict[str, ImageState] | None = None, processes: int | None = 0
) -> dict[Path, ImageState]:
    return dict(scan_images(paths, known or {}, processes=processes))


def by_path(states: dict[Path, ImageState]) -> dict[str, ImageState]:
    return {str(path.absolute()): state for path, state in states.items()}


# --- every kind at once --------------------------------------------------------------------------


def test_every_kind_of_bad_image_is_found_in_one_scan(tmp_path: Path) -> None:
    paths = write(tmp_path, BAD)
    states = scanned(list(paths))
    passed = [paths[path] for path, state in states.items() if not state.problem]
    assert len(states) == len(BAD) == 45
    assert passed == []
    for path, state in states.items():
        assert (state.height, state.width, state.digest) == (0, 0, "")
        assert not state.problem.startswith(str(path))
        assert "\n" not in state.problem


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("missing", "no such image"),
        ("link to nothing", "no such image"),
        ("folder", "not a regular file"),
        ("pipe", "not a regular file"),
        ("device", "not a regular file"),
        ("empty", "the image does not decode (cannot identify"),
        ("jpeg cut", "the image does not decode (image file is truncated"),
        ("bomb", "the image does not decode (Image size (900000000 pixels) exceeds limit"),
        ("fractions", "the image does not decode (gray values of type float32 that are not"),
    ],
)
def test_a_problem_says_what_it_is(tmp_path: Path, kind: str, what: str) -> None:
    (state,) = scanned(list(write(tmp_path, {kind: BAD[kind]}))).values()
    assert state.problem.startswith(what)


def test_odd_images_are_no_problem(tmp_path: Path) -> None:
    paths = write(tmp_path, FINE)
    states = scanned(list(paths))
    assert {paths[path]: state.problem for path, state in states.items() if state.problem} == {}
    assert {(state.height, state.width) for state in states.values()} == {(48, 64)}


def test_a_good_image_is_described_by_size_time_and_content(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded("PNG", noise(10, 20)))
    found = path.stat()
    ((seen, state),) = scan_images([path], {}, processes=0)
    assert seen == path
    assert state[:5] == (found.st_size, found.st_mtime_ns, "", 10, 20)
    assert len(state.digest) == 64


def test_no_images_give_nothing() -> None:
    assert scanned([]) == {}


# --- order and processes -------------------------------------------------------------------------


@pytest.fixture
def mixed(tmp_path: Path) -> list[Path]:
    """Good and bad images in no order."""
    paths = sorted(write(tmp_path, BAD | FINE), key=lambda path: path.name[::-1])
    assert paths != sorted(paths)
    return paths


def test_images_come_in_their_order(mixed: list[Path]) -> None:
    assert [path for path, _ in scan_images(mixed, {}, processes=0)] == mixed


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker")  # on a single core
def test_any_number_of_processes_finds_the_same_in_the_same_order(
    mixed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "SERIAL", 0)
    serial, one, two = (list(scan_images(mixed, {}, processes=count)) for count in (0, 1, 2))
    assert serial == one == two
    assert {type(state) for _, state in serial + one + two} == {ImageState}


def test_few_images_and_one_process_are_read_without_another_process(
    mixed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def read(path: Path) -> torch.Tensor:
        seen.append(path)
        return read_image(path)

    monkeypatch.setattr(scan, "read_image", read)
    scanned(mixed, processes=2)
    assert len(mixed) < scan.SERIAL
    assert seen == mixed
    monkeypatch.setattr(scan, "SERIAL", 0)
    scanned(mixed, processes=1)
    assert seen == mixed + mixed


def test_no_more_processes_start_than_there_are_cores_for_this_one(
    mixed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []

    def loader(*_: object, num_workers: int, **others: object) -> list[ImageState]:
        counts.append(num_workers)
        return [described()] * len(mixed)

    monkeypatch.setattr(parallel, "DataLoader", loader)
    monkeypatch.setattr(scan, "SERIAL", 0)
    for cores in ({3}, {0, 1}, {0, 4, 5}):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: cores, raising=False)
        list(scan_images(mixed, {}))
    assert counts == [0, 2, 3]


def test_a_scan_draws_nothing_from_the_generator_that_models_start_from(
    mixed: list[Path], rng: torch.Generator
) -> None:
    before = rng.get_state()
    scanned(mixed)
    assert torch.equal(rng.get_state(), before)


# --- what is known -------------------------------------------------------------------------------


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(path: Path) -> None:
        raise AssertionError(f"{path} is read")

    monkeypatch.setattr(scan, "read_image", read)


def test_unchanged_files_are_not_read_again(
    mixed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = [path for path in mixed if path.exists()]
    states = scanned(there)
    forbid_reading(monkeypatch)
    assert scanned(there, by_path(states)) == states


def test_other_content_of_the_same_size_and_time_is_not_noticed(tmp_path: Path) -> None:
    (path,) = write(tmp_path, {"a": FINE["jpeg"]})
    states = scanned([path])
    found = path.stat()
    path.write_bytes(bytes(found.st_size))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert scanned([path], by_path(states)) == states
    assert scanned([path])[path].problem  # as it would be found without


@pytest.mark.parametrize("new", ["size", "time"])
def test_a_file_of_another_size_or_time_is_read_again(tmp_path: Path, new: str) -> None:
    (path,) = write(tmp_path, {"a": FINE["jpeg"]})
    states = scanned([path])
    found = path.stat()
    path.write_bytes(bytes(found.st_size + (new == "size")))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + (new == "time")))
    assert scanned([path], by_path(states))[path].problem


def test_a_repaired_image_is_read_again(tmp_path: Path) -> None:
    (path,) = write(tmp_path, {"a": BAD["jpeg cut"]})
    states = scanned([path])
    FINE["jpeg"](path)
    assert states[path].problem
    assert not scanned([path], by_path(states))[path].problem


def test_a_missing_image_is_looked_for_again(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    states = scanned([path])
    assert states[path][:2] == scan.NO_FILE
    lie = states[path]._replace(problem="")
    assert scanned([path], {str(path): lie})[path].problem == "no such image"


def test_an_image_is_known_by_its_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = write(tmp_path, {"a": FINE["jpeg"]})
    known = by_path(scanned([path]))
    forbid_reading(monkeypatch)
    monkeypatch.chdir(tmp_path)
    assert list(scanned([Path("a.jpg")], known)) == [Path("a.jpg")]


# --- sizes and equal files -----------------------------------------------------------------------


def described(
    height: int = 48, width: int = 64, digest: str = "d", problem: str = ""
) -> ImageState:
    return ImageState(9, 9, problem, height, width, digest)


def test_another_size_than_annotated_is_a_problem() -> None:
    path = Path("a.jpg")
    (problem,) = image_problems({path: described(48, 64)}, {path: (64, 48)})
    assert problem.where == path
    assert problem.what == "the image is 64x48, its annotation says 48x64"
    assert "not turned by EXIF" in problem.cure


def test_a_bad_image_is_one_problem_and_its_size_no_second() -> None:
    path = Path("a.jpg")
    (problem,) = image_problems({path: described(0, 0, "", "bad")}, {path: (64, 48)})
    assert problem.what == "bad"
    assert "--on-bad skip" in problem.cure


def test_an_image_as_annotated_or_without_annotation_is_no_problem() -> None:
    assert (
        image_problems({Path("a"): described(), Path("b"): described()}, {Path("a"): (48, 64)})
        == []
    )


def test_a_tested_file_with_the_content_of_a_learned_one_is_a_problem() -> None:
    learned, tested = [Path("a"), Path("b")], [Path("c"), Path("d")]
    digests = {Path("a"): "1", Path("b"): "2", Path("c"): "3", Path("d"): "2"}
    states = {path: described(digest=digest) for path, digest in digests.items()}
    (problem,) = same_images(states, learned, tested)
    assert problem.where == Path("d")
    assert problem.what == "the same file as b, which is learned from"


def test_bad_images_are_not_taken_for_equal_ones() -> None:
    states = {Path("a"): described(0, 0, "", "bad"), Path("b"): described(0, 0, "", "bad")}
    assert same_images(states, [Path("a")], [Path("b")]) == []


def test_an_image_on_both_lists_is_left_to_the_comparison_of_lists() -> None:
    assert same_images({Path("a"): described()}, [Path("a")], [Path("a")]) == []


# --- lists and annotations -----------------------------------------------------------------------


def annotation(name: str = "cat", xmax: str = "9") -> str:
    box = f"<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>{xmax}</xmax><ymax>9</ymax></bndbox>"
    size = "<size><width>64</width><height>48</height></size>"
    return f"<annotation>{size}<object><name>{name}</name>{box}</object></annotation>"


def voc(
    root: Path, lists: Mapping[str, str | bytes], annotations: Mapping[str, str] | None = None
) -> Path:
    """Lists and annotations without images; names are annotated unless they are given."""
    folder = root / "VOC2007" / "ImageSets" / "Main"
    folder.mkdir(parents=True)
    (root / "VOC2007" / "Annotations").mkdir()
    for split, text in lists.items():
        content_ = text if isinstance(text, bytes) else text.encode()
        (folder / f"{split}.txt").write_bytes(content_)
        for name in content_.decode("latin-1").split():
            if name.isalnum():
                (root / "VOC2007" / "Annotations" / f"{name}.xml").write_text(annotation())
    for name, text in (annotations or {}).items():
        (root / "VOC2007" / "Annotations" / f"{name}.xml").write_text(text)
    return root


def files(problems: list[Problem]) -> list[str]:
    return [problem.where.name for problem in problems]


def test_a_clean_world_has_lists_and_annotations_and_no_problems(tiny_voc: Path) -> None:
    found = scan_voc(tiny_voc, SYNTHETIC_CLASSES)
    assert found.problems == []
    assert {split: len(names) for split, names in found.splits.items()} == {
        "train": 12,
        "val": 6,
        "trainval": 18,
        "test": 6,
    }
    assert len(found.annotations) == 24


def test_lists_that_are_not_there_are_not_asked_for(tmp_path: Path) -> None:
    found = scan_voc(voc(tmp_path, {"trainval": "a\nb\nc"}), ["cat"])
    assert found.splits == {"trainval": ["a", "b", "c"]}
    assert found.problems == []


def test_a_folder_without_any_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Main: none of the lists train, val, trainval, "):
        scan_voc(voc(tmp_path, {"person": "a"}), ["cat"])


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "the list is empty"),
        ("b\nc\nb", "listed twice: b"),
        ("b\n../../secret", "'../../secret' is not the name of an image"),
        ("b\n/etc/passwd", "'/etc/passwd' is not the name of an image"),
        ("b 1\nc -1", "'b 1' is not the name of an image"),
        (b"b\n\xff\xfe", "not a text file in UTF-8"),
    ],
)
def test_a_bad_list_is_one_problem_and_the_others_are_read(
    tmp_path: Path, text: str | bytes, what: str
) -> None:
    found = scan_voc(voc(tmp_path, {"train": "a", "val": text}), ["cat"])
    (problem,) = found.problems
    assert problem.where.name == "val.txt"
    assert problem.what.startswith(what)
    assert problem.cure == "correct the list"
    assert found.splits == {"train": ["a"]}


def test_every_bad_annotation_is_named_once(tmp_path: Path) -> None:
    bad = {
        "empty": "",
        "cut": annotation()[:50],
        "page": "<html><body>404</body></html>",
        "typed": "<!DOCTYPE a>" + annotation(),
        "yeti": annotation("yeti"),
        "nowhere": annotation(xmax="nan"),
        "outside": annotation(xmax="65"),
        "inverted": annotation(xmax="0"),
        "sizeless": "<annotation></annotation>",
    }
    names = "\n".join(["good", *bad, "missing"])
    root = voc(tmp_path, {"train": names, "trainval": names}, bad)
    (root / "VOC2007" / "Annotations" / "missing.xml").unlink()
    found = scan_voc(root, ["cat"])
    assert files(found.problems) == [f"{name}.xml" for name in [*bad, "missing"]]
    assert list(found.annotations) == ["good"]
    for problem in found.problems:
        assert not problem.what.startswith("/")
        assert problem.cure == "restore or correct the file, or take the name off the lists"


def test_an_annotation_that_may_not_be_read_is_one_problem_among_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, classes: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(scan, "read_annotation", refuse)
    found = scan_voc(voc(tmp_path, {"train": "a\nb"}), ["cat"])
    assert files(found.problems) == ["a.xml", "b.xml"]


@pytest.mark.parametrize(
    ("one", "other"), [("train", "val"), ("train", "test"), ("val", "test"), ("trainval", "test")]
)
def test_a_name_on_two_lists_is_a_problem_of_the_second(
    tmp_path: Path, one: str, other: str
) -> None:
    found = scan_voc(voc(tmp_path, {one: "a\nc\nb", other: "c\nd\nb"}), ["cat"])
    (problem,) = found.problems
    assert problem.where.name == f"{other}.txt"
    assert problem.what == f"2 images are in {one} too, such as b"


@pytest.mark.parametrize("part", ["train", "val"])
def test_the_parts_of_trainval_may_be_in_it(tmp_path: Path, part: str) -> None:
    assert scan_voc(voc(tmp_path, {part: "a", "trainval": "a\nb"}), ["cat"]).problems == []


def test_a_scan_leaves_the_folder_as_it_is(tiny_voc: Path) -> None:
    before = snapshot(tiny_voc)
    scan_voc(tiny_voc, SYNTHETIC_CLASSES)
    scanned(sorted((tiny_voc / "VOC2007" / "JPEGImages").iterdir()))
    assert snapshot(tiny_voc) == before


# Proposals

SPLITS = {"train": ["a", "b"], "val": ["c"], "trainval": ["a", "b", "c"], "test": ["d"]}
PLACES = {name: Path(f"{name}.jpg") for name in "abcd"}
STATES = {path: ImageState(1, 1, "", 60, 80, "x") for path in PLACES.values()}
INSIDE = torch.tensor([[0.0, 0.0, 80.0, 60.0]])


def of_proposals(path: Path, boxes: Mapping[str, torch.Tensor]) -> scan.ProposalScan:
    arrays: dict[str, Any] = pack_proposals(
        {name: Proposals(rows, None) for name, rows in boxes.items()}, {}
    )
    with path.open("wb") as file:
        np.savez(file, **arrays)
    return scan_proposals(path, SPLITS, PLACES, STATES)


def test_proposals_of_every_image_are_no_problem(tmp_path: Path) -> None:
    found = of_proposals(tmp_path / "p.npz", dict.fromkeys("dcba", INSIDE))

    assert found == scan.ProposalScan(["train", "val", "trainval", "test"], [])


@pytest.mark.parametrize(
    ("names", "splits"), [("ab", ["train"]), ("cab", ["train", "val", "trainval"]), ("d", ["test"])]
)
def test_a_split_that_a_file_does_not_touch_is_not_missed(
    names: str, splits: list[str], tmp_path: Path
) -> None:
    found = of_proposals(tmp_path / "p.npz", dict.fromkeys(names, INSIDE))

    assert found == scan.ProposalScan(splits, [])


@pytest.mark.parametrize(
    ("boxes", "says"),
    [
        ({"a": INSIDE, "c": INSIDE}, ["1 images have no proposals in it, such as b"]),
        (
            {},
            ["4 images have no proposals in it, such as a"],
        ),
        (
            {"x": INSIDE, "y": INSIDE},
            [
                "4 images have no proposals in it, such as a",
                "2 images in it are not in the data set, such as x",
            ],
        ),
        (
            {"d": torch.zeros(0, 4)},
            ["1 images have zero proposals in it, such as d"],
        ),
        (
            {"d": torch.cat([INSIDE, INSIDE + 1])},
            ["image d: 50% of the boxes leave 80x60: row 1 is [1.0, 1.0, 81.0, 61.0]"],
        ),
        (
            {"a": INSIDE * float("nan"), "b": torch.tensor([[5.0, 5.0, 5.0, 9.0]])},
            [
                "image a: 100% of the boxes are not finite: row 0 is [nan, nan, nan, nan]",
                "image b: a box has no area (x1 y1 x2 y2, x2 > x1 and y2 > y1): "
                "row 0 is [5.0, 5.0, 5.0, 9.0]",
            ],
        ),
    ],
)
def test_what_is_wrong_with_proposals_is_found_at_once(
    boxes: dict[str, torch.Tensor], says: list[str], tmp_path: Path
) -> None:
    problems = of_proposals(tmp_path / "p.npz", boxes).problems

    assert [problem.what for problem in problems] == says
    assert {problem.where for problem in problems} == {tmp_path / "p.npz"}


def test_boxes_of_an_image_that_does_not_decode_are_checked_without_its_size(
    tmp_path: Path,
) -> None:
    path = tmp_path / "p.npz"
    of_proposals(path, {"d": INSIDE * 100})
    states = STATES | {PLACES["d"]: ImageState(1, 1, "empty", 0, 0, "")}

    assert scan_proposals(path, SPLITS, PLACES, states).problems == []


@pytest.mark.parametrize("content", [None, b"", b"<html>"])
def test_a_file_of_proposals_that_cannot_be_read_is_one_problem(
    content: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "p.npz"
    if content is not None:
        path.write_bytes(content)

    found = scan_proposals(path, SPLITS, PLACES, STATES)
    (problem,) = found.problems
    assert problem.where == path
    assert problem.what.startswith("not a file of" if content is not None else "no such file of")
    assert found.splits == []
