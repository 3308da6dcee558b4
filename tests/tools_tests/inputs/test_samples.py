"""What a model is fed: images in batches, and the cached features of a frozen backbone."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from data.datasets.voc import VOCDataset
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import ImageBatch, ImageSample, Proposals
from localizer.backbones import BACKBONES
from localizer.builders import build_localizer
from localizer.model import Localizer
from tests.tools_tests.conftest import write_proposals
from tools.inputs.features import FeatureSamples
from tools.inputs.rois import WithProposals, limit_proposals, read_proposals
from tools.inputs.samples import PixelSamples, both_views, training_batches
from tools.models.device import Device

CPU = Device("cpu", "off")


@pytest.fixture
def dataset(tiny_voc: Path) -> VOCDataset:
    return VOCDataset(tiny_voc, "val", classes=SYNTHETIC_CLASSES)


@pytest.fixture
def images(dataset: VOCDataset) -> PixelSamples:
    return PixelSamples(dataset, BACKBONES["squeezenet1_1"], 64, "longest_side")


@pytest.fixture
def model(rng: torch.Generator) -> Localizer:
    return build_localizer("squeezenet1_1", len(SYNTHETIC_CLASSES)).eval()


def batches_of(samples: PixelSamples | FeatureSamples, workers: int = 0) -> list[ImageBatch]:
    return list(
        training_batches(
            [samples], seed=1, epoch=2, first=1, batch_size=2, flip=True, workers=workers
        )
    )


# Images


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_same_batches(workers: int, images: PixelSamples) -> None:
    batches = batches_of(images, workers)

    for one, other in zip(batches, batches_of(images), strict=True):
        assert one.image_ids == other.image_ids
        assert one.images.equal(other.images)
        assert one.sizes.equal(other.sizes)
        assert one.targets.equal(other.targets)


def test_an_image_keeps_its_proportions_or_becomes_square(
    dataset: VOCDataset, images: PixelSamples
) -> None:
    height, width = dataset.annotations[0].image_size
    longest = max(height, width)
    square = PixelSamples(dataset, BACKBONES["alexnet"], 64, "square").sample(0, flipped=False)

    sample = images.sample(0, flipped=False)

    assert sample.network_size == (round(64 * height / longest), round(64 * width / longest))
    assert tuple(sample.image.shape[1:]) == sample.network_size
    assert square.network_size == tuple(square.image.shape[1:]) == (64, 64)


def test_a_flipped_sample_is_the_upright_one_from_right_to_left(
    images: PixelSamples,
) -> None:
    upright, flipped = (images.sample(0, flipped=flag) for flag in (False, True))

    assert flipped.image.equal(upright.image.flip(-1))
    assert flipped.targets.equal(upright.targets)


def test_padding_is_zero_after_normalizing(images: PixelSamples) -> None:
    batch = next(batch for batch in batches_of(images) if len(set(batch.sizes[:, 0])) > 1)
    lower = int(batch.sizes[:, 0].argmin())
    height = int(batch.sizes[lower, 0])

    prepared = images.prepare(batch, CPU)

    assert prepared.images.dtype == torch.float32
    assert (prepared.images[lower, :, height:] == 0).all()
    assert (prepared.images[lower, :, :height] != 0).any()


def test_both_views_are_one_batch_with_the_upright_one_first(images: PixelSamples) -> None:
    pair = both_views(images, 1, CPU)

    assert pair.image_ids == (images.dataset.ids[1],) * 2
    assert pair.images[1].equal(pair.images[0].flip(-1))


# Several sizes


def test_each_batch_has_one_size_and_training_sees_all(dataset: VOCDataset) -> None:
    scales = [PixelSamples(dataset, BACKBONES["alexnet"], size, "square") for size in (48, 64)]

    def sizes(epoch: int, first: int = 0) -> list[int]:
        batches = training_batches(
            scales, seed=1, epoch=epoch, first=first, batch_size=2, flip=True, workers=0
        )
        return [batch.images.shape[-1] for batch in batches]

    epochs = [sizes(epoch) for epoch in range(8)]
    assert {size for epoch in epochs for size in epoch} == {48, 64}
    assert len({tuple(epoch) for epoch in epochs}) > 2
    assert all(sizes(epoch, first=1) == epochs[epoch][1:] for epoch in range(8))


# Proposals


@dataclass(frozen=True)
class Blank:
    """Images a and b, of which a network sees 18 rows of 50 pixels."""

    multiple: int = 7

    def __len__(self) -> int:
        return 2

    def sample(self, index: int, *, flipped: bool) -> ImageSample:
        image = torch.zeros(3, 18, 50, dtype=torch.uint8)
        return ImageSample("ab"[index], image, torch.zeros(1), torch.ones(1), (18, 50))

    def prepare(self, batch: ImageBatch, device: Device) -> ImageBatch:
        return device.move(batch)


BOX_OF_A, SCORES_OF_A = torch.tensor([[10.0, 0.0, 30.0, 35.0]]), torch.tensor([0.5])
BOXES_OF_B = torch.tensor([[40.0, 10.0, 80.0, 36.0], [0.0, 0.0, 200.0, 36.0]])


@pytest.fixture
def proposed() -> WithProposals:
    """Of an image of 35 rows of 100 pixels, and of one of 36 rows of 200."""
    found = {"b": Proposals(BOXES_OF_B, None), "a": Proposals(BOX_OF_A, SCORES_OF_A)}
    return WithProposals(Blank(), found, [(35, 100), (36, 200)])


def rois_of(sample: ImageSample) -> Proposals:
    assert sample.rois is not None
    return sample.rois


@pytest.mark.parametrize(
    ("index", "flipped", "rois"),
    [
        (0, False, [[5.0, 0.0, 15.0, 18.0]]),  # 50 / 100 and 18 / 35
        (0, True, [[35.0, 0.0, 45.0, 18.0]]),
        (1, False, [[10.0, 5.0, 20.0, 18.0], [0.0, 0.0, 50.0, 18.0]]),  # 50 / 200 and 18 / 36
        (1, True, [[30.0, 5.0, 40.0, 18.0], [0.0, 0.0, 50.0, 18.0]]),
    ],
)
def test_rois_are_the_images_own_proposals_scaled_on_each_axis_and_flipped_with_it(
    index: int, flipped: bool, rois: list[list[float]], proposed: WithProposals
) -> None:
    found = rois_of(proposed.sample(index, flipped=flipped))

    torch.testing.assert_close(found.boxes, torch.tensor(rois))


@pytest.mark.parametrize("flipped", [False, True])
def test_scores_go_with_the_rois_and_unknown_ones_stay_unknown(
    flipped: bool, proposed: WithProposals
) -> None:
    known, unknown = (rois_of(proposed.sample(index, flipped=flipped)) for index in range(2))

    assert known.scores is not None
    assert known.scores.equal(SCORES_OF_A)
    assert unknown.scores is None


@pytest.mark.parametrize("flipped", [False, True])
def test_an_image_of_no_proposals_has_no_rois(flipped: bool) -> None:
    nothing = {"a": Proposals(torch.zeros(0, 4), torch.zeros(0))}

    found = rois_of(WithProposals(Blank(), nothing, [(35, 100)]).sample(0, flipped=flipped))

    assert found.boxes.shape == (0, 4)


def test_an_image_whose_proposals_are_missing_is_named() -> None:
    samples = WithProposals(Blank(), {"a": Proposals(BOX_OF_A, None)}, [(35, 100), (36, 200)])

    with pytest.raises(KeyError, match="'b'"):
        samples.sample(1, flipped=False)


def test_number_and_multiple_are_those_of_the_samples(proposed: WithProposals) -> None:
    assert (len(proposed), proposed.multiple) == (2, 7)


def test_batches_hold_the_rois_of_their_images(proposed: WithProposals) -> None:
    (batch,) = training_batches(
        [proposed], seed=0, epoch=0, first=0, batch_size=2, flip=False, workers=0
    )
    prepared = proposed.prepare(batch, CPU)

    numbers = dict(zip(prepared.image_ids, map(len, (r.boxes for r in prepared.rois)), strict=True))
    assert numbers == {"a": 1, "b": 2}


def test_a_flipped_roi_shows_what_the_upright_one_shows(
    dataset: VOCDataset, images: PixelSamples
) -> None:
    sizes = [annotation.image_size for annotation in dataset.annotations]
    size = images.sample(0, flipped=False).network_size
    ratio = torch.tensor([size[1] / sizes[0][1], size[0] / sizes[0][0]]).repeat(2)
    boxes = torch.tensor([[8.0, 4.0, 24.0, 20.0]]) / ratio  # whole pixels of the network image
    samples = WithProposals(images, {dataset.ids[0]: Proposals(boxes, None)}, sizes)

    seen = []
    for flipped in (False, True):
        sample = samples.sample(0, flipped=flipped)
        x1, y1, x2, y2 = rois_of(sample).boxes[0].round().int().tolist()
        seen.append(sample.image[:, y1:y2, x1:x2])

    assert seen[0].shape == (3, 16, 16)
    assert seen[1].flip(-1).equal(seen[0])


# Files of proposals

LARGE, SMALL, NARROW = [0.0, 0.0, 60.0, 60.0], [0.0, 0.0, 30.0, 30.0], [0.0, 0.0, 19.0, 90.0]


def some_of(dataset: VOCDataset) -> dict[str, Proposals]:
    """The same three of every image."""
    boxes, scores = torch.tensor([NARROW, LARGE, SMALL]), torch.tensor([0.75, 0.5, 0.25])
    return {image_id: Proposals(boxes, scores) for image_id in dataset.ids}


def test_proposals_of_a_split_are_read_with_their_scores(
    dataset: VOCDataset, tmp_path: Path
) -> None:
    path = write_proposals(tmp_path / "p.npz", some_of(dataset))

    found = read_proposals(path, dataset, min_size=0, max_proposals=10)

    assert list(found) == dataset.ids
    for of_image in found.values():
        assert of_image.boxes.tolist() == [NARROW, LARGE, SMALL]
        assert of_image.scores is not None
        assert of_image.scores.tolist() == [0.75, 0.5, 0.25]


def test_boxes_with_a_side_below_the_least_size_are_left_out(
    dataset: VOCDataset, tmp_path: Path
) -> None:
    path = write_proposals(tmp_path / "p.npz", some_of(dataset))

    for size, boxes in ((19, [NARROW, LARGE, SMALL]), (20, [LARGE, SMALL]), (31, [LARGE])):
        found = read_proposals(path, dataset, min_size=size, max_proposals=10)
        assert all(of_image.boxes.tolist() == boxes for of_image in found.values())


def test_the_first_that_are_large_enough_are_kept(dataset: VOCDataset, tmp_path: Path) -> None:
    path = write_proposals(tmp_path / "p.npz", some_of(dataset))

    found = read_proposals(path, dataset, min_size=20, max_proposals=1)

    assert all(of_image.boxes.tolist() == [LARGE] for of_image in found.values())


def test_boxes_of_unknown_scores_are_limited_alike() -> None:
    unknown = {"a": Proposals(torch.tensor([NARROW, LARGE, SMALL]), None)}

    limited = limit_proposals(unknown, min_size=20, max_proposals=1)["a"]

    assert limited.boxes.tolist() == [LARGE]
    assert limited.scores is None


def test_an_image_of_small_boxes_only_keeps_none() -> None:
    small = {
        "a": Proposals(torch.tensor([SMALL]), torch.ones(1)),
        "b": Proposals(torch.zeros(0, 4), None),
    }

    limited = limit_proposals(small, min_size=50, max_proposals=10)

    assert [found.boxes.shape for found in limited.values()] == [(0, 4), (0, 4)]


def test_the_file_may_hold_more_images(dataset: VOCDataset, tmp_path: Path) -> None:
    others = {"other": Proposals(torch.tensor([[0.0, 0.0, 9999.0, 9999.0]]), None)}
    path = write_proposals(tmp_path / "p.npz", {**others, **some_of(dataset)})

    assert list(read_proposals(path, dataset, min_size=0, max_proposals=10)) == dataset.ids


def test_images_without_an_entry_in_the_file_are_named(dataset: VOCDataset, tmp_path: Path) -> None:
    found = some_of(dataset)
    missing = [dataset.ids[1], dataset.ids[4]]
    kept = {image_id: found[image_id] for image_id in dataset.ids if image_id not in missing}
    path = write_proposals(tmp_path / "p.npz", kept)

    with pytest.raises(ValueError, match=rf"p\.npz: no proposals of {', '.join(missing)} \("):
        read_proposals(path, dataset, min_size=0, max_proposals=10)


def test_a_box_outside_of_its_image_is_refused_by_the_images_name(
    dataset: VOCDataset, tmp_path: Path
) -> None:
    height, width = dataset.annotations[2].image_size
    found = some_of(dataset)
    outside = Proposals(torch.tensor([[0.0, 0.0, width, height + 1.0], LARGE]), None)
    path = write_proposals(tmp_path / "p.npz", {**found, dataset.ids[2]: outside})

    refusal = rf"p\.npz: image {dataset.ids[2]}: 50% of the boxes leave {width}x{height}: row 0"
    with pytest.raises(ValueError, match=refusal):
        read_proposals(path, dataset, min_size=0, max_proposals=10)


def test_a_file_of_something_else_is_refused(dataset: VOCDataset, tmp_path: Path) -> None:
    (tmp_path / "p.npz").write_bytes(b"something else")

    with pytest.raises(ValueError, match=r"p\.npz: not a file of proposals"):
        read_proposals(tmp_path / "p.npz", dataset, min_size=0, max_proposals=10)


def test_a_missing_file_is_refused(dataset: VOCDataset, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"p\.npz: no such file of proposals"):
        read_proposals(tmp_path / "p.npz", dataset, min_size=0, max_proposals=10)
