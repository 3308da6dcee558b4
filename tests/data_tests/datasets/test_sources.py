"""Which splits are taken when none is named, whatever the form of the images."""

from pathlib import Path

import pytest

from data.datasets.folder import FolderSource
from data.datasets.source import Source
from data.datasets.sources import chosen_split, training_splits
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


# Training


@pytest.mark.parametrize(
    ("split", "val_split", "of_folder", "of_voc"),
    [
        ("", None, ("train", "val"), ("trainval", "")),
        ("", "none", ("trainval", ""), ("trainval", "")),
        ("", "", ("trainval", ""), ("trainval", "")),
        ("", "val", ("train", "val"), ("trainval", "val")),
        ("all", None, ("all", ""), ("all", "")),
        ("train", None, ("train", ""), ("train", "")),
        ("train", "val", ("train", "val"), ("train", "val")),
        ("train", "none", ("train", ""), ("train", "")),
    ],
)
def test_a_training_holds_out_val_of_a_folder_unless_it_is_told_otherwise(
    split: str,
    val_split: str | None,
    of_folder: tuple[str, str],
    of_voc: tuple[str, str],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "photographs"
    folder.mkdir()

    assert training_splits(split, val_split, labeled(folder)) == of_folder
    assert training_splits(split, val_split, voc(tmp_path, *VOC)) == of_voc


def test_labels_that_hold_out_nothing_are_refused_with_the_way_to_train_on_them(
    tmp_path: Path,
) -> None:
    source = labeled(tmp_path, "train", "test")

    with pytest.raises(ValueError, match=r"no split 'val' to validate on; .* \(--val-split none"):
        training_splits("", None, source)
    assert training_splits("", "none", source) == ("trainval", "")


def test_a_fifth_of_labeled_images_is_held_out(tmp_path: Path) -> None:
    source = labeled(tmp_path)

    learned, held_out = (set(source.ids(name)) for name in training_splits("", None, source))
    assert (len(learned), len(held_out)) == (8, 2)
    assert learned | held_out == set(source.ids("all"))
