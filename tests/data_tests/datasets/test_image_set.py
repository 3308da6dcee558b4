"""Some images of a split, with everything that belongs to them."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from data.datasets.image_set import ImageSet
from data.datasets.voc import VOCSource
from data.synthetic.dataset import SYNTHETIC_CLASSES

CHOSEN = [7, 2, 5]


@pytest.fixture
def dataset(tiny_voc: Path) -> ImageSet:
    return VOCSource(tiny_voc, classes=SYNTHETIC_CLASSES).open("train")


def test_a_subset_holds_the_chosen_images_in_their_order(dataset: ImageSet) -> None:
    part = dataset.subset(CHOSEN)

    assert len(part) == 3
    assert part.ids == [dataset.ids[index] for index in CHOSEN]
    assert part.paths == [dataset.paths[index] for index in CHOSEN]
    assert (part.split, part.classes) == (dataset.split, dataset.classes)
    assert part.subset([2]).ids == [dataset.ids[5]]  # numbers of the part


def test_annotations_and_labels_are_those_of_the_images(dataset: ImageSet) -> None:
    dataset.weights[2, 0] = 0
    part = dataset.subset(CHOSEN)

    for row, index in enumerate(CHOSEN):
        assert part.annotations[row] is dataset.annotations[index]
        assert part.targets[row].equal(dataset.targets[index])
        assert part.weights[row].equal(dataset.weights[index])
        assert part[row].image.equal(dataset[index].image)
    assert len({tuple(row) for row in part.targets.tolist()}) > 1


def test_a_subset_does_not_change_the_whole(dataset: ImageSet) -> None:
    ids, targets, weights = list(dataset.ids), dataset.targets.clone(), dataset.weights.clone()

    part = dataset.subset(CHOSEN)
    part.targets[:] = part.weights[:] = 0
    part.ids.clear()

    assert dataset.ids == ids
    assert len(dataset) == len(dataset.paths) == len(dataset.annotations) == 12
    assert dataset.targets.equal(targets)
    assert dataset.weights.equal(weights)


def test_a_subset_of_nothing_is_refused(dataset: ImageSet) -> None:
    with pytest.raises(ValueError, match="train: no image is left"):
        dataset.subset([])


def test_an_image_that_is_asked_for_again_at_once_is_decoded_once(
    tiny_voc: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(tiny_voc, tmp_path / "voc")
    dataset = VOCSource(root, classes=SYNTHETIC_CLASSES).open("train")
    first = dataset[0].image
    dataset.paths[0].unlink()

    assert dataset.subset([0])[0].image is first
    assert dataset[1].image is not first
    with pytest.raises(FileNotFoundError, match="no such image"):
        dataset.read(0)


def test_an_image_that_another_thread_reads_meanwhile_is_not_taken_for_it(
    dataset: ImageSet,
) -> None:
    class Interrupted(ImageSet):
        """Another image is read whenever one is about to be remembered."""

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if name == "_latest" and value and value[0][0] == self.paths[0]:
                self.read(1)

    first, second = dataset[0].image, dataset[1].image
    part = dataset.subset([0, 1])
    part.__class__ = Interrupted
    assert part.read(0).image.equal(first)
    assert part.read(1).image.equal(second)
