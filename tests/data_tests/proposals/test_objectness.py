"""What tells that a box holds an object."""

from collections.abc import Callable

import numpy as np
import pytest

from data.proposals.objectness import (
    Array,
    Edges,
    Pixels,
    color_contrast,
    edge_contrast,
    whole_segments,
)

SQUARE = [50.0, 25.0, 100.0, 75.0]


def two_colors() -> np.ndarray:
    """A yellow square of 50 pixels on blue, 150 x 100."""
    pixels = np.full((100, 150, 3), (20, 60, 200), np.uint8)
    pixels[25:75, 50:100] = (230, 210, 40)
    return pixels


def boxes(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


def test_edges_just_inside_count_and_those_just_outside_are_taken_off() -> None:
    edges = Edges(np.zeros((10, 20), np.float32), np.zeros((10, 20), np.float32))
    edges.strength[4, 5] = 1  # inside of the first box, outside of the second

    contrast = edge_contrast(boxes([5, 2, 11, 8], [6, 2, 12, 8]), (10, 20), edges, power=1.0)

    assert contrast.tolist() == pytest.approx([1 / 12, -0.5 / 12])


def test_edges_in_the_middle_of_a_box_do_not_count() -> None:
    edges = Edges(np.zeros((10, 20), np.float32), np.zeros((10, 20), np.float32))
    edges.strength[5, 10] = 1

    assert edge_contrast(boxes([5, 0, 15, 10]), (10, 20), edges, power=1.0).tolist() == [0]


def test_boxes_are_of_the_image_and_edges_of_a_copy_of_it() -> None:
    edges = Edges.of(two_colors())
    double = boxes([2 * side for side in SQUARE])

    assert edge_contrast(double, (200, 300), edges, power=1.5) == pytest.approx(
        edge_contrast(boxes(SQUARE), (100, 150), edges, power=1.5)
    )


def test_a_box_around_a_segment_cuts_none_and_a_half_of_it_cuts_it() -> None:
    whole, half = whole_segments(boxes(SQUARE, [50, 25, 75, 75]), two_colors())

    assert whole > 0.9
    assert half < 0.1


def test_colors_differ_around_the_square_and_not_around_a_piece_of_the_ground() -> None:
    square, ground = color_contrast(boxes(SQUARE, [10, 10, 30, 30]), two_colors())

    assert square > 0.6
    assert ground == 0


def test_half_of_the_square_has_its_colors_around_it_too() -> None:
    square, half = color_contrast(boxes(SQUARE, [50, 25, 75, 75]), two_colors())

    assert 0.3 < half < square - 0.2


@pytest.mark.parametrize("measure", [whole_segments, color_contrast])
def test_no_boxes_have_no_measures(measure: Callable[[Array, Pixels], Array]) -> None:
    assert measure(np.zeros((0, 4), np.float32), two_colors()).shape == (0,)


def test_an_even_surface_has_neither_edges_nor_contrast() -> None:
    even = np.full((40, 60, 3), 128, np.uint8)

    assert Edges.of(even).strength.max() == 0
    assert color_contrast(boxes([10, 10, 20, 20]), even).tolist() == [0]


def test_a_box_of_the_whole_image_cuts_nothing_and_has_nothing_around_it() -> None:
    whole = boxes([0, 0, 150, 100])

    assert whole_segments(whole, two_colors()).tolist() == [1]
    assert color_contrast(whole, two_colors()).tolist() == [0.5]
