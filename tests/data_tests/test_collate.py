from dataclasses import replace

import pytest
import torch

from data.collate import collate_images, pad_stack
from data.types import ImageSample, Proposals


def sample(name: str, height: int, width: int, label: int = 0) -> ImageSample:
    targets = torch.zeros(3)
    targets[label] = 1
    weights = 1 - targets / 2
    image = torch.full((3, height, width), 9, dtype=torch.uint8)
    return ImageSample(name, image, targets, weights, (height, width))


def test_rows_keep_the_order_of_the_samples() -> None:
    batch = collate_images([sample("b", 2, 2, label=1), sample("a", 2, 2, label=2)])
    assert batch.image_ids == ("b", "a")
    assert batch.targets.tolist() == [[0, 1, 0], [0, 0, 1]]
    assert batch.weights.tolist() == [[1, 0.5, 1], [1, 1, 0.5]]


def test_sizes_are_those_without_padding() -> None:
    batch = collate_images([sample("a", 2, 5), sample("b", 4, 3)], multiple=8)
    assert batch.sizes.tolist() == [[2, 5], [4, 3]]
    assert batch.sizes.dtype == torch.int64


def test_features_travel_with_the_size_of_their_image() -> None:
    features = ImageSample("a", torch.zeros(7, 2, 3), torch.zeros(1), torch.ones(1), (64, 96))
    batch = collate_images([features])
    assert batch.images.shape == (1, 7, 2, 3)
    assert batch.sizes.tolist() == [[64, 96]]


def test_rois_keep_the_order_of_the_samples() -> None:
    rois = [Proposals(torch.zeros(2, 4), None), Proposals(torch.zeros(0, 4), torch.zeros(0))]
    samples = [replace(sample(name, 2, 2), rois=own) for name, own in zip("ba", rois, strict=True)]
    batch = collate_images(samples)
    assert len(batch.rois) == 2
    assert batch.rois[0] is rois[0]
    assert batch.rois[1] is rois[1]


def test_samples_without_rois_make_a_batch_without_any() -> None:
    assert collate_images([sample("a", 2, 2), sample("b", 2, 2)]).rois == ()


def test_no_samples_and_some_without_rois_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        collate_images([])
    with_rois = replace(sample("b", 2, 2), rois=Proposals(torch.zeros(2, 4), None))
    with pytest.raises(ValueError, match="1 of 2 samples have rois"):
        collate_images([sample("a", 2, 2), with_rois])


def test_smaller_images_are_padded_right_and_bottom() -> None:
    stacked = pad_stack([torch.ones(1, 1, 2), torch.ones(1, 2, 1)])
    assert stacked.tolist() == [[[[1, 1], [0, 0]]], [[[1, 0], [1, 0]]]]


@pytest.mark.parametrize(("multiple", "size"), [(1, (33, 64)), (32, (64, 64))])
def test_height_and_width_are_rounded_up_to_the_multiple(
    multiple: int, size: tuple[int, int]
) -> None:
    stacked = pad_stack([torch.ones(3, 33, 64, dtype=torch.uint8)] * 2, multiple=multiple)
    assert stacked.shape == (2, 3, *size)
    assert stacked.dtype == torch.uint8
