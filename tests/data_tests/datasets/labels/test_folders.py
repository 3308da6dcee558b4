"""A folder for each class."""

from collections.abc import Callable
from pathlib import Path

from data.datasets.folder import FolderSource

Save = Callable[..., Path]


def test_the_folder_of_an_image_is_its_class_and_the_others_are_absent(save: Save) -> None:
    source = FolderSource(save("hot dog/1.jpg", "cat/1.jpg", "cat/2.png"), "folders")
    assert source.form == "a folder for each class"
    assert source.classes == ("cat", "hot dog")
    assert source.ids("all") == ["cat/1.jpg", "cat/2.png", "hot dog/1.jpg"]
    dataset = source.open("all")
    assert dataset.targets.tolist() == [[1, 0], [1, 0], [0, 1]]
    assert dataset.weights.min() == 1


def test_folders_of_splits_above_the_classes_are_the_splits(save: Save) -> None:
    source = FolderSource(save("train/cat/1.jpg", "valid/cat/2.jpg", "test/dog/1.jpg"), "folders")
    assert source.form == "a folder for each class in folders of splits"
    assert source.classes == ("cat", "dog")
    assert source.ids("train") == ["train/cat/1.jpg"]
    assert source.ids("val") == source.ids("valid") == ["valid/cat/2.jpg"]
    assert source.ids("test") == ["test/dog/1.jpg"]


def test_images_elsewhere_are_problems_and_no_classes(save: Save) -> None:
    folder = save("cat/1.jpg", "2.jpg", "dog/puppies/3.jpg", "train/4.jpg")
    source = FolderSource(folder, "folders")
    assert [(p.where.name, p.what) for p in source.content.problems] == [
        ("2.jpg", "lies in no folder of a class"),
        ("3.jpg", "lies in dog/puppies"),
        ("4.jpg", "lies in train"),
    ]
    assert source.classes == ("cat",)


def test_folders_are_no_classes_unless_they_are_asked_for(save: Save) -> None:
    source = FolderSource(save("cat/1.jpg", "dog/2.jpg"))
    assert source.classes == ()
    assert list(source.splits) == ["all"]
