"""Every kind of image file, whole and broken."""

import io
import os
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps, features
from torch import Tensor

from data.images import gray_range, read_image, read_image_size
from tests.worlds import noise_image, png


def save(folder: Path, image: Image.Image, name: str = "a.png", **options: Any) -> Path:
    path = folder / name
    image.save(path, **options)
    return path


def colors(image: Tensor) -> list[list[int]]:
    """Pixels in reading order, [red, green, blue] each."""
    listed: list[list[int]] = image.flatten(1).T.tolist()
    return listed


# --- kinds of images ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "value", "color"),
    [("RGB", (10, 20, 30), [10, 20, 30]), ("L", 77, [77] * 3), ("1", 1, [255] * 3)],
)
def test_every_mode_becomes_bytes_of_rgb(
    tmp_path: Path, mode: str, value: Any, color: list[int]
) -> None:
    image = read_image(save(tmp_path, Image.new(mode, (2, 1), value)))
    assert image.dtype == torch.uint8
    assert image.shape == (3, 1, 2)
    assert colors(image) == [color, color]
    image += 1  # a decoded image may be written to


@pytest.mark.parametrize(
    ("options", "first"), [({}, [10, 20, 30]), ({"transparency": 0}, [255] * 3)]
)
def test_a_palette_becomes_its_colors_and_a_transparent_entry_lies_on_white(
    tmp_path: Path, options: dict[str, Any], first: list[int]
) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    assert colors(read_image(save(tmp_path, image, **options))) == [first, [40, 50, 60]]


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    image = read_image(save(tmp_path, red, "a.jpg", quality=95))
    wanted = torch.tensor([255, 0, 0]).view(3, 1, 1)
    assert (image.int() - wanted).abs().max() <= 3  # JPEG rounds


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
    ("values", "fraction"), [([0, 65535], 1), ([0, 4095], 4095 / 65535), ([51241, 51241], 0)]
)
def test_the_range_of_sixteen_bit_gray_shows_what_becomes_one_gray(
    tmp_path: Path, values: list[int], fraction: float
) -> None:
    path = save(tmp_path, Image.fromarray(np.array([values], dtype=np.uint16)))
    assert gray_range(path) == fraction


def test_images_of_8_bit_take_their_range_whatever_they_show(tmp_path: Path) -> None:
    assert gray_range(save(tmp_path, Image.new("L", (2, 1), 77))) == 1


@pytest.mark.parametrize(
    "gray", [np.array([[0.5]], dtype=np.float32), np.array([[70000]], dtype=np.int32)]
)
def test_gray_that_is_neither_8_nor_16_bit_is_refused(tmp_path: Path, gray: Any) -> None:
    path = save(tmp_path, Image.fromarray(gray), "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif: .*that are not 16-bit"):
        read_image(path)


def test_a_progressive_jpeg_equals_the_plain_one(tmp_path: Path) -> None:
    plain = read_image(save(tmp_path, noise_image(24, 32), "plain.jpg"))
    progressive = read_image(
        save(tmp_path, noise_image(24, 32), "progressive.jpg", progressive=True)
    )
    assert torch.equal(plain, progressive)  # the same coefficients in another order


def test_a_misnamed_image_is_known_by_its_content(tmp_path: Path) -> None:
    path = save(tmp_path, Image.new("RGB", (1, 1), (1, 2, 3)), "a.jpg", format="PNG")
    assert colors(read_image(path)) == [[1, 2, 3]]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_upright_as_pillow_turns_it(
    tmp_path: Path, kind: str, orientation: int
) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path, noise_image(24, 32), "a.jpg", format=kind, exif=exif)
    with Image.open(path) as image:
        upright = np.array(ImageOps.exif_transpose(image).convert("RGB"))

    assert read_image(path).permute(1, 2, 0).numpy().tolist() == upright.tolist()
    assert read_image_size(path) == upright.shape[:2]


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_exif_does_not_know_is_upright(
    tmp_path: Path, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path, noise_image(24, 32), exif=exif)
    assert read_image(path).equal(read_image(save(tmp_path, noise_image(24, 32), "plain.png")))


def test_an_image_of_as_many_pixels_as_cameras_write_is_not_refused_for_its_size(
    tmp_path: Path,
) -> None:
    assert read_image_size(save(tmp_path, Image.new("1", (16_320, 12_240)))) == (12_240, 16_320)


def test_odd_metadata_costs_no_warning(tmp_path: Path) -> None:
    path = save(tmp_path, noise_image(24, 32), "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(path).shape == (3, 24, 32)


def test_blanks_and_other_characters_in_the_name_work(tmp_path: Path) -> None:
    path = save(tmp_path, Image.new("RGB", (1, 1), (1, 2, 3)), "Bild 1 für später 图.png")
    assert colors(read_image(path)) == [[1, 2, 3]]


def test_of_several_images_in_a_file_the_first_is_taken(tmp_path: Path) -> None:
    path = save(
        tmp_path, noise_image(24, 32), "a.tif", save_all=True, append_images=[noise_image(50, 60)]
    )
    assert torch.equal(read_image(path), read_image(save(tmp_path, noise_image(24, 32))))


# --- sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_the_size_is_that_of_the_decoded_image(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path, noise_image(24, 32), "a.jpg", format=kind)
    assert read_image_size(path) == tuple(read_image(path).shape[1:]) == (24, 32)


def test_a_size_needs_no_more_than_the_head_of_the_file(tmp_path: Path) -> None:
    path = save(tmp_path, noise_image(24, 32), "a.jpg")
    path.write_bytes(path.read_bytes()[:700])
    assert read_image_size(path) == (24, 32)
    with pytest.raises(ValueError, match=r"a\.jpg: the image does not decode"):
        read_image(path)


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [read_image, read_image_size])
@pytest.mark.parametrize(
    ("make", "kind", "problem"),
    [
        (lambda path: None, FileNotFoundError, "no such image"),
        (lambda path: path.symlink_to("gone.jpg"), FileNotFoundError, "no such image"),
        (Path.mkdir, ValueError, "not a regular file"),
        (os.mkfifo, ValueError, "not a regular file"),  # and nobody waits for its writer
        (lambda path: path.write_bytes(b""), ValueError, "does not decode"),
        (lambda path: path.write_bytes(b"<html></html>"), ValueError, "does not decode"),
        (lambda path: path.write_bytes(bytes(1000)), ValueError, "does not decode"),
        (
            lambda path: path.write_bytes(png(15_626, 16_000)),
            ValueError,
            "pixels, at most 250000000",
        ),
        (
            lambda path: path.write_bytes(png(60_000, 60_000)),
            ValueError,
            "pixels, at most 250000000",
        ),
    ],
)
def test_what_is_no_image_is_refused_by_name(
    tmp_path: Path,
    make: Callable[[Path], object],
    kind: type[Exception],
    problem: str,
    read: Callable[[Path], object],
) -> None:
    make(tmp_path / "a.jpg")
    with pytest.raises(kind, match=rf"a\.jpg: .*{problem}"):
        read(tmp_path / "a.jpg")


def test_an_image_with_as_many_pixels_as_allowed_is_read_and_none_with_more(tmp_path: Path) -> None:
    path = save(tmp_path, noise_image(24, 32))
    assert read_image(path, max_pixels=24 * 32).shape == (3, 24, 32)
    with pytest.raises(ValueError, match=r"a\.png: 32x24 pixels, at most 767 are accepted"):
        read_image(path, max_pixels=24 * 32 - 1)


def test_an_image_of_another_size_than_annotated_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, Image.new("RGB", (8, 6)))

    assert read_image(path, size=(6, 8)).shape == (3, 6, 8)
    with pytest.raises(ValueError, match=r"a\.png: the image is 8x6, its annotation says 6x8$"):
        read_image(path, size=(8, 6))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.webp"])
@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_a_truncated_image_is_refused(tmp_path: Path, name: str, fraction: float) -> None:
    path = save(tmp_path, noise_image(24, 32), name)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(ValueError, match=rf"{name}: the image does not decode"):
        read_image(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_damaged_bytes_give_an_image_or_a_refusal_that_names_the_file(
    tmp_path: Path, kind: str
) -> None:
    whole = io.BytesIO()
    noise_image(24, 32).save(whole, kind)
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
