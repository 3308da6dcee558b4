"""EXIF's eight orientations: by hand, and a box that goes along with its image."""

import pytest
import torch

from data.orientation import TURNS, turn_boxes, turn_image, turn_size

# What people see of the stored rows [1, 2, 3], [4, 5, 6].
UPRIGHT = {
    1: [[1, 2, 3], [4, 5, 6]],
    2: [[3, 2, 1], [6, 5, 4]],
    3: [[6, 5, 4], [3, 2, 1]],
    4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]],
    6: [[4, 1], [5, 2], [6, 3]],
    7: [[6, 3], [5, 2], [4, 1]],
    8: [[3, 6], [2, 5], [1, 4]],
}
each_orientation = pytest.mark.parametrize("orientation", TURNS)


@each_orientation
def test_pixels_are_where_people_see_them(orientation: int) -> None:
    stored = torch.tensor([[1, 2, 3], [4, 5, 6]])
    assert turn_image(stored, orientation).tolist() == UPRIGHT[orientation]
    upright = torch.tensor(UPRIGHT[orientation])
    assert turn_size((2, 3), orientation) == tuple(upright.shape)


@each_orientation
def test_a_box_stays_around_its_object(orientation: int) -> None:
    stored = torch.zeros(30, 50)
    stored[4:11, 20:23] = 1

    (box,) = turn_boxes(torch.tensor([[20.0, 4, 23, 11]]), (30, 50), orientation).int().tolist()

    upright = turn_image(stored, orientation)
    x1, y1, x2, y2 = box
    assert (upright[y1:y2, x1:x2] == 1).all()
    assert upright.sum() == (y2 - y1) * (x2 - x1) == 7 * 3


@each_orientation
def test_no_boxes_stay_none(orientation: int) -> None:
    assert turn_boxes(torch.zeros(0, 4), (30, 50), orientation).shape == (0, 4)
