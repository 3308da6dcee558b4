"""Tiles of more bands than a photograph has."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from data.bands import band_count, band_size, read_bands
from data.images import read_image, read_image_size

TILE = np.random.default_rng(0).integers(0, 65536, (6, 5, 4), dtype=np.uint16)  # [H, W, K]
ROOTS = torch.from_numpy(np.round(255 * np.sqrt(TILE / 65535)).astype(np.uint8)).permute(2, 0, 1)


def save(folder: Path, tile: Any = TILE, name: str = "a.tif", **options: Any) -> Path:
    path = folder / name
    tifffile.imwrite(path, tile, **{"photometric": "rgb"} | options)
    return path


@pytest.mark.parametrize(
    ("tile", "options"),
    [
        (TILE, {}),
        (TILE, {"photometric": "minisblack", "planarconfig": "contig"}),  # OpenCV sees gray
        (TILE.transpose(2, 0, 1), {"photometric": "minisblack", "planarconfig": "separate"}),
        (TILE, {"compression": "zlib"}),
        (TILE, {"byteorder": ">"}),
    ],
    ids=["colors", "bands", "one band after the other", "compressed", "big-endian"],
)
def test_every_layout_gives_all_bands_in_their_order(
    tmp_path: Path, tile: Any, options: dict[str, Any]
) -> None:
    path = save(tmp_path, tile, **options)

    assert band_count(path) == 4
    assert band_size(path) == read_image_size(path) == (6, 5)
    assert torch.equal(read_bands(path, max_pixels=30), ROOTS)
    assert torch.equal(read_image(path, channels=4), ROOTS)
    assert torch.equal(read_image(path), ROOTS[:3])


def test_the_whole_range_is_kept_and_dark_values_apart(tmp_path: Path) -> None:
    values = np.array([0, 3000, 4000, 65535], dtype=np.uint16).reshape(1, 4, 1).repeat(4, axis=2)
    red = read_bands(save(tmp_path, values), max_pixels=4)[0, 0].tolist()
    assert red == [0, 55, 63, 255]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_a_tiff_file_of_bytes_is_a_photograph(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (5, 6)).save(tmp_path / "a.tif")
    assert band_count(tmp_path / "a.tif") == 0
    assert read_image(tmp_path / "a.tif").shape == (3, 6, 5)
    with pytest.raises(ValueError, match=r"a\.tif: has 3 channels of 4 that the backbone takes"):
        read_image(tmp_path / "a.tif", channels=4)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = save(tmp_path)
    with pytest.raises(ValueError, match=r"a\.tif: .*5x6 pixels of 4 bands, at most 29 pixels"):
        read_image(path, max_pixels=29)
    with pytest.raises(ValueError, match=r"a\.tif: the image is 5x6, its annotation says 6x5"):
        read_image(path, size=(5, 6))
    with pytest.raises(ValueError, match="has 4 channels of 5"):
        read_image(path, channels=5)
    content = path.read_bytes()
    for length in (0, 7, 100, len(content) - 20):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"a\.tif: the image does not decode"):
            read_image(path)
    with pytest.raises(FileNotFoundError, match=r"b\.tif: no such image"):
        read_image(tmp_path / "b.tif")
