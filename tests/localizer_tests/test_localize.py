"""From an image to detections: frames, scores and what is kept."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from data.checks import check_detections
from data.types import Detections, Proposals
from localizer.backbones import Geometry
from localizer.localize import (
    ImageHeatmaps,
    fit_proposals,
    heatmap_agreement,
    heatmap_overlap,
    localize,
    predict_heatmaps,
)
from localizer.model import LocalizerHead
from localizer.settings import BoxSettings, LocalizerSettings

ALEXNET = Geometry(16, 31)  # cell i covers 23.5 + 16 i to 39.5 + 16 i
SMALL = Geometry(4, 1)  # cells of 4 pixels, centered at 1.5, 5.5, 9.5


def heatmap(*classes: list[list[float]], probability: float = 0.5) -> ImageHeatmaps:
    """Maps in an image of 96 x 96 that was not resized; all classes equally probable."""
    image_logits = torch.tensor(probability).logit().repeat(len(classes))
    return ImageHeatmaps(torch.tensor(classes), image_logits, ALEXNET, (96, 96), (96, 96))


def find(heatmaps: ImageHeatmaps, **options: Any) -> Detections:
    names = ("thresholds", "mode", "min_cells")
    boxes = BoxSettings(**{name: options.pop(name) for name in names if name in options})
    return localize(heatmaps, boxes, **options)


ONE = [[9.0, 0.0, 0.0, 0.0]]
TWO = [[9.0, 0.0, 6.0, 0.0]]
FLAT = [[1.0, 1.0, 1.0, 1.0]]


# --- localize -------------------------------------------------------------------------------------


def test_a_box_in_an_image_that_was_not_resized_is_the_cells_square() -> None:
    assert find(heatmap(ONE)).boxes.tolist() == [[23.5, 23.5, 39.5, 39.5]]


def test_boxes_are_in_pixels_of_the_original_each_axis_by_itself() -> None:
    stretched = replace(heatmap(ONE), image_size=(96 * 3, 96 // 2))
    assert find(stretched).boxes.tolist() == [[23.5 / 2, 23.5 * 3, 39.5 / 2, 39.5 * 3]]


def test_the_way_back_to_the_original_takes_x_first() -> None:
    assert replace(heatmap(ONE), image_size=(288, 48)).to_original.tolist() == [0.5, 3, 0.5, 3]


def test_a_score_is_the_classs_probability_times_the_fraction_of_the_heatmap() -> None:
    detections = find(heatmap(TWO, probability=0.8))
    torch.testing.assert_close(detections.scores, torch.tensor([0.8, 0.8 * 6 / 9]))


def test_labels_are_the_numbers_of_the_maps() -> None:
    detections = find(heatmap(FLAT, ONE))
    assert detections.labels.tolist() == [1]
    assert detections.labels.dtype == torch.int64


def test_detections_come_best_first_over_all_classes() -> None:
    heatmaps = replace(heatmap(TWO, ONE), image_logits=torch.tensor([0.0, 2.0]))
    detections = find(heatmaps)
    assert detections.labels.tolist() == [1, 0, 0]
    assert detections.scores.tolist() == sorted(detections.scores.tolist(), reverse=True)


def test_a_constant_map_gives_no_detections() -> None:
    detections = find(heatmap(FLAT))
    assert detections.boxes.shape == (0, 4)
    assert detections.labels.shape == detections.scores.shape == (0,)
    check_detections(detections, 1)


def test_the_mode_reaches_the_boxes() -> None:
    assert find(heatmap(TWO), mode="extent").boxes.tolist() == [[23.5, 23.5, 71.5, 39.5]]


def test_the_smallest_region_reaches_the_boxes() -> None:
    assert len(find(heatmap(TWO), min_cells=2).boxes) == 0


# --- what is kept ---------------------------------------------------------------------------------

NESTED = [[9.0, 9.0, 6.0, 0.0]]  # two cells at a threshold of .9, three at .5: IoU 2 / 3


@pytest.mark.parametrize(("nms_threshold", "count"), [(0.4, 1), (0.6, 1), (0.7, 2)])
def test_of_overlapping_boxes_of_a_class_the_lower_one_goes(
    nms_threshold: float, count: int
) -> None:
    detections = find(heatmap(NESTED), thresholds=[0.5, 0.9], nms_threshold=nms_threshold)
    assert len(detections.boxes) == count
    assert detections.boxes[0].tolist() == [23.5, 23.5, 71.5, 39.5]  # the larger of equal scores


def test_boxes_of_different_classes_do_not_hide_each_other() -> None:
    detections = find(heatmap(ONE, ONE))
    assert sorted(detections.labels.tolist()) == [0, 1]


def test_overlap_is_measured_in_the_original_image() -> None:
    stretched = replace(heatmap(NESTED), image_size=(9600, 96))
    assert len(find(stretched, thresholds=[0.5, 0.9], nms_threshold=0.7).boxes) == 2


def test_a_class_below_the_score_threshold_is_not_boxed() -> None:
    assert len(find(heatmap(ONE, probability=0.5), score_threshold=0.51).boxes) == 0


def test_a_box_below_the_score_threshold_is_dropped_and_one_at_it_is_kept() -> None:
    detections = find(heatmap(TWO, probability=0.5), score_threshold=0.5)
    assert detections.scores.tolist() == [0.5]


def test_a_score_threshold_of_zero_keeps_a_box_of_every_class() -> None:
    heatmaps = replace(heatmap(ONE, ONE), image_logits=torch.tensor([-200.0, 200.0]))
    assert sorted(find(heatmaps, score_threshold=0.0).labels.tolist()) == [0, 1]


def test_the_best_detections_of_all_classes_together_are_kept() -> None:
    heatmaps = replace(heatmap(TWO, TWO), image_logits=torch.tensor([3.0, 0.0]))
    detections = find(heatmaps, max_detections=2)
    assert detections.labels.tolist() == [0, 0]


def test_detections_of_random_maps_are_well_formed(rng: torch.Generator) -> None:
    for _ in range(20):
        heatmaps = ImageHeatmaps(
            torch.randn(5, 6, 4, generator=rng),
            torch.randn(5, generator=rng),
            ALEXNET,
            (110, 75),
            (333, 250),
        )
        detections = find(heatmaps, thresholds=[0.3, 0.6])
        check_detections(detections, 5)
        assert (detections.boxes[:, 2] <= 250 + 1e-3).all()  # rescaling rounds
        assert (detections.boxes[:, 3] <= 333 + 1e-3).all()


# --- predict_heatmaps -----------------------------------------------------------------------------


def head(geometry: Geometry = SMALL, **options: Any) -> LocalizerHead:
    """A head whose map is its input."""
    settings = LocalizerSettings(**options)
    return LocalizerHead(nn.Identity(), nn.Sequential(), geometry, settings).eval()


def row(*values: float) -> Tensor:
    """One class, one row."""
    return torch.tensor([[values]], dtype=torch.float32)


def test_one_view_gives_its_own_map() -> None:
    predicted = predict_heatmaps(head(), row(1, 2, 4)[None], (3, 11), (6, 22))
    assert predicted.logits.tolist() == row(1, 2, 4).tolist()
    assert predicted.image_logits.tolist() == [4]
    assert predicted.geometry == SMALL
    assert (predicted.network_size, predicted.image_size) == ((3, 11), (6, 22))


def test_two_views_give_the_mean_of_the_upright_and_the_flipped_map() -> None:
    views = torch.stack([row(1, 2, 4), row(0, 6, 3)])
    predicted = predict_heatmaps(head(), views, (3, 11), (3, 11))  # 11 pixels: cells coincide
    assert predicted.logits.tolist() == [[[(1 + 3) / 2, (2 + 6) / 2, (4 + 0) / 2]]]


def test_image_logits_are_the_mean_of_the_views() -> None:
    views = torch.stack([row(1, 2, 4), row(0, 6, 3)])
    predicted = predict_heatmaps(head(), views, (3, 11), (3, 11))
    assert predicted.image_logits.tolist() == [(4 + 6) / 2]


def test_cells_in_the_padding_are_cut_off() -> None:
    padded = torch.tensor([[[[1.0, 2.0, 99.0], [3.0, 4.0, 99.0], [99.0, 99.0, 99.0]]]])
    predicted = predict_heatmaps(head(), padded, (7, 7), (7, 7))  # the third begins at 7.5
    assert predicted.logits.tolist() == [[[1, 2], [3, 4]]]
    assert predicted.image_logits.tolist() == [4]


def test_the_flipped_view_is_turned_within_the_image_and_not_within_the_padding() -> None:
    views = torch.stack([row(0, 0, 99), row(8, 4, 99)])
    first_cell_at_the_border = head(Geometry(4, 0))
    predicted = predict_heatmaps(first_cell_at_the_border, views, (3, 6), (3, 6))
    # centers .5 and 4.5 are flipped to 5.5 and 1.5: beyond the second cell, and a quarter past
    # the first
    assert predicted.logits.tolist() == [[[(0 + 4) / 2, (0 + 8 * 3 / 4 + 4 * 1 / 4) / 2]]]


def test_no_gradient_is_kept() -> None:
    views = row(1, 2, 4)[None].requires_grad_()
    assert not predict_heatmaps(head(), views, (3, 11), (3, 11)).logits.requires_grad


def test_half_precision_maps_come_out_in_full_precision() -> None:
    views = row(1, 2, 4)[None].bfloat16()
    predicted = predict_heatmaps(head(), views, (3, 11), (3, 11))
    assert predicted.logits.dtype == predicted.image_logits.dtype == torch.float32


def test_cells_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="2 of 3 heatmap cells are not finite"):
        predict_heatmaps(head(), row(math.nan, math.inf, 0)[None], (3, 11), (3, 11))


def test_a_prediction_can_be_localized() -> None:
    predicted = predict_heatmaps(head(), row(0, 0, 4)[None], (3, 11), (3, 22))
    # the third cell covers 7.5 to 11.5 of the 11 pixels; the original is twice as wide
    assert find(predicted).boxes.tolist() == [[15, 0, 22, 3]]


# --- heatmap_overlap -----------------------------------------------------------------------------

COLD = -40.0
HOT_CELL = [23.5, 23.5, 39.5, 39.5]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (HOT_CELL, 1),
        ([23.5, 23.5, 31.5, 39.5], 0.5),  # half of the cell
        ([23.5, 23.5, 39.5, 55.5], 0.5),  # twice the cell
        ([31.5, 23.5, 47.5, 39.5], 1 / 3),  # shifted by half
        ([39.5, 23.5, 55.5, 39.5], 0),
        ([0.0, 0.0, 20.0, 20.0], 0),  # in the frame that no cell covers
    ],
)
def test_heatmap_of_one_cell_overlaps_like_its_square(box: list[float], expected: float) -> None:
    heatmaps = heatmap([[3.0, COLD, COLD], [COLD, COLD, COLD]])
    torch.testing.assert_close(
        heatmap_overlap(heatmaps, torch.tensor([box])), torch.tensor([[float(expected)]])
    )


def test_a_cell_counts_as_far_as_its_probability_reaches_the_hottest() -> None:
    heatmaps = heatmap([torch.tensor([0.5, 0.25]).logit().tolist()])
    both = torch.tensor([[23.5, 23.5, 55.5, 39.5]])
    assert heatmap_overlap(heatmaps, both).item() == pytest.approx((1 + 0.5) / 2)
    hot = torch.tensor([HOT_CELL])
    assert heatmap_overlap(heatmaps, hot).item() == pytest.approx(1 / 1.5)


def test_boxes_overlap_heatmap_in_the_frame_of_the_original() -> None:
    stretched = replace(heatmap([[3.0, COLD]]), image_size=(96 * 3, 96 // 2))
    box = torch.tensor([[23.5 / 2, 23.5 * 3, 39.5 / 2, 39.5 * 3]])
    assert heatmap_overlap(stretched, box).item() == pytest.approx(1)


def test_every_class_has_its_own_overlap_and_no_boxes_have_none() -> None:
    heatmaps = heatmap([[3.0, COLD]], [[COLD, 3.0]])
    boxes = torch.tensor([HOT_CELL])
    torch.testing.assert_close(heatmap_overlap(heatmaps, boxes), torch.tensor([[1.0, 0.0]]))
    assert heatmap_overlap(heatmaps, torch.zeros(0, 4)).shape == (0, 2)


def test_heatmap_that_is_improbable_everywhere_still_has_a_place() -> None:
    heatmaps = heatmap([[-200.0, -400.0]])
    assert heatmap_overlap(heatmaps, torch.tensor([HOT_CELL])).item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("objectness", "fit"),
    [(None, (1, 1)), ((0.25, 0.09), (1, 0.3 / 0.5)), ((-2.0, 1e-9), (1, 1)), ((0.0, 4.0), (0, 1))],
)
def test_of_proposals_that_overlap_a_heatmap_alike_the_likelier_object_fits_better(
    objectness: tuple[float, float] | None, fit: tuple[float, float]
) -> None:
    heatmaps = heatmap([[3.0, COLD]], [[COLD, 3.0]])
    scores = None if objectness is None else torch.tensor(objectness)
    proposals = Proposals(torch.tensor([HOT_CELL, HOT_CELL]), scores)

    found = fit_proposals(heatmaps, proposals)

    # the least objectness is .001, whose root is .03
    torch.testing.assert_close(found[:, 0], torch.tensor(fit).float(), atol=0.02, rtol=0)
    assert fit_proposals(heatmaps, proposals[:0]).shape == (0, 2)


def test_a_box_on_one_of_two_hills_agrees_with_it_and_a_box_around_both_with_none() -> None:
    heatmaps = heatmap([[3.0, COLD, 3.0]], [[3.0, 3.0, 3.0]])
    one, both = torch.tensor([HOT_CELL]), torch.tensor([[23.5, 23.5, 71.5, 39.5]])

    # class 0: half of the heat in the box, all of its hill; 2/3 of a box of three, one third
    torch.testing.assert_close(heatmap_agreement(heatmaps, one)[0, 0], torch.tensor(1 / 2))
    around = heatmap_agreement(heatmaps, both)[0]
    torch.testing.assert_close(around, torch.tensor([2 / 3 * (1 / 3) ** 0.5, 1.0]))
    assert heatmap_agreement(heatmaps, torch.zeros(0, 4)).shape == (0, 2)
