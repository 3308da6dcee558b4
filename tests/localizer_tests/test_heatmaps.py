import pytest
import torch
from torch import Tensor

from localizer.backbones import Geometry
from localizer.heatmaps import flip_heatmaps, normalize_range, peak_point, render_heatmap

ALEXNET = Geometry(16, 31)  # cell 0 covers 23.5 .. 39.5
SMALL = Geometry(4, 1)  # cells are centered at 1.5, 5.5, 9.5
NETWORK = (512, 512)


def one_hot(row: int, column: int, height: int = 29, width: int = 29) -> Tensor:
    heatmap = torch.zeros(height, width)
    heatmap[row, column] = 1
    return heatmap


def peak_pixel(rendered: Tensor) -> tuple[int, int]:
    return divmod(int(rendered.nan_to_num(-1).argmax()), rendered.shape[1])


# --- flipping ------------------------------------------------------------------------------------


def test_in_a_symmetric_width_flipping_reverses_the_columns() -> None:
    heatmap = torch.tensor([[[1.0, 2.0, 4.0]]])
    flipped = flip_heatmaps(heatmap, SMALL, 11, 3)  # 1.5 pixels at both ends
    assert flipped.tolist() == [[[4, 2, 1]]]


def test_flipping_twice_in_a_symmetric_width_is_the_identity(rng: torch.Generator) -> None:
    heatmaps = torch.randn(3, 29, 29, generator=rng)
    width = 31.5 + 16 * 28 + 31.5
    twice = flip_heatmaps(flip_heatmaps(heatmaps, ALEXNET, width, 29), ALEXNET, width, 29)
    assert torch.equal(twice, heatmaps)


def test_between_columns_the_values_are_shared_out() -> None:
    heatmap = torch.tensor([[[0.0, 8.0, 0.0]]])
    # in a width of 12 the flipped centers 10.5, 6.5 and 2.5 lie a quarter right of the columns
    flipped = flip_heatmaps(heatmap, SMALL, 12, 3)
    assert flipped.tolist() == [[[0, 8 * 3 / 4, 8 * 1 / 4]]]


def test_a_slope_is_flipped_exactly_except_beyond_the_last_cell() -> None:
    centers = 31.5 + 16 * torch.arange(29.0)
    flipped_positions = (512 - centers).expand(
        1, 1, 29
    )  # each cell says where it is in the upright
    upright = flip_heatmaps(flipped_positions, ALEXNET, 512, 29)[0, 0]
    torch.testing.assert_close(upright[1:], centers[1:])
    assert float(upright[0]) == 512 - float(centers[-1])  # 32.5: there is no cell at 31.5


def test_rows_stay_where_they_are() -> None:
    heatmap = torch.tensor([[[1.0, 1.0], [5.0, 5.0]]])
    assert flip_heatmaps(heatmap, SMALL, 7, 2).tolist() == heatmap.tolist()


def test_a_single_column_stays_itself() -> None:
    heatmap = torch.tensor([[[3.0], [4.0]]])
    assert flip_heatmaps(heatmap, SMALL, 9, 1).tolist() == heatmap.tolist()


def test_no_classes_give_no_maps() -> None:
    assert flip_heatmaps(torch.zeros(0, 2, 3), SMALL, 11, 3).shape == (0, 2, 3)


# --- range ----------------------------------------------------------------------------------------


def test_the_range_of_the_whole_map_becomes_0_to_1() -> None:
    heatmap = torch.tensor([[-3.0, -1.0], [1.0, 1.0]])
    assert normalize_range(heatmap).tolist() == [[0, 1 / 2], [1, 1]]


@pytest.mark.parametrize("value", [-5.0, 0.0, 5.0])
def test_a_constant_map_becomes_zeros(value: float) -> None:
    assert normalize_range(torch.full((2, 3), value)).tolist() == [[0, 0, 0], [0, 0, 0]]


# --- rendering ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("row", "column"), [(1, 1), (3, 5), (27, 27)])
def test_the_peak_is_rendered_at_pixel_31_plus_16_i(row: int, column: int) -> None:
    rendered = render_heatmap(one_hot(row, column), ALEXNET, NETWORK, NETWORK)
    assert peak_pixel(rendered) == (31 + 16 * row, 31 + 16 * column)


def test_a_cell_has_its_own_value_at_its_center(rng: torch.Generator) -> None:
    heatmap = torch.randn(29, 29, generator=rng)
    rendered = render_heatmap(heatmap, ALEXNET, NETWORK, NETWORK)
    torch.testing.assert_close(rendered[31:480:16, 31:480:16], heatmap)


def test_half_way_between_two_cells_lies_their_mean() -> None:
    rendered = render_heatmap(torch.tensor([[0.0, 8.0]]), Geometry(4, 1), (3, 8), (3, 8))
    # centers at 1.5 and 5.5, pixels at 1.5, 2.5, 3.5, 4.5, 5.5
    torch.testing.assert_close(rendered[1, 1:6], torch.tensor([0.0, 2, 4, 6, 8]))


def test_outside_of_the_outer_centers_a_cell_keeps_its_value() -> None:
    rendered = render_heatmap(torch.tensor([[3.0, 8.0]]), Geometry(4, 2), (4, 9), (4, 9))
    # squares from .5 to 8.5, centers at 2.5 and 6.5
    torch.testing.assert_close(rendered[2, :3], torch.tensor([3.0, 3, 3]))
    torch.testing.assert_close(rendered[2, 6:8], torch.tensor([8.0, 8]))


def test_the_frame_that_no_cell_sees_is_not_a_number() -> None:
    rendered = render_heatmap(torch.zeros(29, 29), ALEXNET, NETWORK, NETWORK)
    # cells cover 23.5 .. 487.5; the centers of pixels 23 to 486 lie in that half-open interval
    covered = torch.zeros(512, 512, dtype=torch.bool)
    covered[23:487, 23:487] = True
    assert torch.equal(torch.isfinite(rendered), covered)


def test_a_map_that_covers_the_image_leaves_no_frame() -> None:
    rendered = render_heatmap(torch.zeros(3, 3), Geometry(3, 1), (9, 9), (9, 9))
    assert torch.isfinite(rendered).all()


def test_a_constant_map_is_rendered_constant() -> None:
    rendered = render_heatmap(torch.full((29, 29), 7.0), ALEXNET, NETWORK, NETWORK)
    seen = rendered[torch.isfinite(rendered)]
    torch.testing.assert_close(seen, torch.full_like(seen, 7))


def test_rendering_in_the_original_image_scales_each_axis_by_itself() -> None:
    rendered = render_heatmap(one_hot(3, 5), ALEXNET, NETWORK, (1536, 256))
    assert rendered.shape == (1536, 256)
    row, column = peak_pixel(rendered)
    # the center of cell (3, 5) is at y 79.5 and x 111.5 in the network image
    assert abs(row + 0.5 - 79.5 * 3) <= 0.5
    assert abs(column + 0.5 - 111.5 / 2) <= 0.5


def test_the_frame_scales_with_the_original_image() -> None:
    rendered = render_heatmap(torch.zeros(29, 29), ALEXNET, NETWORK, (1024, 1024))
    assert int(torch.isfinite(rendered[512]).nonzero()[0]) == 47  # 23.5 * 2
    assert int(torch.isfinite(rendered[512]).nonzero()[-1]) == 974  # 487.5 * 2 - 1


def test_a_map_of_one_cell_fills_its_square() -> None:
    rendered = render_heatmap(torch.tensor([[2.0]]), Geometry(4, 3), (8, 8), (8, 8))
    # its square reaches from 1.5 to 5.5
    assert rendered[1:5, 1:5].tolist() == [[2.0] * 4] * 4
    assert int(torch.isfinite(rendered).sum()) == 16


def test_rendering_leaves_the_map_as_it_is() -> None:
    heatmap = one_hot(0, 0)
    render_heatmap(heatmap, ALEXNET, NETWORK, NETWORK)
    assert torch.equal(heatmap, one_hot(0, 0))


# --- the peak -------------------------------------------------------------------------------------


def test_the_peak_point_is_x_then_y_of_the_cells_center() -> None:
    assert peak_point(one_hot(3, 5), ALEXNET) == (31.5 + 16 * 5, 31.5 + 16 * 3)


def test_of_equal_peaks_the_first_is_taken() -> None:
    assert peak_point(torch.tensor([[0.0, 1.0], [1.0, 1.0]]), SMALL) == (5.5, 1.5)


def test_the_peak_of_a_map_that_is_not_square_is_in_its_own_row() -> None:
    assert peak_point(one_hot(1, 6, height=2, width=7), SMALL) == (1.5 + 4 * 6, 1.5 + 4)


def test_a_negative_map_has_its_peak_where_it_is_highest() -> None:
    assert peak_point(one_hot(2, 1) - 100, SMALL) == (5.5, 9.5)


def test_rendered_and_read_off_peaks_agree(rng: torch.Generator) -> None:
    heatmap = torch.randn(29, 29, generator=rng)
    row, column = peak_pixel(render_heatmap(heatmap, ALEXNET, NETWORK, NETWORK))
    assert peak_point(heatmap, ALEXNET) == (column + 0.5, row + 0.5)
