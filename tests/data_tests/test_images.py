"""Every kind of image file, whole and broken, through the one door they come in by."""

import io
import os
import random
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from data import images
from data.images import read_image, read_image_size


def save(folder: Path, image: Image.Image, name: str = "a.png", **options: Any) -> Path:
    path = folder / name
    image.save(path, **options)
    return path


def noise(height: int = 24, width: int = 32) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def colors(image: Tensor) -> list[list[int]]:
    """Pixels in reading order, [red, green, blue] each."""
    listed: list[list[int]] = image.flatten(1).T.tolist()
    return listed


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is and holds no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = b"\0\0\0\0IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    checked = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + checked + end


# --- kinds of images ---------------------------------------------------------------------------


def test_color_pixels_come_out_as_stored(tmp_path: Path) -> None:
    stored = Image.new("RGB", (2, 1), (10, 20, 30))
    stored.putpixel((1, 0), (40, 50, 60))
    image = read_image(save(tmp_path, stored))
    assert image.dtype == torch.uint8
    assert image.shape == (3, 1, 2)
    assert colors(image) == [[10, 20, 30], [40, 50, 60]]


def test_a_decoded_image_may_be_written_to(tmp_path: Path) -> None:
    image = read_image(save(tmp_path, Image.new("RGB", (1, 1))))
    image += 7
    assert colors(image) == [[7, 7, 7]]


def test_gray_is_repeated_three_times(tmp_path: Path) -> None:
    assert colors(read_image(save(tmp_path, Image.new("L", (1, 1), 77)))) == [[77, 77, 77]]


def test_one_bit_becomes_black_and_white(tmp_path: Path) -> None:
    assert colors(read_image(save(tmp_path, Image.new("1", (1, 1), 1)))) == [[255, 255, 255]]


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    image = read_image(save(tmp_path, red, "a.jpg", quality=95))
    wanted = torch.tensor([255, 0, 0]).view(3, 1, 1)
    assert (image.int() - wanted).abs().max() <= 3  # JPEG rounds


def test_palette_becomes_its_colors(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    assert colors(read_image(save(tmp_path, image))) == [[10, 20, 30], [40, 50, 60]]


def test_a_transparent_palette_entry_lies_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    path = save(tmp_path, image, transparency=0)
    assert colors(read_image(path)) == [[255, 255, 255], [40, 50, 60]]


@pytest.mark.parametrize(("alpha", "gray"), [(0, 255), (255, 0), (51, 204)])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_on_white(tmp_path: Path, mode: str, alpha: int, gray: int) -> None:
    black = (0, alpha) if mode == "LA" else (0, 0, 0, alpha)
    assert colors(read_image(save(tmp_path, Image.new(mode, (1, 1), black)))) == [[gray] * 3]


def test_sixteen_bit_gray_is_scaled_and_not_clipped_to_white(tmp_path: Path) -> None:
    gray = np.array([[0, 200, 100 * 257, 65535]], dtype=np.uint16)
    image = read_image(save(tmp_path, Image.fromarray(gray)))
    assert colors(image) == [[0] * 3, [1] * 3, [100] * 3, [255] * 3]


@pytest.mark.parametrize(
    "gray", [np.array([[0.5]], dtype=np.float32), np.array([[70000]], dtype=np.int32)]
)
def test_gray_that_is_neither_8_nor_16_bit_is_refused(tmp_path: Path, gray: Any) -> None:
    path = save(tmp_path, Image.fromarray(gray), "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif: .*that are not 16-bit"):
        read_image(path)


def test_a_progressive_jpeg_equals_the_plain_one(tmp_path: Path) -> None:
    plain = read_image(save(tmp_path, noise(), "plain.jpg"))
    progressive = read_image(save(tmp_path, noise(), "progressive.jpg", progressive=True))
    assert torch.equal(plain, progressive)  # the same coefficients in another order


def test_a_misnamed_image_is_known_by_its_content(tmp_path: Path) -> None:
    path = save(tmp_path, Image.new("RGB", (1, 1), (1, 2, 3)), "a.jpg", format="PNG")
    assert colors(read_image(path)) == [[1, 2, 3]]


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_an_exif_rotation_is_not_applied(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain = read_image(save(tmp_path, noise(24, 32), "plain.jpg"))
    tagged = read_image(save(tmp_path, noise(24, 32), "tagged.jpg", exif=exif))
    assert torch.equal(tagged, plain)


def test_odd_metadata_costs_no_warning(tmp_path: Path) -> None:
    path = save(tmp_path, noise(), "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(path).shape == (3, 24, 32)


def test_blanks_and_signs_in_the_name_work(tmp_path: Path) -> None:
    path = save(tmp_path, Image.new("RGB", (1, 1), (1, 2, 3)), "Bild 1 für später 图.png")
    assert colors(read_image(path)) == [[1, 2, 3]]


def test_of_several_images_in_a_file_the_first_is_taken(tmp_path: Path) -> None:
    path = save(tmp_path, noise(), "a.tif", save_all=True, append_images=[noise(50, 60)])
    assert torch.equal(read_image(path), read_image(save(tmp_path, noise())))


# --- sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_the_size_is_that_of_the_decoded_image(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path, noise(24, 32), "a.jpg", format=kind)
    assert read_image_size(path) == tuple(read_image(path).shape[1:]) == (24, 32)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_the_size_is_as_stored_whatever_exif_says(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert read_image_size(save(tmp_path, noise(24, 32), "a.jpg", exif=exif)) == (24, 32)


def test_a_size_needs_no_more_than_the_head_of_the_file(tmp_path: Path) -> None:
    path = save(tmp_path, noise(), "a.jpg")
    path.write_bytes(path.read_bytes()[:700])
    assert read_image_size(path) == (24, 32)
    with pytest.raises(ValueError, match=r"a\.jpg: the image does not decode"):
        read_image(path)


@pytest.mark.parametrize(
    "content", [b"", b"<html></html>", bytes(1000), b"\xff\xd8\xff\xe0", png_header(20_000, 20_000)]
)
def test_a_head_that_is_no_images_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.jpg: the image does not decode"):
        read_image_size(tmp_path / "a.jpg")


def test_the_size_of_no_file_a_folder_or_a_pipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a\.jpg: no such image"):
        read_image_size(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").mkdir()
    os.mkfifo(tmp_path / "c.jpg")
    for name in ("b.jpg", "c.jpg"):
        with pytest.raises(ValueError, match=rf"{name}: not a regular file"):
            read_image_size(tmp_path / name)


# --- refusals ------------------------------------------------------------------------------------


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a\.jpg: no such image"):
        read_image(tmp_path / "a.jpg")


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to(tmp_path / "gone.jpg")
    with pytest.raises(FileNotFoundError, match=r"a\.jpg: no such image"):
        read_image(tmp_path / "a.jpg")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").mkdir()
    with pytest.raises(ValueError, match=r"a\.jpg: not a regular file"):
        read_image(tmp_path / "a.jpg")


def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"a\.jpg: not a regular file"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("content", [b"", b"once upon a time", b"<html></html>", bytes(1000)])
def test_a_file_that_is_no_image_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.jpg: the image does not decode"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.webp"])
@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_a_truncated_image_is_refused(tmp_path: Path, name: str, fraction: float) -> None:
    path = save(tmp_path, noise(), name)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(ValueError, match=rf"{name}: the image does not decode"):
        read_image(path)


def test_an_image_with_too_many_pixels_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 24 * 32 - 1)
    with pytest.raises(ValueError, match=r"a\.png: .*32x24 pixels, at most 767 are accepted"):
        read_image(save(tmp_path, noise()))


def test_an_image_with_as_many_pixels_as_allowed_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 24 * 32)
    assert read_image(save(tmp_path, noise())).shape == (3, 24, 32)


@pytest.mark.parametrize("side", [10_001, 20_000, 60_000])
def test_a_bomb_is_refused_by_its_header_alone(tmp_path: Path, side: int) -> None:
    (tmp_path / "a.png").write_bytes(png_header(side, side))
    with pytest.raises(ValueError, match=r"a\.png: .*pixels"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_damaged_bytes_give_an_image_or_a_refusal_that_names_the_file(
    tmp_path: Path, kind: str
) -> None:
    whole = io.BytesIO()
    noise().save(whole, kind)
    path = tmp_path / "a.jpg"
    draw = random.Random(0)
    for _ in range(40):
        content = bytearray(whole.getvalue())
        for _ in range(draw.choice((1, 3, 20))):
            content[draw.randrange(min(len(content), 400))] = draw.choice((0, 255, 128))
        path.write_bytes(content)
        try:
            assert read_image(path).shape[0] == 3
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017 - either outcome is right
