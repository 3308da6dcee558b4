"""Which splits are taken when none is named, whatever the form of the images."""

from pathlib import Path

import pytest

from data.datasets.folder import FolderSource
from data.datasets.source import Source
from data.datasets.sources import chosen_split
from data.datasets.voc import VOCSource


def labeled(folder: Path, *splits: str) -> Source:
    """Ten images; with splits in the labels, or the fifth of them that is drawn."""
    lines = [f"{k}.jpg,{'cat' * (k % 2)},{splits[k % len(splits)]}" for k in range(10) if splits]
    lines = lines or [f"{k}.jpg,{'cat' * (k % 2)}" for k in range(10)]
    header = "image,labels,split" if splits else "image,labels"
    (folder / "labels.csv").write_text("\n".join([header, *lines]))
    return FolderSource(folder, folder / "labels.csv")


def unlabeled(folder: Path) -> Source:
    (folder / "a.jpg").write_bytes(b"")
    return FolderSource(folder)


def voc(folder: Path, *lists: str) -> Source:
    main = folder / "VOC2007" / "ImageSets" / "Main"
    main.mkdir(parents=True)
    for name in lists:
        (main / f"{name}.txt").write_text("a\n")
    return VOCSource(folder)


VOC = ("trainval", "test", "val", "train")


@pytest.mark.parametrize(
    ("named", "validation", "expected"),
    [
        ("test", "night", "test"),
        ("nowhere", "", "nowhere"),  # refused where it is opened, with those that exist
        ("", "", "val"),
        ("", None, "val"),
        ("", "test", "test"),
        ("", "night", "val"),  # the run's own images had it, these have not
    ],
)
@pytest.mark.parametrize("form", ["labeled", "voc"])
def test_the_named_split_is_taken_else_the_runs_validation_else_val(
    form: str, named: str, validation: str | None, expected: str, tmp_path: Path
) -> None:
    of_folder = form == "labeled"
    source = labeled(tmp_path, "train", "val", "test") if of_folder else voc(tmp_path, *VOC)

    assert chosen_split(named, validation, source) == expected


def test_images_without_labels_are_all_taken_and_a_list_that_is_alone_too(tmp_path: Path) -> None:
    photographs, alone = tmp_path / "photographs", tmp_path / "alone"
    photographs.mkdir()

    assert chosen_split("", "val", unlabeled(photographs)) == "all"
    assert chosen_split("val", "", unlabeled(photographs)) == "val"
    assert chosen_split("", "", voc(alone, "test")) == "test"


def test_images_that_have_other_splits_than_val_are_not_guessed_from(tmp_path: Path) -> None:
    source = labeled(tmp_path, "train", "test")

    split = chosen_split("", "", source)
    with pytest.raises(ValueError, match="no split 'val'; there are all, train, test, trainval"):
        source.ids(split)


def test_a_run_alone_is_enough_where_no_images_are_opened() -> None:
    assert chosen_split("", "night") == "night"
    assert chosen_split("", "") == "val"


def test_the_names_of_voc_s_lists_are_those_of_images(tmp_path: Path) -> None:
    source = voc(tmp_path, *VOC, "night")
    (tmp_path / "VOC2007" / "ImageSets" / "Main" / "cat_val.txt").write_text("a 1\nb -1\n")

    assert source.split_names == ("train", "val", "trainval", "test", "night")
