"""Files of proposals, published ones among them, and what is taken from a set."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torch import Tensor

from data.checks import check_proposals
from data.proposals import mat_files as mat_proposals
from data.proposals.files import (
    load_proposals,
    order_boxes,
    pack_proposals,
    select_proposals,
    without_repetition,
)
from data.proposals.mat_files import convert_mat, read_mat
from data.types import Proposals

BOXES = torch.tensor([[0.0, 0.0, 30.0, 40.0], [5.0, 6.0, 10.0, 50.0], [2.0, 3.0, 60.0, 70.0]])
THREE = Proposals(BOXES, torch.tensor([0.9, 0.5, 0.2]))
NONE = Proposals(torch.zeros(0, 4), torch.zeros(0))


def write(path: Path, **changes: Any) -> Path:
    arrays = pack_proposals({"a": THREE, "b": NONE}, {"keys": ["x", "y"]}) | changes
    with path.open("wb") as file:
        np.savez(file, **arrays)
    return path


def same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and one.equal(other)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    found = load_proposals(write(tmp_path / "p.npz"))

    assert list(found) == ["a", "b"]
    assert found["a"].boxes.equal(BOXES)
    assert same(found["a"].scores, THREE.scores)
    assert found["b"].boxes.shape == (0, 4)
    assert found.meta["keys"] == ["x", "y"]


def test_unknown_scores_stay_unknown(tmp_path: Path) -> None:
    arrays = pack_proposals({"a": Proposals(BOXES, None)}, {})

    assert load_proposals(write(tmp_path / "p.npz", **arrays))["a"].scores is None


def test_an_image_without_proposals_in_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match=r"p\.npz: no proposals of image c"):
        load_proposals(write(tmp_path / "p.npz"))["c"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"offsets": np.array([0, 2, 3, 3])}, "do not fit"),
        ({"offsets": np.array([0, 4, 3])}, "do not fit"),
        ({"offsets": np.array([1, 3, 3])}, "do not fit"),
        ({"offsets": np.array([0, 3, 9])}, "do not fit"),
        ({"scores": np.zeros(2, np.float32)}, "do not fit"),
        ({"ids": np.array(["a", "a"])}, "do not fit"),
        ({"ids": np.array("a")}, "do not fit"),
        ({"ids": np.array([1, 2])}, "do not fit"),
        ({"boxes": np.full((3, 4), "x")}, "do not fit"),
        ({"offsets": np.array([0.0, 3.0, 3.0])}, "do not fit"),
        ({"boxes": np.zeros((3, 4), np.float32)}, "image a: a box has no area"),
        (
            {"boxes": np.full((3, 4), np.nan, np.float32)},
            "image a: 100% of the boxes are not finite",
        ),
        ({"scores": np.full(3, np.inf, np.float32)}, "image a: 3 boxes want as many finite"),
        ({"meta": np.array('{"format": 99}')}, "format 99, this version reads 1"),
        ({"meta": np.array("no JSON")}, "not a file of proposals"),
        ({"ids": np.array(["a", None], dtype=object)}, "not a file of proposals"),
    ],
)
def test_arrays_that_are_no_proposals_are_refused(
    changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=says):
        load_proposals(write(tmp_path / "p.npz", **changes))


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04 cut"])
def test_a_foreign_file_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "p.npz").write_bytes(content)

    with pytest.raises(ValueError, match=r"p\.npz: not a file of proposals"):
        load_proposals(tmp_path / "p.npz")


def test_files_with_a_damaged_byte_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    with path.open("wb") as file:
        arrays: dict[str, Any] = pack_proposals({"a": THREE, "b": NONE}, {})
        np.savez_compressed(file, **arrays)
    whole = path.read_bytes()
    says = []

    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            load_proposals(path)
        except ValueError as error:
            says.append(str(error))
    assert len(says) > len(whole) / 6  # not every byte matters
    assert all(text.startswith(f"{path}: ") for text in says)


def test_a_missing_file_names_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make_proposals"):
        load_proposals(tmp_path / "p.npz")


def test_order_is_by_score_then_place_and_equal_boxes_come_once() -> None:
    boxes = np.array([[1, 0, 5, 5], [0, 0, 5, 5], [1, 0, 5, 5], [0, 0, 9, 9]], np.float32)
    scores = np.array([0.1, 0.3, 0.3, 0.9], np.float32)

    ordered, kept = order_boxes(boxes, scores)

    assert ordered.tolist() == [[0, 0, 9, 9], [0, 0, 5, 5], [1, 0, 5, 5]]
    assert kept.tolist() == pytest.approx([0.9, 0.3, 0.3])


def test_selection_takes_the_first_that_are_large_enough() -> None:
    chosen = select_proposals(THREE, min_size=20, top_k=1)

    assert chosen.boxes.tolist() == [[0, 0, 30, 40]]
    assert len(select_proposals(THREE, min_size=20).boxes) == 2
    assert len(select_proposals(NONE).boxes) == 0


@pytest.mark.parametrize(
    ("box", "fraction"),
    [
        ((-1, 0, 5, 5), "33%"),
        ((0, 0, 101, 5), "33%"),
        ((65535, 3, 65536, 9), "33%"),
        ((65534, 3, 20, 9), "33%"),  # 0 - 1 in uint16
    ],
)
def test_boxes_outside_of_the_image_are_refused_with_their_fraction(
    box: tuple[int, ...], fraction: str
) -> None:
    boxes = torch.cat([torch.tensor([box], dtype=torch.float32), BOXES[:2]])

    with pytest.raises(ValueError, match=f"image a: {fraction} of the boxes leave 100x80"):
        check_proposals(Proposals(boxes, None), (80, 100), context="image a")


def test_few_boxes_outside_are_not_said_to_be_none() -> None:
    boxes = torch.tensor([[0.0, 0.0, 5.0, 5.0]]).repeat(999, 1)
    boxes[7, 2] = 101

    with pytest.raises(ValueError, match="less than 1% of the boxes leave 100x80: row 7 is"):
        check_proposals(Proposals(boxes, None), (80, 100))


def test_boxes_that_are_not_finite_are_refused_with_their_fraction() -> None:
    boxes = BOXES.clone()
    boxes[1, 3] = float("nan")

    with pytest.raises(ValueError, match="image a: 33% of the boxes are not finite: row 1 is"):
        check_proposals(Proposals(boxes, None), (80, 100), context="image a")


@pytest.mark.parametrize("image_size", [None, (80, 100)])
def test_no_boxes_are_fine_and_other_shapes_are_not(image_size: tuple[int, int] | None) -> None:
    check_proposals(NONE, image_size)

    with pytest.raises(ValueError, match=r"floating-point \[R, 4\]"):
        check_proposals(Proposals(torch.zeros(2, 5), None), image_size)


def test_without_scores_repeated_boxes_go_and_the_order_stays() -> None:
    boxes = torch.cat([BOXES[2:], BOXES, BOXES[:1]])

    found = without_repetition(Proposals(boxes, None))

    assert found.boxes.tolist() == BOXES[[2, 0, 1]].tolist()
    assert found.scores is None


def test_with_scores_repeated_boxes_go_and_the_highest_score_comes_first() -> None:
    found = without_repetition(Proposals(BOXES[[0, 1, 0]], torch.tensor([0.1, 0.5, 0.9])))

    assert found.boxes.tolist() == BOXES[:2].tolist()
    assert same(found.scores, torch.tensor([0.9, 0.5]))


def test_of_no_boxes_none_are_left() -> None:
    assert without_repetition(NONE).boxes.shape == (0, 4)
    assert without_repetition(Proposals(NONE.boxes, None)).boxes.shape == (0, 4)


def cells(*items: Any) -> Any:
    content = np.empty((len(items), 1), dtype=object)
    content[:, 0] = items
    return content


@pytest.mark.parametrize("kind", [np.uint16, np.float64])
def test_published_boxes_lose_their_base_and_their_order(kind: Any, tmp_path: Path) -> None:
    # y1 x1 y2 x2, one-based and closed; 0 - 1 in uint16 would be 65535
    boxes = cells(np.array([[1, 1, 40, 30], [7, 6, 50, 10]], kind), np.zeros((0, 4), kind))
    images = cells("000012.jpg", "000017")
    savemat(tmp_path / "m.mat", {"images": images, "boxes": boxes})

    found = read_mat(tmp_path / "m.mat")

    assert list(found) == ["000012", "000017"]
    assert found["000012"].boxes.tolist() == [[0, 0, 30, 40], [5, 6, 10, 50]]
    assert found["000012"].scores is None
    assert found["000017"].boxes.shape == (0, 4)


def test_published_scores_come_along(tmp_path: Path) -> None:
    content = {
        "images": cells("a"),
        "boxes": cells(np.array([[1, 1, 40, 30]], np.uint16)),
        "boxScores": cells(np.array([[0.25]])),
    }
    savemat(tmp_path / "m.mat", content)

    scores = read_mat(tmp_path / "m.mat")["a"].scores
    assert scores is not None
    assert scores.tolist() == [0.25]


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
            {"images": cells("x/a.jpg", "y/a"), "boxes": cells(*[np.ones((1, 4))] * 2)},
            "named twice",
        ),
    ],
)
def test_a_mat_file_of_other_things_is_refused(
    content: dict[str, Any], says: str, tmp_path: Path
) -> None:
    savemat(tmp_path / "m.mat", content)

    with pytest.raises(ValueError, match=rf"m\.mat: .*{says}"):
        read_mat(tmp_path / "m.mat")


def test_a_foreign_mat_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "m.mat").write_bytes(b"<html>" * 100)

    with pytest.raises(ValueError, match=r"m\.mat: "):
        read_mat(tmp_path / "m.mat")


# Published boxes of images that are there


@pytest.fixture
def read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the child, which takes seconds to start."""
    monkeypatch.setattr(mat_proposals, "read_mat", mat_proposals._read)


@pytest.fixture
def images(tmp_path: Path) -> dict[str, Path]:
    """One in portrait and one in landscape format."""
    found = {"tall": tmp_path / "tall.png", "x/wide.png": tmp_path / "x" / "wide.png"}
    for path, size in zip(found.values(), ((60, 100), (100, 60)), strict=True):
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", size).save(path)
    return found


def published(path: Path, boxes: dict[str, Any], **others: Any) -> Path:
    content = {"images": cells(*boxes), "boxes": cells(*boxes.values()), **others}
    savemat(path, content)
    return path


TALL = np.array([[1, 1, 100, 60], [11, 21, 30, 40]], np.uint16)  # y1 x1 y2 x2
WIDE = np.array([[1, 1, 60, 100], [11, 71, 20, 80]], np.uint16)


def test_published_boxes_go_to_their_images_by_name(
    images: dict[str, Path], tmp_path: Path
) -> None:
    boxes = {"other.jpg": TALL, "wide.jpg": WIDE, "tall": np.concatenate([TALL, TALL])}
    path = published(tmp_path / "m.mat", boxes)

    found = convert_mat(path, images)

    assert list(found) == ["tall", "x/wide.png"]
    assert found["tall"].boxes.tolist() == [[0, 0, 60, 100], [20, 10, 40, 30]]
    assert found["x/wide.png"].boxes.tolist() == [[0, 0, 100, 60], [70, 10, 80, 20]]
    assert found["tall"].scores is None


@pytest.mark.usefixtures("read_here")
def test_published_boxes_with_scores_get_this_project_s_order(
    images: dict[str, Path], tmp_path: Path
) -> None:
    scores = cells(np.array([[0.1], [0.2]]), np.array([[0.4], [0.3]]))
    path = published(tmp_path / "m.mat", {"tall": TALL, "wide": WIDE}, boxScores=scores)

    found = convert_mat(path, images)

    assert found["tall"].boxes.tolist() == [[20, 10, 40, 30], [0, 0, 60, 100]]
    assert same(found["tall"].scores, torch.tensor([0.2, 0.1]))
    assert found["x/wide.png"].boxes[0].tolist() == [0, 0, 100, 60]


@pytest.mark.usefixtures("read_here")
def test_an_image_for_which_nothing_was_found_has_no_proposals(
    images: dict[str, Path], tmp_path: Path
) -> None:
    path = published(tmp_path / "m.mat", {"tall": np.zeros((0, 4)), "wide": WIDE})

    assert convert_mat(path, images)["tall"].boxes.shape == (0, 4)


def x_first(boxes: Any) -> Any:
    return boxes[:, [1, 0, 3, 2]]


@pytest.mark.usefixtures("read_here")
@pytest.mark.parametrize(
    ("boxes", "says"),
    [
        # x first: the tall image's boxes lie outside where they are high, the wide one's too
        ({"tall": x_first(TALL), "wide": x_first(WIDE)}, "tall: 50% of the boxes leave 60x100"),
        ({"tall": TALL, "wide": x_first(WIDE)}, "x/wide.png: 100% of the boxes leave 100x60"),
        ({"tall": TALL.astype(float) - 1, "wide": WIDE}, "tall: 50% of the boxes leave 60x100"),
        ({"tall": TALL - np.array([2, 2, 0, 0], np.uint16), "wide": WIDE}, "tall: 50% of the"),
        ({"tall": np.full((2, 4), np.nan), "wide": WIDE}, "tall: 100% of the boxes are not finite"),
        ({"tall": np.array([[50, 1, 20, 9]]), "wide": WIDE}, "tall: a box has no area"),
    ],
)
def test_other_columns_another_base_and_wrapped_numbers_are_refused(
    boxes: dict[str, Any], says: str, images: dict[str, Path], tmp_path: Path
) -> None:
    path = published(tmp_path / "m.mat", boxes)

    with pytest.raises(ValueError, match=rf"m\.mat: image {says}.* \(columns y1 x1 y2 x2, counted"):
        convert_mat(path, images)


@pytest.mark.usefixtures("read_here")
def test_images_without_published_proposals_are_named_and_counted(tmp_path: Path) -> None:
    path = published(tmp_path / "m.mat", {"a": TALL})
    images = {name: tmp_path / f"{name}.jpg" for name in "abcdefgh"}

    with pytest.raises(ValueError, match=r"of 7 of 8 images: b, c, d, e, f and 2 more$"):
        convert_mat(path, images)


@pytest.mark.usefixtures("read_here")
def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    path = published(tmp_path / "m.mat", {"a": TALL})

    with pytest.raises(ValueError, match=r"two images would get the proposals of a$"):
        convert_mat(path, {"x/a.jpg": tmp_path / "x/a.jpg", "a.png": tmp_path / "a.png"})


def test_a_missing_mat_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"m\.mat: no such file of proposals"):
        convert_mat(tmp_path / "m.mat", {})
