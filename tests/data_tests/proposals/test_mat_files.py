"""``.mat`` files of proposals: their convention, their names, what is refused."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from data.proposals.mat_files import (
    _convert,
    convert_mat,
    parse_mat,
    read_mat,
    select_images,
)


def cells(*items: Any) -> Any:
    content = np.empty((len(items), 1), dtype=object)
    content[:, 0] = items
    return content


@pytest.mark.parametrize("kind", [np.uint16, np.float64])
def test_boxes_become_zero_based_with_x_first(kind: Any, tmp_path: Path) -> None:
    # y1 x1 y2 x2, one-based and closed; 0 - 1 in uint16 would be 65535
    boxes = cells(np.array([[1, 1, 40, 30], [7, 6, 50, 10]], kind), np.zeros((0, 4), kind))
    images = cells("000012.jpg", "000017")
    savemat(tmp_path / "m.mat", {"images": images, "boxes": boxes})

    proposals = parse_mat(tmp_path / "m.mat")

    assert list(proposals) == ["000012", "000017"]
    assert proposals["000012"].boxes.tolist() == [[0, 0, 30, 40], [5, 6, 10, 50]]
    assert proposals["000012"].scores is None
    assert proposals["000017"].boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"boxes": cells(np.ones((1, 4)))}, "images and boxes are wanted"),
        ({"images": cells("a", "b"), "boxes": cells(np.ones((1, 4)))}, "2 names, 1 boxes"),
        (
            {
                "images": cells("a"),
                "boxes": cells(np.array([[1, 1, 9, 9]])),
                "boxScores": cells(np.ones(2)),
            },
            "1 boxes but 2 scores",
        ),
        (
            {
                "images": cells("a"),
                "boxes": cells(np.array([[1, 1, 9, 9]])),
                "scores": cells(np.array([[np.nan]])),
            },
            "a: a score is not finite",
        ),
        (
            {"images": cells("a"), "boxes": cells(np.ones((8, 5)))},
            r"a: boxes are \[R, 4\], got \[8, 5\]",
        ),
        (
            {"images": cells("a"), "boxes": cells(np.full((1, 4), 1 + 1j))},
            "a: boxes and scores are real numbers, got complex128",
        ),
        (
            {
                "images": cells("a"),
                "boxes": cells(np.array([[1, 1, 9, 9]])),
                "scores": cells(np.array([[2j]])),
            },
            "a: boxes and scores are real numbers, got complex128",
        ),
        (
            {"images": cells("a"), "boxes": cells(np.array([["1", "1", "9", "9"]]))},
            "a: boxes",
        ),
        (
            {"images": cells("x/a.jpg", "y/a"), "boxes": cells(*[np.ones((1, 4))] * 2)},
            "named twice",
        ),
    ],
)
def test_a_mat_file_of_other_things_is_refused(
    content: dict[str, Any], says: str, tmp_path: Path
) -> None:
    savemat(tmp_path / "m.mat", content)

    with pytest.raises(ValueError, match=says):
        parse_mat(tmp_path / "m.mat")


def test_a_system_that_limits_no_memory_reads_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "resource.py").write_text("raise ImportError('not on Windows')")
    monkeypatch.syspath_prepend(tmp_path)  # that of the reader's process, too
    box = cells(np.array([[1, 1, 40, 30]]))
    savemat(tmp_path / "m.mat", {"images": cells("a"), "boxes": box})

    assert read_mat(tmp_path / "m.mat")["a"].boxes.tolist() == [[0, 0, 30, 40]]


def test_a_file_that_is_not_one_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"m\.mat: no such file"):
        convert_mat(tmp_path / "m.mat", {})
    (tmp_path / "m.mat").write_bytes(b"<html>" * 100)
    with pytest.raises(ValueError, match=r"m\.mat: "):
        read_mat(tmp_path / "m.mat")


def run_reader(path: Path) -> str:
    """What the reader tells of a file, in this process: of damaged ones it could crash."""
    out = path.with_suffix(".npz")
    _convert(path, out)
    assert not out.exists()
    return out.with_suffix(".txt").read_text()


@pytest.mark.parametrize("content", [b"", bytes(4096), b"MATLAB 5.0", b"\0\1IM"])
def test_what_is_no_mat_file_ends_the_reader_with_a_reason(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.mat").write_bytes(content)
    assert run_reader(tmp_path / "m.mat")


@pytest.fixture
def images(tmp_path: Path) -> dict[str, Path]:
    """One in portrait and one in landscape format."""
    paths = {"tall": tmp_path / "tall.png", "x/wide.png": tmp_path / "x" / "wide.png"}
    for path, size in zip(paths.values(), ((60, 100), (100, 60)), strict=True):
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", size).save(path)
    return paths


TALL = np.array([[1, 1, 100, 60], [11, 21, 30, 40]], np.uint16)  # y1 x1 y2 x2
WIDE = np.array([[1, 1, 60, 100], [11, 71, 20, 80]], np.uint16)


def save(path: Path, boxes: dict[str, Any], **others: Any) -> Path:
    savemat(path, {"images": cells(*boxes), "boxes": cells(*boxes.values()), **others})
    return path


def test_boxes_belong_to_images_by_name(images: dict[str, Path], tmp_path: Path) -> None:
    boxes = {"other.jpg": TALL, "wide.jpg": WIDE, "tall": np.concatenate([TALL, TALL])}
    path = save(tmp_path / "m.mat", boxes)

    proposals = convert_mat(path, images)

    assert list(proposals) == ["tall", "x/wide.png"]
    assert proposals["tall"].boxes.tolist() == [[0, 0, 60, 100], [20, 10, 40, 30]]
    assert proposals["x/wide.png"].boxes.tolist() == [[0, 0, 100, 60], [70, 10, 80, 20]]
    assert proposals["tall"].scores is None


@pytest.mark.parametrize("name", ["boxScores", "scores"])
def test_boxes_with_scores_are_ordered_and_an_image_may_have_none(
    name: str, images: dict[str, Path], tmp_path: Path
) -> None:
    scores = cells(np.array([[0.25], [0.5]]), np.zeros((0, 1)))
    boxes = {"tall": TALL, "wide": np.zeros((0, 4))}
    path = save(tmp_path / "m.mat", boxes, **{name: scores})

    proposals = select_images(parse_mat(path), images, path)

    assert proposals["tall"].boxes.tolist() == [[20, 10, 40, 30], [0, 0, 60, 100]]
    torch.testing.assert_close(proposals["tall"].scores, torch.tensor([0.5, 0.25]))
    assert proposals["x/wide.png"].boxes.shape == (0, 4)


def x_first(boxes: Any) -> Any:
    return boxes[:, [1, 0, 3, 2]]


@pytest.mark.parametrize(
    ("boxes", "says"),
    [
        # x first
        ({"tall": x_first(TALL), "wide": x_first(WIDE)}, "tall: 50% of the boxes leave 60x100"),
        ({"tall": TALL, "wide": x_first(WIDE)}, "x/wide.png: 100% of the boxes leave 100x60"),
        ({"tall": TALL.astype(float) - 1, "wide": WIDE}, "tall: 50% of the boxes leave 60x100"),
        ({"tall": TALL - np.array([2, 2, 0, 0], np.uint16), "wide": WIDE}, "tall: 50% of the"),
        ({"tall": np.full((2, 4), np.nan), "wide": WIDE}, "tall: 100% of the boxes are not finite"),
        ({"tall": np.array([[50, 1, 20, 9]]), "wide": WIDE}, "tall: .* of the boxes have no area"),
    ],
)
def test_other_columns_another_base_and_wrapped_numbers_are_refused(
    boxes: dict[str, Any], says: str, images: dict[str, Path], tmp_path: Path
) -> None:
    path = save(tmp_path / "m.mat", boxes)

    with pytest.raises(ValueError, match=rf"m\.mat: image {says}.* \(columns y1 x1 y2 x2"):
        select_images(parse_mat(path), images, path)


def test_images_without_proposals_and_two_of_one_name_are_refused(tmp_path: Path) -> None:
    proposals = parse_mat(save(tmp_path / "m.mat", {"a": TALL}))

    images = {name: tmp_path / f"{name}.jpg" for name in "abcdefgh"}
    with pytest.raises(ValueError, match=r"of 7 of 8 images: b, c, d, e, f and 2 more$"):
        select_images(proposals, images, tmp_path)
    images = {"x/a.jpg": tmp_path / "x/a.jpg", "a.png": tmp_path / "a.png"}
    with pytest.raises(ValueError, match=r"two images would get the proposals of a$"):
        select_images(proposals, images, tmp_path)


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (pickle.dumps({"boxes": 1}), "a pickle, which can run code"),
        (pickle.dumps({"boxes": 1}, protocol=0), "a pickle, which can run code"),
        (b"MATLAB 7.3 MAT-file, Platform: GLNXA64", "version 7.3 .* '-v7'"),
        (b"\x89HDF\r\n\x1a\n", "version 7.3 .* '-v7'"),
    ],
)
def test_other_formats_of_published_proposals_are_named_and_never_loaded(
    tmp_path: Path, head: bytes, told: str
) -> None:
    path = tmp_path / "voc_2007_trainval.pkl"
    path.write_bytes(head)
    with pytest.raises(ValueError, match=rf"trainval\.pkl: .*{told}"):
        read_mat(path)
