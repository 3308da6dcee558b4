"""Folders of images: splits by name, labels of each form as targets, refusals."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from data.datasets.folder import FolderSource
from data.datasets.labels.content import ImageLabels
from data.datasets.labels.names import find_images
from data.images import read_image
from tests.conftest import snapshot

IMAGES = [f"{number}.png" for number in range(20)]
ROWS = [f"{image},cat" for image in IMAGES]


def save(folder: Path, *images: str, size: tuple[int, int] = (8, 6)) -> Path:
    """Images of that width and height, each of another gray."""
    for number, image in enumerate(images):
        path = folder / image
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (10 * number,) * 3).save(path, format="PNG")
    return folder


def write(folder: Path, *lines: str | bytes, head: str = "image,labels") -> Path:
    """A labels file."""
    path = folder / "labels.csv"
    path.write_bytes(
        b"\n".join(line if isinstance(line, bytes) else line.encode() for line in (head, *lines))
    )
    return path


def splits_of(
    folder: Path, *lines: str, head: str = "image,labels", **options: Any
) -> dict[str, list[str]]:
    """Images by split of a labels file with these lines."""
    return FolderSource(folder, write(folder, *lines, head=head), **options).splits


def test_a_missing_file_or_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"labels\.csv: no such file or folder of labels"):
        FolderSource(tmp_path, tmp_path / "labels.csv")
    with pytest.raises(FileNotFoundError, match=r"/photographs: no such image or folder of images"):
        FolderSource(tmp_path / "photographs")
    with pytest.raises(FileNotFoundError, match=r": no images in it"):
        FolderSource(tmp_path).ids("all")


# --- folders without a labels file ---------------------------------------------------------------


def test_every_image_is_found_by_its_ending_and_sorted(tmp_path: Path) -> None:
    save(tmp_path, "b.PNG", "a/z 图.jpeg", "a/b/c.webp", ".hidden.gif")
    (tmp_path / "labels.csv").write_text("image,labels\n")
    (tmp_path / "notes.txt").write_text("")
    assert find_images(tmp_path) == [".hidden.gif", "a/b/c.webp", "a/z 图.jpeg", "b.PNG"]


def test_a_folder_named_like_an_image_is_only_searched(tmp_path: Path) -> None:
    save(tmp_path, "holiday.jpg/a.png")
    assert find_images(tmp_path) == ["holiday.jpg/a.png"]


def test_a_link_to_nothing_is_found_and_then_missing(tmp_path: Path) -> None:
    save(tmp_path, "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "gone.png")
    assert find_images(tmp_path) == ["a.png", "b.png"]
    with pytest.raises(FileNotFoundError, match=r"no such image: b\.png$"):
        FolderSource(tmp_path, classes=["cat"]).open("all")


def test_images_are_those_of_the_labels_file_or_without_one_all(tmp_path: Path) -> None:
    labels = write(save(tmp_path, "a.png", "b.png"), "b.png,cat")
    assert FolderSource(tmp_path, labels).rows == {"b.png": ImageLabels(("cat",))}
    assert FolderSource(tmp_path).ids("all") == ["a.png", "b.png"]


# --- splits --------------------------------------------------------------------------------------


def test_splits_of_other_names_and_rows_without_labels(tmp_path: Path) -> None:
    splits = splits_of(tmp_path, "0,,2023", "1,,2024", head="image,labels,split")
    assert list(splits) == ["all", "2023", "2024"]
    assert list(splits_of(tmp_path, "0,", "1,")) == ["all"]


def test_the_third_column_makes_the_splits(tmp_path: Path) -> None:
    lines = [f"{k},,{split}" for k, split in enumerate(["val", "train", "test", "val"])]
    assert splits_of(tmp_path, *lines, head="image,labels,split") == {
        "all": ["0", "1", "2", "3"],
        "val": ["0", "3"],
        "train": ["1"],
        "test": ["2"],
        "trainval": ["0", "1", "3"],
    }


@pytest.mark.parametrize(("fraction", "count"), [(0.2, 4), (0.25, 5), (0.33, 7), (0.95, 19)])
def test_without_a_column_the_fraction_of_val_is_exact(
    fraction: float, count: int, tmp_path: Path
) -> None:
    splits = splits_of(tmp_path, *ROWS, val_fraction=fraction)
    assert len(splits["val"]) == count
    assert len(splits["train"]) == 20 - count
    assert not set(splits["train"]) & set(splits["val"])
    assert splits["trainval"] == splits["all"] == IMAGES
    for members in splits.values():
        assert members == sorted(members, key=IMAGES.index)


def test_the_choice_depends_on_names_alone(tmp_path: Path) -> None:
    other = [f"{image},dog|cow" for image in reversed(IMAGES)]
    chosen, again = (set(splits_of(tmp_path, *lines)["val"]) for lines in (ROWS, other))
    assert chosen == again


def test_another_seed_is_another_choice(tmp_path: Path) -> None:
    choices = {tuple(splits_of(tmp_path, *ROWS, seed=seed)["val"]) for seed in range(10)}
    assert len(choices) > 5


def test_a_new_image_changes_the_split_of_at_most_one_other(tmp_path: Path) -> None:
    before = set(splits_of(tmp_path, *ROWS)["val"])
    after = set(splits_of(tmp_path, "new.png,cat", *ROWS)["val"])
    assert len(before - after) <= 1


def test_a_fraction_that_rounds_to_nothing_makes_no_split(tmp_path: Path) -> None:
    for fraction, split in ((0.2, "train"), (0.9, "val")):
        splits = splits_of(tmp_path, *ROWS[:2], val_fraction=fraction)
        assert list(splits) == ["all", split, "trainval"]


# --- the data set --------------------------------------------------------------------------------


def test_labels_follow_the_given_classes_and_no_labels_are_negative(tmp_path: Path) -> None:
    labels = write(save(tmp_path, "a.png", "b.png", size=(8, 6)), "a.png,dog", "b.png,")
    dataset = FolderSource(tmp_path, labels, classes=["dog", "yeti", "cat"]).open("all")
    assert dataset.targets.tolist() == [[1, 0, 0], [0, 0, 0]]
    assert dataset.weights.tolist() == [[1, 1, 1], [1, 1, 1]]
    for annotation in dataset.annotations:  # boxes are not known
        assert annotation.image_size == (6, 8)
        assert annotation.boxes.shape == (0, 4)
        assert len(annotation.labels) == len(annotation.difficult) == len(annotation.truncated) == 0


def test_classes_are_those_of_the_file_in_alphabetical_order(tmp_path: Path) -> None:
    labels = write(save(tmp_path, "a.png", "b.png"), "a.png,dog", "b.png,cat|dog")
    dataset = FolderSource(tmp_path, labels).open("all")
    assert dataset.classes == ("cat", "dog")
    assert dataset.targets.tolist() == [[0, 1], [1, 1]]
    assert dataset.weights.tolist() == [[1, 1], [1, 1]]


def test_a_sample_holds_the_pixels_and_labels_of_its_path(tmp_path: Path) -> None:
    save(tmp_path, "für später/图 1.png", "b.png", size=(8, 6))
    labels = write(tmp_path, "b.png,cat", "für später/图 1.png,dog")
    sample = FolderSource(tmp_path, labels).open("all")[1]
    assert sample.image_id == "für später/图 1.png"
    assert torch.equal(sample.image, read_image(tmp_path / "für später" / "图 1.png"))
    assert sample.targets.tolist() == [0, 1]
    assert sample.network_size == (6, 8)


def test_without_a_file_of_labels_every_target_and_weight_is_zero(tmp_path: Path) -> None:
    dataset = FolderSource(save(tmp_path, "b.png", "a.png"), classes=["cat", "dog"]).open("all")
    assert dataset.ids == ["a.png", "b.png"]
    assert dataset.targets.tolist() == dataset.weights.tolist() == [[0, 0], [0, 0]]


def test_a_data_set_holds_the_images_of_its_split(tmp_path: Path) -> None:
    labels = write(save(tmp_path, *IMAGES), *ROWS)
    source = FolderSource(tmp_path, labels, val_fraction=0.3, seed=5)
    for split, members in source.splits.items():
        dataset = source.open(split)
        assert dataset.ids == members
        assert dataset.split == split


def test_images_that_are_left_out_are_not_looked_at(tmp_path: Path) -> None:
    save(tmp_path, "a.png", "b.png")
    (tmp_path / "a.png").write_text("not an image")
    labels = write(tmp_path, "a.png,cat", "b.png,dog", "gone.png,cat")
    bad = [tmp_path / "a.png", tmp_path / "gone.png"]
    dataset = FolderSource(tmp_path, labels).open("all", leave_out=bad)
    assert dataset.ids == ["b.png"]
    assert dataset.classes == ("cat", "dog")  # labels do not depend on what is left out
    with pytest.raises(ValueError, match="all: no image is left"):
        FolderSource(tmp_path, labels).open("all", leave_out=[*bad, tmp_path / "b.png"])


def test_reading_through_links_changes_nothing(tmp_path: Path) -> None:
    save(tmp_path / "there", "a.png")
    (tmp_path / "there" / "b.png").symlink_to(tmp_path / "there" / "a.png")
    (tmp_path / "here").symlink_to(tmp_path / "there", target_is_directory=True)
    before = snapshot(tmp_path)
    dataset = FolderSource(tmp_path / "here", classes=["cat"]).open("all")
    assert dataset.ids == ["a.png", "b.png"]
    for index in range(2):
        assert torch.equal(dataset[index].image, read_image(tmp_path / "there" / "a.png"))
    assert snapshot(tmp_path) == before


# --- data sets that are refused ------------------------------------------------------------------


def test_an_unknown_class_is_refused_with_its_image(tmp_path: Path) -> None:
    labels = write(save(tmp_path, "a.png"), "a.png,cat", "b.png,yeti")
    with pytest.raises(ValueError, match=r"csv: b\.png: class 'yeti' is not one of cat, dog$"):
        FolderSource(tmp_path, labels, classes=["cat", "dog"]).open("train")


@pytest.mark.parametrize("is_labeled", [True, False])
def test_a_folder_without_any_class_is_refused(tmp_path: Path, is_labeled: bool) -> None:
    labels = write(save(tmp_path, "a.png"), "a.png,") if is_labeled else None
    with pytest.raises(ValueError, match=r": no classes \(no image has a label\)"):
        FolderSource(save(tmp_path, "a.png"), labels).open("all")


def test_an_unknown_split_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    labels = write(save(tmp_path, "a.png"), "a.png,cat,2023", head="image,labels,split")
    with pytest.raises(ValueError, match=r"csv: no split 'test'; there are all, 2023$"):
        FolderSource(tmp_path, labels).open("test")
    with pytest.raises(ValueError, match=r": no split 'val'; there are all"):
        FolderSource(tmp_path, classes=["cat"]).open("val")


def test_one_image_has_no_file_of_labels(tmp_path: Path) -> None:
    labels = write(save(tmp_path, "a.png"), "a.png,cat")
    assert FolderSource(tmp_path / "a.png", classes=["cat"]).open("all").ids == ["a.png"]
    with pytest.raises(ValueError, match=r"labels\.csv: labels are of a folder .*a\.png is one"):
        FolderSource(tmp_path / "a.png", labels)


def test_missing_images_are_listed(tmp_path: Path) -> None:
    labels = write(save(tmp_path, "a.png"), "x.png,cat", "a.png,cat", "y/z.png,cat")
    with pytest.raises(FileNotFoundError, match=r"no such image: x\.png, y/z\.png$"):
        FolderSource(tmp_path, labels).open("all")


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: path.write_bytes(b"<html></html>"), "the image does not decode"),
        (Path.mkdir, "not a regular file"),
    ],
)
def test_a_file_that_is_no_image_is_refused_by_name(
    tmp_path: Path, make: Callable[[Path], None], problem: str
) -> None:
    make(tmp_path / "b.png")
    labels = write(save(tmp_path, "a.png"), "a.png,cat", "b.png,cat")
    with pytest.raises(ValueError, match=rf"/b\.png: {problem}"):
        FolderSource(tmp_path, labels).open("all")


def test_an_image_that_breaks_off_is_refused_when_it_is_read(tmp_path: Path) -> None:
    labels = write(save(tmp_path, "a.png", size=(64, 64)), "a.png,cat")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[:-30])
    dataset = FolderSource(tmp_path, labels).open("all")
    with pytest.raises(ValueError, match=r"/a\.png: the image does not decode"):
        dataset[0]


def test_an_image_of_another_size_than_when_it_was_opened_is_refused(tmp_path: Path) -> None:
    labels = write(save(tmp_path, "a.png", size=(8, 6)), "a.png,cat")
    dataset = FolderSource(tmp_path, labels).open("all")
    save(tmp_path, "a.png", size=(6, 8))
    with pytest.raises(ValueError, match=r"a\.png: the image is 6x8, its annotation says 8x6"):
        dataset[0]
