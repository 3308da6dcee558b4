"""Where heatmaps, boxes and words are drawn in an image."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from data.images import read_image
from localizer.backbones import Geometry
from localizer.localize import ImageHeatmaps
from tools.pages.draw import (
    DETECTION,
    TRUTH,
    caption,
    draw_boxes,
    encode_jpeg,
    fit_height,
    in_a_row,
    overlay_heatmap,
    sheet,
    write_jpeg,
)


def plain(value: int, height: int, width: int) -> Tensor:
    return torch.full((3, height, width), value, dtype=torch.uint8)


def heatmap(logits: Tensor) -> ImageHeatmaps:
    """3 x 3 cells of 4 pixels from 3.5 to 15.5 in an image of 20 x 20; the original is 40 x 40."""
    return ImageHeatmaps(logits[None], torch.zeros(1), Geometry(4, 5), (20, 20), (40, 40))


# Heatmap


def test_the_highest_cell_is_red_and_the_lowest_blue_as_is_a_constant_map() -> None:
    logits = torch.tensor([[5.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, -5.0]])
    drawn = overlay_heatmap(plain(0, 40, 40), heatmap(logits), 0).int()

    highest, lowest = drawn[:, 11, 11], drawn[:, 27, 27]  # centers of the first and last cell
    assert highest[0] > 10 * highest[2]
    assert lowest[2] > lowest[0]

    constant = overlay_heatmap(plain(0, 40, 40), heatmap(torch.full((3, 3), 7.0)), 0)
    assert (constant[:, 7:31, 7:31] == constant[:, 20:21, 20:21]).all()
    assert constant[2, 20, 20] > constant[0, 20, 20]


def test_the_frame_that_no_cell_covers_keeps_the_image() -> None:
    image = plain(77, 40, 40)
    drawn = overlay_heatmap(image, heatmap(torch.eye(3)), 0)

    changed = (drawn != image).any(dim=0)
    assert changed[7:31, 7:31].all()
    assert changed.sum() == 24 * 24


# Boxes


def test_an_outline_covers_the_outermost_pixels_of_a_half_open_box() -> None:
    drawn = draw_boxes(plain(0, 30, 40), torch.tensor([[10.0, 5.0, 20.0, 25.0]]), TRUTH)

    rows, columns = drawn.sum(dim=0).nonzero().unbind(1)
    assert rows.unique().tolist() == list(range(5, 25))  # type: ignore[no-untyped-call]
    assert columns.unique().tolist() == list(range(10, 20))  # type: ignore[no-untyped-call]
    assert drawn[:, 5, 10].tolist() == [0, 255, 0]
    assert drawn[:, 15, 15].tolist() == [0, 0, 0]  # only the outline


def test_a_box_may_fill_the_image_be_thinner_than_a_pixel_or_be_missing() -> None:
    drawn = draw_boxes(plain(0, 30, 40), torch.tensor([[0.0, 0.0, 40.0, 30.0]]), DETECTION)

    assert drawn[:, 29, 39].tolist() == drawn[:, 0, 0].tolist() == [255, 0, 255]
    assert draw_boxes(plain(0, 30, 40), torch.tensor([[10.1, 5.0, 10.3, 25.0]]), TRUTH).any()
    assert draw_boxes(plain(0, 30, 40), torch.zeros(0, 4), TRUTH, []).equal(plain(0, 30, 40))


def test_a_text_stands_on_dark_ground_from_the_corner_of_its_box() -> None:
    image = plain(128, 100, 200)
    drawn = draw_boxes(image, torch.tensor([[50.0, 30.0, 150.0, 90.0]]), TRUTH, ["cat"])

    ground = (drawn == 32).all(dim=0)
    rows, columns = ground.nonzero().unbind(1)
    assert (int(rows.min()), int(columns.min())) == (30, 50)
    assert rows.max() < 50
    assert columns.max() < 100
    assert (drawn[:, 30:50, 50:100].amin(dim=0) > 200).any()  # white letters
    assert image.eq(128).all()


@pytest.mark.parametrize("box", [(0, 0, 20, 20), (80, 0, 100, 20), (99, 59, 100, 60)])
def test_a_text_stays_inside_of_the_image(box: tuple[int, int, int, int]) -> None:
    boxes = torch.tensor([box, (30, 20, 40, 30)]).float()
    at_border, inside = (
        draw_boxes(plain(0, 60, 100), boxes[row : row + 1], TRUTH, ["cat"]) for row in range(2)
    )

    assert at_border.eq(32).sum() == inside.eq(32).sum()  # nothing of the ground is cut off
    assert at_border.gt(200).all(dim=0).sum() == inside.gt(200).all(dim=0).sum()


def test_each_box_has_its_own_text() -> None:
    boxes = torch.tensor([[0.0, 0.0, 60.0, 40.0], [80.0, 50.0, 150.0, 90.0]])
    drawn = draw_boxes(plain(0, 100, 160), boxes, TRUTH, ["cat", "dog"])
    swapped = draw_boxes(plain(0, 100, 160), boxes, TRUTH, ["dog", "cat"])

    for top, left in ((0, 0), (50, 80)):
        place = (slice(None), slice(top, top + 16), slice(left, left + 40))
        assert (drawn[place] > 200).all(dim=0).any()
        assert not drawn[place].equal(swapped[place])
    for texts in (["cat"], ["cat", "dog", "cow"]):
        with pytest.raises(ValueError, match="zip"):
            draw_boxes(plain(0, 100, 160), boxes, TRUTH, texts)


def test_texts_do_not_cover_each_other_while_there_is_room() -> None:
    boxes = torch.tensor([[10.0, 10.0, 150.0, 90.0]]).repeat(4, 1)
    colors = ["#ff0000", "#00ff00", "#0000ff", "#ffff00"]
    drawn = draw_boxes(plain(128, 100, 160), boxes, colors, ["cat"] * 4)

    rows = []
    for color in colors:
        ground = torch.tensor([*bytes.fromhex(color[1:])])[:, None, None]
        behind = (drawn == ground).all(dim=0)[:, 12:30].sum(dim=1) > 3
        rows.append(behind.nonzero().flatten().tolist())
    assert all(above[-1] < below[0] for above, below in pairwise(rows))
    assert all(len(of_text) >= 12 for of_text in rows)

    full = draw_boxes(plain(128, 40, 160), boxes.clamp(max=40), colors, ["cat"] * 4)
    assert full.shape == (3, 40, 160)


def test_letters_are_dark_on_light_ground_and_light_on_dark() -> None:
    box = torch.tensor([[10.0, 10.0, 90.0, 50.0]])
    for color, ink in (("#ffff00", 0), ("#00008b", 255)):
        drawn = draw_boxes(plain(128, 60, 100), box, [color], ["cat"])
        assert drawn[:, 10:26, 10:40].eq(ink).all(dim=0).any()


def test_a_dashed_outline_lies_on_the_whole_one_with_gaps() -> None:
    box = torch.tensor([[10.0, 5.0, 70.0, 45.0]])
    whole = draw_boxes(plain(0, 60, 100), box, TRUTH).bool().any(dim=0)
    dashed = draw_boxes(plain(0, 60, 100), box, TRUTH, dashed=True).bool().any(dim=0)

    assert whole[dashed].all()
    assert 0.35 < dashed.sum() / whole.sum() < 0.65
    tiny = torch.tensor([[float(x), 7.0, x + 4.0, 11.0] for x in range(0, 90, 9)])
    for row in tiny:
        assert draw_boxes(plain(0, 60, 100), row[None], TRUTH, dashed=True).any()


def test_characters_outside_of_ascii_become_question_marks() -> None:
    box = torch.tensor([[10.0, 5.0, 60.0, 45.0]])

    drawn = draw_boxes(plain(0, 60, 100), box, TRUTH, ["图 é"])
    assert drawn.equal(draw_boxes(plain(0, 60, 100), box, TRUTH, ["? ?"]))
    assert caption(plain(0, 30, 200), "naïve 猫").equal(caption(plain(0, 30, 200), "na?ve ?"))


# Words and sheets


def test_a_caption_stands_above_the_image() -> None:
    image = plain(77, 30, 200)
    drawn = caption(image, "cat 0.97")

    assert drawn[:, 22:].equal(image)
    assert (drawn[:, :22] > 200).any()


def test_images_of_one_height_keep_their_proportions_and_have_white_gaps_in_a_row() -> None:
    for size, width in (((50, 100), 40), ((100, 50), 10), ((400, 1), 1)):
        assert fit_height(plain(0, *size), 20).shape == (3, 20, width)

    row = in_a_row([plain(0, 10, 20), plain(0, 10, 30)])
    assert row.shape == (3, 10, 20 + 4 + 30)
    assert row[:, :, 20:24].eq(255).all()
    assert row.eq(0).all(dim=0).sum() == 10 * 50


def test_a_sheet_shows_every_cell_in_reading_order() -> None:
    cells = [plain(10 * width, 10, width) for width in (3, 5, 4)]
    page = sheet(cells, columns=2)

    assert page.shape == (3, 2 * 18, 2 * 17)
    assert page[0, 0, 0] == 30
    assert page[0, 0, 17] == 50
    assert page[0, 18, 0] == 40
    assert page[:, 18, 17].eq(255).all()
    assert sheet([], columns=2).eq(255).all()


def test_a_written_image_is_read_with_its_colors_in_order(tmp_path: Path) -> None:
    image = torch.tensor([200, 50, 0], dtype=torch.uint8).reshape(3, 1, 1).expand(3, 16, 24)
    write_jpeg(tmp_path / "image.jpg", image)

    read = read_image(tmp_path / "image.jpg").int()

    assert (read - image.int()).abs().max() <= 3  # JPEG rounds
    assert (tmp_path / "image.jpg").read_bytes() == encode_jpeg(image)
