"""Files of proposals, and selection from a set."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.proposals.files import (
    load_proposals,
    order_boxes,
    pack_proposals,
    select_proposals,
    without_repetition,
)
from data.types import Proposals

BOXES = torch.tensor([[0.0, 0.0, 30.0, 40.0], [5.0, 6.0, 10.0, 50.0], [2.0, 3.0, 60.0, 70.0]])
THREE = Proposals(BOXES, torch.tensor([0.9, 0.5, 0.2]))
NONE = Proposals(torch.zeros(0, 4), torch.zeros(0))


def write(path: Path, **changes: Any) -> Path:
    arrays = pack_proposals({"a": THREE, "b": NONE}, {"keys": ["x", "y"]}) | changes
    with path.open("wb") as file:
        np.savez(file, **arrays)
    return path


def test_a_written_file_is_read(tmp_path: Path) -> None:
    proposals = load_proposals(write(tmp_path / "p.npz"))

    assert list(proposals) == ["a", "b"]
    assert proposals["a"].boxes.equal(BOXES)
    torch.testing.assert_close(proposals["a"].scores, THREE.scores, rtol=0, atol=0)
    assert proposals["b"].boxes.shape == (0, 4)
    assert proposals.meta["keys"] == ["x", "y"]


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
        ({"offsets": np.array([0, 3, 9])}, "do not fit"),
        ({"scores": np.zeros(2, np.float32)}, "do not fit"),
        ({"ids": np.array(["a", "a"])}, "do not fit"),
        ({"boxes": np.full((3, 4), "x")}, "do not fit"),
        ({"offsets": np.array([0.0, 3.0, 3.0])}, "do not fit"),
        ({"boxes": np.zeros((3, 4), np.float32)}, "image a: .* of the boxes have no area"),
        (
            {"boxes": np.full((3, 4), np.nan, np.float32)},
            "image a: 100% of the boxes are not finite",
        ),
        ({"scores": np.full(3, np.inf, np.float32)}, "image a: 3 boxes need as many finite"),
        ({"meta": np.array('{"format": 99}')}, "format 99, this version reads 1"),
        ({"meta": np.array("no JSON")}, "not a file of proposals"),
        ({"ids": np.array(["a", None], dtype=object)}, "not a file of proposals"),
    ],
)
def test_invalid_arrays_are_refused(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
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


def test_repeated_boxes_are_removed_and_without_scores_the_order_is_kept() -> None:
    proposals = without_repetition(Proposals(torch.cat([BOXES[2:], BOXES, BOXES[:1]]), None))
    scored = without_repetition(Proposals(BOXES[[0, 1, 0]], torch.tensor([0.1, 0.5, 0.9])))

    assert proposals.boxes.tolist() == BOXES[[2, 0, 1]].tolist()
    assert proposals.scores is None
    assert scored.boxes.tolist() == BOXES[:2].tolist()
    torch.testing.assert_close(scored.scores, torch.tensor([0.9, 0.5]))
    assert without_repetition(NONE).boxes.shape == (0, 4)
    assert without_repetition(Proposals(NONE.boxes, None)).boxes.shape == (0, 4)
