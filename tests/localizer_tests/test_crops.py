"""Five crops of an image: where they lie, and that the highest logit of them counts."""

import pytest
import torch
from torchvision.transforms.v2.functional import crop

from data.collate import pad_stack
from data.types import ImageBatch
from localizer.builders import build_localizer
from localizer.crops import five_crops, image_logits
from localizer.localize import predict_heatmaps
from localizer.loss import localizer_losses
from localizer.settings import LocalizerSettings

SIZES = torch.tensor([[96, 128], [80, 70]])
CORNERS = [[(0, 0), (0, 48), (16, 0), (16, 48), (8, 24)], [(0, 0), (0, 0), (0, 0), (0, 0), (0, 0)]]


@pytest.fixture
def images(rng: torch.Generator) -> torch.Tensor:
    """One of 96 x 128, one of 80 x 70, padded."""
    return pad_stack([torch.randn(3, *size, generator=rng) for size in SIZES.tolist()])


def test_crops_are_the_corners_and_the_center_without_padding(images: torch.Tensor) -> None:
    crops, sizes = five_crops(images, SIZES, 80)

    assert crops.shape == (10, 3, 80, 80)
    assert sizes.tolist() == [[80, 80]] * 5 + [[80, 70]] * 5
    for number, (top, left) in enumerate(corner for image in CORNERS for corner in image):
        image, (height, width) = images[number // 5], sizes[number].tolist()
        seen = crops[number]
        assert torch.equal(seen[:, :height, :width], crop(image, top, left, height, width))
        assert not seen[:, :, width:].any()


def test_sides_are_padded_to_the_multiple(images: torch.Tensor) -> None:
    crops, sizes = five_crops(images, SIZES, 80, multiple=32)
    assert crops.shape == (10, 3, 96, 96)
    assert sizes[0].tolist() == [80, 80]


def test_the_highest_logit_of_the_crops_is_the_images(images: torch.Tensor) -> None:
    model = build_localizer(LocalizerSettings("squeezenet1_1", pooling="mean"), 3).eval()

    with torch.inference_mode():
        logits = image_logits(model, images, SIZES, crop=80)
        for image, expected in enumerate(logits):
            own = [
                model.pool(
                    model(crop(images[image : image + 1], *corner, *sides)), torch.tensor([sides])
                )
                for corner in CORNERS[image]
                for sides in [[80, 80] if image == 0 else [80, 70]]
            ]
            # The narrow image is padded in the batch: its last cells see zeros beside it.
            torch.testing.assert_close(expected, torch.cat(own).amax(dim=0), atol=0.05, rtol=0.05)


def test_heatmaps_stay_those_of_the_whole_image_and_the_loss_is_of_the_crops(
    images: torch.Tensor,
) -> None:
    model = build_localizer(LocalizerSettings("squeezenet1_1", pooling="mean"), 3).eval()
    views = images[:1]

    whole = predict_heatmaps(model, views, (96, 128), (96, 128))
    seen = predict_heatmaps(model, views, (96, 128), (96, 128), crop=80)
    batch = ImageBatch(("a",), views, SIZES[:1], torch.ones(1, 3), torch.ones(1, 3))
    losses, scores = localizer_losses(model, batch, crop=80)

    assert torch.equal(whole.logits, seen.logits)
    assert not torch.equal(whole.image_logits, seen.image_logits)
    torch.testing.assert_close(scores[0], seen.image_logits.sigmoid())
    torch.testing.assert_close(losses["image_label"], -scores.log().mean(), check_dtype=False)
