"""VOC's lists of a class as labels, of a folder of images or of VOC's layout."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from data.datasets.folder import FolderSource
from data.datasets.voc import VOCSource

Save = Callable[..., Path]

LISTS = {
    "cat_train": "a  1\nb -1\n",
    "cat_val": "c  0\n",
    "cat_trainval": "a  1\nb -1\nc  0\n",
    "polar_bear_train": "a -1\r\nb  1\r\n",
    "polar_bear_val": "c  1",
}


def write(folder: Path, lists: Mapping[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in lists.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def test_lists_beside_a_folder_of_images_are_its_labels_and_splits(
    save: Save, tmp_path: Path
) -> None:
    source = FolderSource(save("a.jpg", "b.jpg", "c.png"), write(tmp_path / "Main", LISTS))
    assert source.form == "Main: a list for each class, no boxes"
    assert source.classes == ("cat", "polar_bear")
    assert source.ids("train") == ["a.jpg", "b.jpg"]
    assert source.ids("trainval") == ["a.jpg", "b.jpg", "c.png"]
    dataset = source.open("all")
    assert dataset.targets.tolist() == [[1, 0], [0, 1], [0, 1]]
    assert dataset.weights.tolist() == [[1, 1], [1, 1], [0, 1]]


@pytest.fixture
def voc(save: Save, tmp_path: Path) -> Path:
    """A layout of VOC without annotations."""
    home = tmp_path / "devkit" / "VOC2007"
    write(home / "ImageSets" / "Main", {**LISTS, "train": "a\nb", "val": "c"})
    (home / "JPEGImages").symlink_to(save("a.jpg", "b.jpg", "c.jpg"), target_is_directory=True)
    return home.parent


@pytest.mark.parametrize(
    ("policy", "target", "weight"), [("ignore", 0, 0), ("positive", 1, 1), ("negative", 0, 1)]
)
def test_voc_without_annotations_has_the_labels_of_its_lists(
    voc: Path, policy: str, target: float, weight: float
) -> None:
    source = VOCSource(voc, ["cat", "polar_bear"], difficult=policy)  # type: ignore[arg-type]
    assert source.form == "class lists, no boxes"
    assert source.open("train").targets.tolist() == [[1, 0], [0, 1]]
    dataset = source.open("val")
    assert dataset.targets.tolist() == [[target, 1]]
    assert dataset.weights.tolist() == [[weight, 1]]
    assert dataset.annotations[0].boxes.shape == (0, 4)
    assert dataset.annotations[0].image_size == (50, 100)


def test_a_scan_counts_images_and_difficult_ones(voc: Path) -> None:
    scan = VOCSource(voc, ["cat", "polar_bear"]).scan()
    assert scan.problems == []
    assert list(scan.splits) == ["train", "val", "trainval"]  # the last is in lists of classes
    assert scan.objects["c"] == {("polar_bear", False): 1, ("cat", True): 1}


def test_one_annotation_is_enough_for_lists_to_be_left_alone(voc: Path) -> None:
    (voc / "VOC2007" / "Annotations").mkdir()
    (voc / "VOC2007" / "Annotations" / "z.xml").write_text("<annotation/>")
    with pytest.raises(FileNotFoundError, match=r"a\.xml: no annotation"):
        VOCSource(voc, ["cat", "polar_bear"]).open("train")


def test_a_class_without_a_list_is_not_taken_for_absent(voc: Path) -> None:
    with pytest.raises(ValueError, match=r"no list of aeroplane.*; there are lists of cat \(--cl"):
        VOCSource(voc).open("train")


def test_the_list_of_a_class_is_no_list_of_images(voc: Path) -> None:
    with pytest.raises(ValueError, match=r"cat_train\.txt: .* 1, 0 or -1 \(--split train lists"):
        VOCSource(voc, ["cat"]).ids("cat_train")


def test_names_that_end_in_a_number_are_names_where_such_images_are(
    voc: Path, save: Save, tmp_path: Path
) -> None:
    save("frame 0.jpg", "frame 1.png")
    write(voc / "VOC2007" / "ImageSets" / "Main", {"test": "frame 0\nframe 1"})
    source = VOCSource(voc, ["cat"])
    assert source.ids("test") == ["frame 0", "frame 1"]
    assert "test" in source.scan().splits


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"cat_trainval": "a -1\nb -1\nc 0"}, "a is -1 here and 1 in another list"),
        ({"cat_train": "a 1"}, None),  # the other list of the class has it
        ({"polar_bear_val": "a 1"}, "the lists of polar_bear lack 1 images: c"),
        ({"cat_test": "b -1"}, "b is in test and train and trainval"),
    ],
)
def test_lists_that_contradict_each_other_are_problems(
    save: Save, tmp_path: Path, change: dict[str, str], what: str | None
) -> None:
    folder = write(tmp_path / "Main", LISTS | change)
    found = FolderSource(save("a.jpg", "b.jpg", "c.jpg"), folder).content.problems
    assert (what in [p.what for p in found]) if what else not found
