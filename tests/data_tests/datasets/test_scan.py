"""Every kind of bad image, list and proposals in one scan, which reads nothing twice."""

import io
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from data.datasets.scan import (
    NO_FILE,
    ImageState,
    image_problems,
    same_images,
    scan_images,
    scan_proposals,
)
from data.datasets.source import Problem
from data.datasets.voc import VOCSource
from data.proposals.files import pack_proposals
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import Proposals
from tests.conftest import snapshot
from tests.worlds import noise_image, png

Make = Callable[[Path], object]


def encoded(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image or noise_image(48, 64)).save(buffer, kind, **options)
    return buffer.getvalue()


def content(bytes_: bytes) -> Make:
    return lambda path: path.write_bytes(bytes_)


def cut(kind: str, fraction: float) -> Make:
    whole = encoded(kind)
    return content(whole[: int(len(whole) * fraction)])


def damaged(kind: str, **options: Any) -> Make:
    """Half of its bytes lost to zeros, as on a bad disk; the head is whole."""
    whole = bytearray(encoded(kind, **options))
    whole[len(whole) // 4 : 3 * len(whole) // 4] = bytes(3 * len(whole) // 4 - len(whole) // 4)
    return content(bytes(whole))


BAD: dict[str, Make] = {
    "missing": lambda path: None,
    "link to nothing": lambda path: path.symlink_to("gone.jpg"),
    "link to itself": lambda path: path.symlink_to(path),
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "empty": content(b""),
    "one byte": content(b"\xff"),
    "page of an error": content(b"<!DOCTYPE html><html><body>404 Not Found</body></html>"),
    "pointer": content(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
    "pdf": content(encoded("PDF")),
    "icon": content(encoded("ICO")),  # an image, of a format that is not read
    "jpeg begun": content(b"\xff\xd8\xff\xe0"),
    "jpeg without its first byte": content(encoded("JPEG")[1:]),
    "jpeg cut": cut("JPEG", 0.6),
    "progressive jpeg cut": content(encoded("JPEG", progressive=True)[:1500]),
    "png cut": cut("PNG", 0.6),
    "gif cut": cut("GIF", 0.6),
    "tiff cut": cut("TIFF", 0.6),
    "webp cut": cut("WEBP", 0.6),
    "bmp cut": cut("BMP", 0.6),
    "ppm cut": cut("PPM", 0.6),
    "png damaged": damaged("PNG"),
    "gif damaged": damaged("GIF"),
    "jpeg damaged": damaged("JPEG"),
    "webp damaged": content(encoded("WEBP").replace(b"VP8", b"VP9")),
    "tiff damaged": damaged("TIFF", compression="tiff_lzw"),
    "png without pixels": content(png(0, 0)),
    "png of too few pixels": content(png(64, 48, b"\0" * 100)),
    "png with a wrong sum": content(encoded("PNG").replace(b"IHDR", b"IHDS")),
    "bomb": content(png(30_000, 30_000)),
    "bmp bomb": content(
        b"BM" + struct.pack("<IIIIIIHHIIIIII", 54, 0, 54, 40, 50_000, 50_000, 1, 24, *[0] * 6)
    ),
    "below zero": content(encoded("TIFF", Image.fromarray(np.array([[-5, 3]], dtype=np.int32)))),
}

FINE: dict[str, Make] = {
    "jpeg": content(encoded("JPEG")),
    "turned by exif": content(encoded("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0")),
    "misnamed": content(encoded("PNG")),
    "16 bit colors": content(png(64, 48, (b"\0" + b"\2\0" * 3 * 64) * 48, depth=16)),
    "words after the end": content(encoded("JPEG") + b"and more"),
    "film of two images": content(
        encoded("GIF", save_all=True, append_images=[noise_image(48, 64).rotate(180)])
    ),
    "blanks & characters 图": content(encoded("WEBP")),
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
    assert [paths[path] for path, state in states.items() if not state.problem] == []
    assert len(states) == len(BAD)
    for path, state in states.items():
        assert (state.height, state.width, state.digest) == (0, 0, "")
        assert not state.problem.startswith(str(path))
        assert "\n" not in state.problem
    problems = {paths[path]: state.problem for path, state in states.items()}
    for kind in ("missing", "link to nothing"):
        assert problems[kind] == "no such image"
    for kind in ("folder", "pipe", "device"):
        assert problems[kind] == "not a regular file"
    for kind in ("empty", "jpeg cut", "below zero"):
        assert problems[kind].startswith("the image does not decode (")
    assert problems["bomb"].startswith("30000x30000 pixels, at most 250000000 are accepted (")


def test_odd_images_are_no_problem(tmp_path: Path) -> None:
    paths = write(tmp_path, FINE)
    states = scanned(list(paths))
    assert {paths[path]: state.problem for path, state in states.items() if state.problem} == {}
    assert {(state.height, state.width) for state in states.values()} == {(48, 64)}


def test_a_good_image_is_described_by_size_time_and_content(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded("PNG", noise_image(10, 20)))
    status = path.stat()
    ((seen, state),) = scan_images([path], {}, processes=0)
    assert seen == path
    assert state[:5] == (status.st_size, status.st_mtime_ns, "", 10, 20)
    assert len(state.digest) == 64


# --- order and processes -------------------------------------------------------------------------


@pytest.fixture
def mixed(tmp_path: Path) -> list[Path]:
    """Good and bad images in no order."""
    paths = sorted(write(tmp_path, BAD | FINE), key=lambda path: path.name[::-1])
    assert paths != sorted(paths)
    return paths


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker")  # on a single core
def test_any_number_of_processes_gives_the_same_in_the_same_order(
    mixed: list[Path], rng: torch.Generator
) -> None:
    before = rng.get_state()
    serial, one, two = (
        list(scan_images(mixed, {}, processes=count, serial_below=0)) for count in (0, 1, 2)
    )
    assert serial == one == two
    assert [path for path, _ in serial] == mixed
    assert {type(state) for _, state in serial + one + two} == {ImageState}
    assert torch.equal(rng.get_state(), before)  # models start from this generator


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker")
@pytest.mark.parametrize(
    ("processes", "cores", "serial_below", "is_alone"),
    [
        (2, {0, 1}, 64, True),  # few images
        (1, {0, 1}, 0, True),
        (None, {3}, 0, True),
        (None, {0, 4}, 0, False),  # one process per core
    ],
)
def test_other_processes_read_only_many_images_on_several_cores(
    processes: int | None,
    cores: set[int],
    serial_below: int,
    is_alone: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paths, read = list(write(tmp_path, FINE)), []

    def read_bytes(path: Path) -> bytes:
        read.append(path)
        return b""

    monkeypatch.setattr(Path, "read_bytes", read_bytes)  # for the digest
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores, raising=False)
    list(scan_images(paths, {}, processes=processes, serial_below=serial_below))
    assert read == (paths if is_alone else [])


# --- what is known -------------------------------------------------------------------------------


def overwrite(path: Path, *, more_bytes: int = 0, later: int = 0) -> None:
    """With zeros of the same size and time, unless told otherwise."""
    status = path.stat()
    path.write_bytes(bytes(status.st_size + more_bytes))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + later))


def test_files_of_the_same_size_and_time_are_not_read_again(
    mixed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    regular = [path for path in mixed if path.is_file() and not path.is_symlink()]
    states = scanned(regular)
    for path in regular:
        overwrite(path)
    assert scanned(regular, by_path(states)) == states
    assert scanned(regular) != states
    monkeypatch.chdir(mixed[0].parent)  # an image is known by its absolute path
    name = Path("jpeg.jpg")
    assert not scanned([name], by_path(states))[name].problem


@pytest.mark.parametrize("change", [{"more_bytes": 1}, {"later": 1}])
def test_a_file_of_another_size_or_time_is_read_again(
    tmp_path: Path, change: dict[str, int]
) -> None:
    (path,) = write(tmp_path, {"a": FINE["jpeg"]})
    states = scanned([path])
    overwrite(path, **change)
    damaged_states = scanned([path], by_path(states))
    assert damaged_states[path].problem
    FINE["jpeg"](path)
    assert not scanned([path], by_path(damaged_states))[path].problem


def test_a_missing_image_is_looked_for_again(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    states = scanned([path])
    assert states[path][:2] == NO_FILE
    lie = states[path]._replace(problem="")
    assert scanned([path], {str(path): lie})[path].problem == "no such image"


# --- sizes and equal files -----------------------------------------------------------------------


def described(
    height: int = 48, width: int = 64, digest: str = "d", problem: str = ""
) -> ImageState:
    return ImageState(9, 9, problem, height, width, 1, 1.0, digest)


def test_an_image_of_another_size_than_annotated_or_a_bad_one_is_one_problem() -> None:
    sizes = {Path("a.jpg"): (64, 48), Path("b.jpg"): (64, 48), Path("c.jpg"): (48, 64)}
    states = {path: described() for path in (*sizes, Path("d.jpg"))}
    states[Path("b.jpg")] = described(0, 0, "", "bad")
    turned, bad = image_problems(states, sizes)
    assert (turned.where, bad.where) == (Path("a.jpg"), Path("b.jpg"))
    assert turned.what == "the image is 64x48, its annotation says 48x64"
    assert bad.what == "bad"
    assert "--on-bad skip" in bad.cure


def test_a_test_image_equal_to_one_learned_from_is_a_problem() -> None:
    learned, tested = [Path("a"), Path("b"), Path("x")], [Path("c"), Path("d"), Path("y")]
    digests = {Path("a"): "1", Path("b"): "2", Path("c"): "3", Path("d"): "2"}
    states = {path: described(digest=digest) for path, digest in digests.items()}
    states |= {Path(name): described(0, 0, "", "bad") for name in "xy"}  # not equal
    (problem,) = same_images(states, learned, tested)
    assert problem.where == Path("d")
    assert problem.what.startswith("the same file as b,")
    assert same_images(states, [Path("a")], [Path("a")]) == []  # left to the comparison of lists


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


def test_a_clean_data_set_has_lists_and_annotations_and_no_problems(tiny_voc: Path) -> None:
    scan = VOCSource(tiny_voc, SYNTHETIC_CLASSES).scan()
    assert scan.problems == []
    assert {split: len(names) for split, names in scan.splits.items()} == {
        "train": 12,
        "val": 6,
        "trainval": 18,
        "test": 6,
    }
    assert len(scan.sizes) == len(scan.objects) == 24


def test_a_folder_without_any_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Main: none of the lists train, val, trainval, "):
        VOCSource(voc(tmp_path, {}), ["cat"]).scan()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "the list is empty"),
        ("b\nc\nb", "listed twice: b"),
        ("b\n../../secret", "'../../secret' is not the name of an image"),
        (b"b\n\xff\xfe", "not a text file in UTF-8"),
    ],
)
def test_a_bad_list_is_one_problem_and_the_others_are_read(
    tmp_path: Path, text: str | bytes, what: str
) -> None:
    scan = VOCSource(voc(tmp_path, {"train": "a", "val": text}), ["cat"]).scan()
    (problem,) = scan.problems
    assert problem.where.name == "val.txt"
    assert problem.what.startswith(what)
    assert problem.cure == "correct the list"
    assert scan.splits == {"train": ["a"]}


def test_every_bad_annotation_is_named_once(tmp_path: Path) -> None:
    bad = {
        "empty": "",
        "typed": "<!DOCTYPE a>" + annotation(),
        "yeti": annotation("yeti"),
        "outside": annotation(xmax="65"),
    }
    names = "\n".join(["good", *bad, "missing"])
    root = voc(tmp_path, {"train": names, "trainval": names}, bad)
    (root / "VOC2007" / "Annotations" / "missing.xml").unlink()
    scan = VOCSource(root, ["cat"]).scan()
    assert files(scan.problems) == sorted(f"{name}.xml" for name in [*bad, "missing"])
    assert list(scan.objects) == ["good"]
    for problem in scan.problems:
        assert not problem.what.startswith("/")
        assert problem.cure == "correct the file, take the name off the lists, or --on-bad skip"


def test_an_annotation_that_may_not_be_read_is_one_problem_among_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    root = voc(tmp_path, {"train": "a\nb"})
    monkeypatch.setattr(Path, "read_bytes", refuse)
    scan = VOCSource(root, ["cat"]).scan()
    assert files(scan.problems) == ["a.xml", "b.xml"]


@pytest.mark.parametrize(
    ("one", "other"), [("train", "val"), ("train", "test"), ("val", "test"), ("trainval", "test")]
)
def test_a_name_on_two_lists_is_a_problem_of_the_second(
    tmp_path: Path, one: str, other: str
) -> None:
    scan = VOCSource(voc(tmp_path, {one: "a\nc\nb", other: "c\nd\nb"}), ["cat"]).scan()
    (problem,) = scan.problems
    assert problem.where.name == f"{other}.txt"
    assert problem.what == f"2 images are in {one} too, such as b"


@pytest.mark.parametrize("part", ["train", "val"])
def test_the_parts_of_trainval_may_be_in_it_and_other_lists_absent(
    tmp_path: Path, part: str
) -> None:
    scan = VOCSource(voc(tmp_path, {part: "a", "trainval": "a\nb"}), ["cat"]).scan()
    assert scan.splits == {part: ["a"], "trainval": ["a", "b"]}
    assert scan.problems == []


def test_a_scan_leaves_the_folder_as_it_is(tiny_voc: Path) -> None:
    before = snapshot(tiny_voc)
    VOCSource(tiny_voc, SYNTHETIC_CLASSES).scan()
    scanned(sorted((tiny_voc / "VOC2007" / "JPEGImages").iterdir()))
    assert snapshot(tiny_voc) == before


# Proposals

SPLITS = {"train": ["a", "b"], "val": ["c"], "trainval": ["a", "b", "c"], "test": ["d"]}
PLACES = {name: Path(f"{name}.jpg") for name in "abcd"}
STATES = {path: ImageState(1, 1, "", 60, 80, 1, 1.0, "x") for path in PLACES.values()}
INSIDE = torch.tensor([[0.0, 0.0, 80.0, 60.0]])


def of_proposals(path: Path, boxes: Mapping[str, torch.Tensor]) -> tuple[list[str], list[Problem]]:
    arrays: dict[str, Any] = pack_proposals(
        {name: Proposals(rows, None) for name, rows in boxes.items()}, {}
    )
    with path.open("wb") as file:
        np.savez(file, **arrays)
    return scan_proposals(path, SPLITS, PLACES, STATES)


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        ("dcba", ["train", "val", "trainval", "test"]),
        ("ab", ["train"]),
        ("cab", ["train", "val", "trainval"]),
        ("d", ["test"]),
    ],
)
def test_a_split_without_any_image_in_the_file_is_no_problem(
    names: str, splits: list[str], tmp_path: Path
) -> None:
    assert of_proposals(tmp_path / "p.npz", dict.fromkeys(names, INSIDE)) == (splits, [])


@pytest.mark.parametrize(
    ("boxes", "says"),
    [
        ({"a": INSIDE, "c": INSIDE}, ["1 images have no proposals in it, such as b"]),
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
            ["image d: 50% of the boxes leave 80x60"],
        ),
        (
            {"a": INSIDE * float("nan"), "b": torch.tensor([[5.0, 5.0, 5.0, 9.0]])},
            [
                "image a: 100% of the boxes are not finite",
                "image b: 100% of the boxes have no area",
            ],
        ),
    ],
)
def test_all_problems_of_proposals_are_found_at_once(
    boxes: dict[str, torch.Tensor], says: list[str], tmp_path: Path
) -> None:
    _, problems = of_proposals(tmp_path / "p.npz", boxes)

    for problem, text in zip(problems, says, strict=True):
        assert problem.what.startswith(text)
    assert {problem.where for problem in problems} == {tmp_path / "p.npz"}


def test_boxes_of_an_image_that_does_not_decode_are_checked_without_its_size(
    tmp_path: Path,
) -> None:
    path = tmp_path / "p.npz"
    of_proposals(path, {"d": INSIDE * 100})
    states = STATES | {PLACES["d"]: ImageState(1, 1, "empty", 0, 0, 1, 1.0, "")}

    assert scan_proposals(path, SPLITS, PLACES, states) == (["test"], [])


@pytest.mark.parametrize("content", [None, b"", b"<html>"])
def test_a_file_of_proposals_that_cannot_be_read_is_one_problem(
    content: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "p.npz"
    if content is not None:
        path.write_bytes(content)

    splits, (problem,) = scan_proposals(path, SPLITS, PLACES, STATES)
    assert problem.where == path
    assert problem.what.startswith("not a file of" if content is not None else "no such file of")
    assert splits == []
