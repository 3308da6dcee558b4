"""Heatmaps as files: the same again, byte for byte; a damaged or foreign file is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from localizer.backbones import Geometry
from localizer.localize import ImageHeatmaps
from tests.worlds import Trap
from tools.files.atomic import pack_arrays
from tools.files.heatmaps import heatmaps_path, read_heatmaps, write_heatmaps

CLASSES = ("cat", "<b>dog\n", "图\udcff")


@pytest.fixture
def heatmaps(rng: torch.Generator) -> ImageHeatmaps:
    """Three classes on 4 x 5 cells."""
    sizes = (64, 80), (375, 500)
    return ImageHeatmaps(torch.randn(3, 4, 5), torch.randn(3), Geometry(16, 7.5), *sizes)


@pytest.fixture
def path(tmp_path: Path, heatmaps: ImageHeatmaps) -> Path:
    """A file of the last two classes."""
    written = tmp_path / "test_a.npz"
    write_heatmaps(written, heatmaps, [2, 1], CLASSES)
    return written


def test_heatmaps_are_read_as_they_were_written(path: Path, heatmaps: ImageHeatmaps) -> None:
    classes, read = read_heatmaps(path)

    assert classes == (CLASSES[2], CLASSES[1])
    assert read.logits.equal(heatmaps.logits[[2, 1]])
    assert read.image_logits.equal(heatmaps.image_logits[[2, 1]])
    assert read.geometry == heatmaps.geometry
    assert (read.network_size, read.image_size) == ((64, 80), (375, 500))


def test_the_same_heatmaps_are_the_same_bytes(path: Path, heatmaps: ImageHeatmaps) -> None:
    write_heatmaps(path.with_name("again"), heatmaps, [2, 1], CLASSES)

    assert path.with_name("again").read_bytes() == path.read_bytes()


def test_a_file_may_hold_no_class(path: Path, heatmaps: ImageHeatmaps) -> None:
    write_heatmaps(path, heatmaps, [], CLASSES)

    classes, read = read_heatmaps(path)
    assert (classes, read.logits.shape) == ((), (0, 4, 5))


def test_every_image_has_a_file_in_the_folder(tmp_path: Path) -> None:
    names = ("a", "../../a", "a/b", "..", "a\nb", "图\udcff", "a%2Fb", ".npz")
    paths = [heatmaps_path(tmp_path, "test", name) for name in names]

    assert {path.parent for path in paths} == {tmp_path}
    assert len(set(paths)) == len(names)
    for path in paths:
        path.write_bytes(b"")


# Refusals


def arrays(**changes: Any) -> dict[str, Any]:
    whole = {
        "classes": np.array(["cat", "dog"]),
        "logits": np.zeros((2, 4, 5), dtype=np.float32),
        "image_logits": np.zeros(2, dtype=np.float32),
        "geometry": np.array([16, 7.5]),
        "network_size": np.array([64, 80]),
        "image_size": np.array([375, 500]),
    }
    return whole | changes


@pytest.mark.parametrize(
    "change",
    [
        {"classes": np.array("cat")},
        {"classes": np.array(["cat"])},
        {"classes": np.array([1, 2])},
        {"logits": np.zeros((2, 4))},
        {"logits": np.zeros((2, 4, 5, 6))},
        {"logits": np.zeros((2, 4, 0))},
        {"logits": np.zeros((2, 4, 5), dtype=np.int64)},
        {"logits": np.full((2, 4, 5), np.nan)},
        {"image_logits": np.zeros(3)},
        {"image_logits": np.array([0, np.inf])},
        {"geometry": np.zeros(3)},
        {"geometry": np.array([0.5, 7.5])},
        {"geometry": np.array([np.inf, 7.5])},
        {"network_size": np.array([64, 0])},
        {"image_size": np.array([-1, 500])},
        {"image_size": np.array([375.0, 500.0])},
    ],
)
def test_arrays_that_are_no_heatmaps_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(pack_arrays(**arrays()))
    read_heatmaps(path)

    path.write_bytes(pack_arrays(**arrays(**change)))
    with pytest.raises(ValueError, match=r"a\.npz: "):
        read_heatmaps(path)


@pytest.mark.parametrize("damage", ["text", "cut", "pickle", "folder"])
def test_a_file_of_another_kind_is_refused_and_nothing_in_it_runs(
    damage: str, path: Path, tmp_path: Path
) -> None:
    whole = path.read_bytes()
    trap = np.array([Trap(tmp_path / "hacked")], dtype=object)
    if damage == "text":
        path.write_bytes(b"heatmaps")
    if damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    if damage == "pickle":
        np.savez(path, allow_pickle=True, **arrays(logits=trap))
    if damage == "folder":
        path.unlink()
        path.mkdir()

    with pytest.raises((ValueError, FileNotFoundError), match=r"test_a\.npz: "):
        read_heatmaps(path)
    assert not (tmp_path / "hacked").exists()


def test_a_missing_file_is_refused_with_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.npz: .*view_heatmaps"):
        read_heatmaps(tmp_path / "none.npz")
