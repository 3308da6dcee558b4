import pytest
import torch

from data.transforms import ResizeMode, flip_boxes, normalize_images, resize_image

GRAY = (0.5, 0.5, 0.5)


def make_image(height: int, width: int) -> torch.Tensor:
    return torch.zeros(3, height, width, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("mode", "size", "original", "resized"),
    [
        ("longest_side", 512, (375, 500), (384, 512)),
        ("longest_side", 512, (500, 375), (512, 384)),
        ("longest_side", 50, (35, 100), (18, 50)),  # 17.5 rows asked for
        ("longest_side", 100, (1, 1000), (1, 100)),  # at least one row
        ("shortest_side", 600, (375, 500), (600, 800)),
        ("shortest_side", 600, (500, 375), (800, 600)),
        ("shortest_side", 600, (150, 250), (600, 1000)),  # 5 / 3 itself
        ("shortest_side", 600, (150, 300), (500, 1000)),  # the longest side is at most 5 / 3
        ("shortest_side", 600, (300, 150), (1000, 500)),
        ("shortest_side", 600, (150, 249), (600, 996)),
        ("square", 200, (50, 100), (200, 200)),
    ],
)
def test_sides_get_their_size_and_the_scale_is_the_ratio_after_rounding(
    mode: ResizeMode, size: int, original: tuple[int, int], resized: tuple[int, int]
) -> None:
    image, scale_xy = resize_image(make_image(*original), size, mode)
    assert image.shape == (3, *resized)
    assert scale_xy.tolist() == [resized[1] / original[1], resized[0] / original[0]]


def test_the_box_of_the_whole_image_stays_the_whole_image() -> None:
    image, scale_xy = resize_image(make_image(333, 500), 224, "longest_side")
    box = torch.tensor([0, 0, 500, 333]) * scale_xy.repeat(2)
    torch.testing.assert_close(
        box, torch.tensor([0, 0, image.shape[2], image.shape[1]], dtype=torch.float64)
    )


def test_a_resized_image_is_bytes_of_the_same_color() -> None:
    image, _ = resize_image(make_image(30, 40) + 77, 25, "longest_side")
    assert image.dtype == torch.uint8
    assert set(image.flatten().tolist()) == {77}


def test_shrinking_averages_instead_of_picking() -> None:
    stripes = make_image(64, 64)
    stripes[:, :, ::4] = 200
    image, _ = resize_image(stripes, 8, "square")
    assert (image[:, :, 1:-1].float() - 200 / 4).abs().max() <= 5  # the filter's support is finite


@pytest.mark.parametrize("size", [0, -3])
def test_a_size_below_one_pixel_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"size is at least one pixel, got {size}"):
        resize_image(make_image(2, 2), size, "square")


def test_a_flipped_box_is_as_far_from_the_left_as_it_was_from_the_right() -> None:
    boxes = torch.tensor([[10.0, 5.0, 30.0, 20.0], [0.0, 0.0, 100.0, 50.0]])
    assert flip_boxes(boxes, 100).tolist() == [[70, 5, 90, 20], [0, 0, 100, 50]]


def test_a_flipped_box_holds_the_same_pixels() -> None:
    image = torch.arange(3 * 6).reshape(3, 6)
    x1, y1, x2, y2 = flip_boxes(torch.tensor([[1.0, 0.0, 3.0, 2.0]]), 6)[0].int().tolist()
    assert image.flip(-1)[y1:y2, x1:x2].flip(-1).equal(image[0:2, 1:3])


def test_boxes_flipped_twice_are_as_before(rng: torch.Generator) -> None:
    corner = torch.randint(0, 100, (20, 2), generator=rng).float()  # whole pixels do not round
    boxes = torch.cat([corner, corner + 7], dim=1)
    assert flip_boxes(flip_boxes(boxes, 333), 333).equal(boxes)
    assert flip_boxes(boxes[:0], 333).shape == (0, 4)


def test_each_channel_loses_its_own_mean_and_deviation() -> None:
    images = torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)
    normalized = normalize_images(images, torch.tensor([[1, 1]]), (0, 0.5, 1), (0.5, 0.25, 1))
    torch.testing.assert_close(normalized.flatten(), torch.tensor([2.0, 2.0, 0.0]))


def test_padding_becomes_exact_zeros() -> None:
    images = torch.full((2, 3, 3, 4), 255, dtype=torch.uint8)
    sizes = torch.tensor([[2, 4], [3, 1]])
    expected = torch.zeros(2, 1, 3, 4)
    expected[0, :, :2] = 1
    expected[1, :, :, :1] = 1
    normalized = normalize_images(images, sizes, GRAY, GRAY)
    torch.testing.assert_close(normalized, expected.expand(2, 3, 3, 4), rtol=0, atol=0)
    assert normalize_images(images[:0], sizes[:0], GRAY, GRAY).shape == (0, 3, 3, 4)


def test_an_image_is_normalized_alike_with_and_without_padding(rng: torch.Generator) -> None:
    images = torch.randint(0, 256, (1, 3, 4, 4), generator=rng).to(torch.uint8)
    size = torch.tensor([[4, 4]])
    padded = torch.nn.functional.pad(images, (0, 3, 0, 2))
    alone = normalize_images(images, size, GRAY, GRAY)
    torch.testing.assert_close(normalize_images(padded, size, GRAY, GRAY)[..., :4, :4], alone)
