"""Images that are read before they are asked for."""

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from data.datasets.voc import VOCSource
from data.synthetic.dataset import SYNTHETIC_CLASSES
from localizer.backbones import BACKBONES
from tools.inputs.ahead import ReadAhead, read_ahead
from tools.inputs.samples import PixelSamples, both_views
from tools.models.device import MOST_READERS, Device

CPU = Device("cpu", "off")


@pytest.fixture
def images(tiny_voc: Path) -> PixelSamples:
    dataset = VOCSource(tiny_voc, classes=SYNTHETIC_CLASSES).open("train")
    return PixelSamples(dataset, BACKBONES["squeezenet1_1"], 64, "longest_side")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often each image has been decoded; -1 counts those in the main thread."""
    counts, sample = Counter[int](), PixelSamples.sample

    def counted(self: PixelSamples, index: int, **options: Any) -> Any:
        counts[index] += 1
        counts[-1] += threading.current_thread() is threading.main_thread()
        return sample(self, index, **options)

    monkeypatch.setattr(PixelSamples, "sample", counted)
    return counts


@pytest.mark.parametrize(
    "order", [range(12), range(1, 12, 2), [3, 3, 4, 9, 0, 1, 11]], ids=["all", "a rank's", "any"]
)
def test_in_any_order_the_samples_are_the_same(order: Any, images: PixelSamples) -> None:
    ahead = ReadAhead(images, 3)
    assert len(ahead) == len(images)
    assert ahead.multiple == images.multiple
    for index in order:
        pair, expected = both_views(ahead, index, CPU), both_views(images, index, CPU)
        assert pair.images.equal(expected.images)
        assert pair.sizes.equal(expected.sizes)
        assert pair.image_ids == expected.image_ids


@pytest.mark.parametrize("step", [1, 2])
def test_each_image_is_decoded_once_by_a_thread_and_only_some_are_ahead(
    step: int, images: PixelSamples, decoded: Counter[int]
) -> None:
    ahead = ReadAhead(images, 2)
    for index in range(step - 1, 12, step):
        both_views(ahead, index, CPU)
        assert max(decoded) <= index + 2 * step
    assert decoded.pop(-1, 0) == 0
    assert decoded == Counter(range(step - 1, 12, step))


def test_an_image_that_does_not_decode_is_an_error_when_it_is_asked_for(
    images: PixelSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = PixelSamples.sample

    def failing(self: PixelSamples, index: int, **options: Any) -> Any:
        if index == 2:
            raise ValueError("c.jpg: the image does not decode")
        return sample(self, index, **options)

    monkeypatch.setattr(PixelSamples, "sample", failing)
    ahead = ReadAhead(images, 4)
    assert ahead.sample(1, flipped=False).image_id == images.dataset.ids[1]
    with pytest.raises(ValueError, match=r"c\.jpg: the image does not decode"):
        ahead.sample(2, flipped=False)
    assert ahead.sample(3, flipped=False).image_id == images.dataset.ids[3]


def test_a_cpu_reads_its_images_itself_and_others_share_the_cores_with_their_ranks(
    images: PixelSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_ahead(images, CPU) is images
    monkeypatch.setattr("tools.models.device.usable_cores", lambda: 16)
    assert Device("cuda", "off").readers == MOST_READERS
    assert isinstance(read_ahead(images, Device("cuda", "off")), ReadAhead)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert Device("cuda", "off").readers == 3
    monkeypatch.setattr("tools.models.device.usable_cores", lambda: 2)
    assert Device("cuda", "off").readers == 1
