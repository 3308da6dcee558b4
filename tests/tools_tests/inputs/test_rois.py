"""Proposals as rois of the samples that a detector takes, and as a file holds them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from data.datasets.image_set import ImageSet
from data.datasets.voc import VOCSource
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import ImageBatch, ImageSample, Proposals
from localizer.backbones import BACKBONES
from tests.worlds import training_batches, write_proposals
from tools.inputs.rois import (
    ArrivingProposals,
    WithProposals,
    read_proposals,
    warn_of_scores,
)
from tools.inputs.samples import PixelSamples
from tools.models.device import Device
from wsddn.settings import DetectorSettings

CPU = Device("cpu", "off")
NO_BOXES = torch.zeros(0, 4)


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
    proposals = {"b": Proposals(BOXES_OF_B, None), "a": Proposals(BOX_OF_A, SCORES_OF_A)}
    return WithProposals(Blank(), proposals, [(35, 100), (36, 200)])


@pytest.fixture
def dataset(tiny_voc: Path) -> ImageSet:
    return VOCSource(tiny_voc, classes=SYNTHETIC_CLASSES).open("val")


def rois_of(sample: ImageSample) -> Proposals:
    assert sample.rois is not None
    return sample.rois


@pytest.mark.parametrize(
    ("index", "flipped", "boxes"),
    [
        (0, False, [[5.0, 0.0, 15.0, 18.0]]),  # 50 / 100 and 18 / 35
        (0, True, [[35.0, 0.0, 45.0, 18.0]]),
        (1, False, [[10.0, 5.0, 20.0, 18.0], [0.0, 0.0, 50.0, 18.0]]),  # 50 / 200 and 18 / 36
        (1, True, [[30.0, 5.0, 40.0, 18.0], [0.0, 0.0, 50.0, 18.0]]),
    ],
)
def test_rois_are_the_images_proposals_scaled_on_each_axis_and_flipped_with_their_scores(
    index: int, flipped: bool, boxes: list[list[float]], proposed: WithProposals
) -> None:
    rois = rois_of(proposed.sample(index, flipped=flipped))

    torch.testing.assert_close(rois.boxes, torch.tensor(boxes))
    if index == 0:
        assert rois.scores is not None
        assert rois.scores.equal(SCORES_OF_A)
    else:
        assert rois.scores is None


@pytest.mark.parametrize("flipped", [False, True])
def test_an_image_of_no_proposals_has_no_rois_and_a_missing_one_is_named(flipped: bool) -> None:
    nothing = {"a": Proposals(NO_BOXES, torch.zeros(0))}
    samples = WithProposals(Blank(), nothing, [(35, 100), (36, 200)])

    assert rois_of(samples.sample(0, flipped=flipped)).boxes.shape == (0, 4)
    with pytest.raises(KeyError, match="'b'"):
        samples.sample(1, flipped=flipped)


def test_batches_hold_the_rois_of_their_images(proposed: WithProposals) -> None:
    assert (len(proposed), proposed.multiple) == (2, 7)
    (batch,) = training_batches(
        [proposed], seed=0, epoch=0, first=0, batch_size=2, flip=False, workers=0
    )
    prepared = proposed.prepare(batch, CPU)

    numbers = dict(zip(prepared.image_ids, map(len, (r.boxes for r in prepared.rois)), strict=True))
    assert numbers == {"a": 1, "b": 2}


def test_a_flipped_roi_shows_what_the_upright_one_shows(dataset: ImageSet) -> None:
    images = PixelSamples(dataset, BACKBONES["squeezenet1_1"], 64, "longest_side")
    sizes = [annotation.image_size for annotation in dataset.annotations]
    size = images.sample(0, flipped=False).network_size
    ratio = torch.tensor([size[1] / sizes[0][1], size[0] / sizes[0][0]]).repeat(2)
    boxes = torch.tensor([[8.0, 4.0, 24.0, 20.0]]) / ratio  # whole pixels of the network image
    samples = WithProposals(images, {dataset.ids[0]: Proposals(boxes, None)}, sizes)

    regions = []
    for flipped in (False, True):
        sample = samples.sample(0, flipped=flipped)
        x1, y1, x2, y2 = rois_of(sample).boxes[0].round().int().tolist()
        regions.append(sample.image[:, y1:y2, x1:x2])

    assert regions[0].shape == (3, 16, 16)
    assert regions[1].flip(-1).equal(regions[0])


# Files of proposals

LARGE, SMALL, NARROW = [0.0, 0.0, 60.0, 60.0], [0.0, 0.0, 30.0, 30.0], [0.0, 0.0, 19.0, 90.0]
THREE = Proposals(torch.tensor([NARROW, LARGE, SMALL]), torch.tensor([0.75, 0.5, 0.25]))


def test_proposals_of_a_split_are_read_with_their_scores_from_a_file_with_more_images(
    dataset: ImageSet, tmp_path: Path
) -> None:
    other = Proposals(torch.tensor([[0.0, 0.0, 9999.0, 9999.0]]), None)
    path = write_proposals(
        tmp_path / "p.npz", {"other": other, **dict.fromkeys(dataset.ids, THREE)}
    )

    proposals = read_proposals([path], dataset, min_size=0, max_proposals=10)

    assert list(proposals) == dataset.ids
    for of_image in proposals.values():
        assert of_image.boxes.tolist() == [NARROW, LARGE, SMALL]
        assert of_image.scores is not None
        assert of_image.scores.tolist() == [0.75, 0.5, 0.25]
    limited = read_proposals([path], dataset, min_size=20, max_proposals=1)
    assert all(of_image.boxes.tolist() == [LARGE] for of_image in limited.values())


@pytest.mark.parametrize(
    ("min_size", "count", "boxes"),
    [
        (19, 10, [NARROW, LARGE, SMALL]),
        (20, 10, [LARGE, SMALL]),
        (31, 10, [LARGE]),
        (20, 1, [LARGE]),
        (61, 10, []),
    ],
)
def test_the_first_with_both_sides_of_the_least_size_are_kept(
    min_size: int, count: int, boxes: list[list[float]]
) -> None:
    given = [THREE, Proposals(THREE.boxes, None), Proposals(NO_BOXES, None)]

    limited = ArrivingProposals("abc", iter(given), min_size=min_size, max_proposals=count)

    assert limited["a"].boxes.tolist() == limited["b"].boxes.tolist() == boxes
    assert limited["a"].boxes.shape == (len(boxes), 4)
    assert limited["b"].scores is None
    assert limited["c"].boxes.shape == (0, 4)


def test_proposals_in_the_making_are_waited_for_as_far_as_they_are_asked_for() -> None:
    made = list[str]()

    def coming() -> Iterator[Proposals]:
        for name in "abc":
            made.append(name)
            yield THREE

    arriving = ArrivingProposals("abc", coming(), min_size=0, max_proposals=9)
    assert list(arriving) == ["a", "b", "c"]
    assert made == []
    assert arriving["b"].boxes.equal(arriving["a"].boxes)
    assert made == ["a", "b"]
    assert arriving.get("d") is None
    assert len(arriving) == 3


def test_proposals_that_fail_are_an_error_when_they_are_asked_for() -> None:
    def coming() -> Iterator[Proposals]:
        yield THREE
        raise ValueError("b.jpg: the image does not decode")

    arriving = ArrivingProposals("ab", coming(), min_size=0, max_proposals=9)
    assert len(arriving["a"].boxes) == 3
    with pytest.raises(ValueError, match=r"b\.jpg: the image does not decode"):
        arriving["b"]


def leave_two_out(dataset: ImageSet, path: Path) -> str:
    missing = [dataset.ids[1], dataset.ids[4]]
    ids = [image_id for image_id in dataset.ids if image_id not in missing]
    write_proposals(path, dict.fromkeys(ids, THREE))
    return f": no proposals of {', '.join(missing)} "


def leave_an_image(dataset: ImageSet, path: Path) -> str:
    height, width = dataset.annotations[2].image_size
    outside = Proposals(torch.tensor([[0.0, 0.0, width, height + 1.0], LARGE]), None)
    write_proposals(path, dict.fromkeys(dataset.ids, THREE) | {dataset.ids[2]: outside})
    return f": image {dataset.ids[2]}: 50% of the boxes leave {width}x{height}: row 0"


def write_something_else(dataset: ImageSet, path: Path) -> str:
    path.write_bytes(b"something else")
    return ": not a file of proposals"


@pytest.mark.parametrize("spoil", [leave_two_out, leave_an_image, write_something_else])
def test_a_file_that_is_not_one_of_these_images_is_refused_by_its_name_and_theirs(
    spoil: Callable[[ImageSet, Path], str], dataset: ImageSet, tmp_path: Path
) -> None:
    path = tmp_path / "p.npz"
    with pytest.raises(FileNotFoundError, match=str(path)):
        read_proposals([path], dataset, min_size=0, max_proposals=10)

    with pytest.raises(ValueError, match=f"{path}{spoil(dataset, path)}"):
        read_proposals([path], dataset, min_size=0, max_proposals=10)


@pytest.mark.parametrize(
    ("scores", "problem"),
    [
        ([[40.0], [0.5]], "up to 40 (0.25 scales them)"),
        ([[0.5], [-0.25]], "negative, down to -0.25 (shift those of the file)"),
        ([[0.5], None], "not known in 1 of 2 images"),
        (
            [[2.0], None],
            "up to 2 (5 scales them), not known in 1 of 2 images",
        ),
        ([[0.0], [1.0]], ""),
        ([[], []], ""),
        ([], ""),
    ],
)
def test_scores_that_multiply_features_and_are_no_fractions_are_named_in_one_warning(
    scores: list[list[float] | None], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    proposals = {
        str(number): Proposals(
            BOX_OF_A[: 1 if row is None else len(row)], None if row is None else torch.tensor(row)
        )
        for number, row in enumerate(scores)
    }
    warning = "warning: p.npz: scores of proposals multiply features as if they were in 0 .. 1 "
    warning += f"(--model.box-score 10; 0 turns it off); they are {problem}\n"

    warn_of_scores(Path("p.npz"), proposals, DetectorSettings(box_score=10))
    assert capsys.readouterr().err == (warning if problem else "")
    warn_of_scores(Path("p.npz"), proposals, DetectorSettings(box_score=0))
    assert capsys.readouterr().err == ""
