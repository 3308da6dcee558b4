"""Folders of images: the labels file line by line, splits by name, what is refused and how."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from data.datasets.folder import (
    FolderDataset,
    LabelRow,
    find_images,
    list_images,
    read_labels,
    splits_of,
)
from data.images import read_image
from tests.conftest import snapshot

ROWS = [LabelRow(f"{number}.png", ("cat",)) for number in range(20)]


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


def images(rows: list[LabelRow]) -> list[str]:
    return [row.image for row in rows]


# --- lines of a labels file ----------------------------------------------------------------------


def test_lines_are_read_in_their_order(tmp_path: Path) -> None:
    path = write(tmp_path, "b.jpg,cat", "a.jpg,dog|cat")
    assert read_labels(path) == [LabelRow("b.jpg", ("cat",)), LabelRow("a.jpg", ("dog", "cat"))]


def test_a_third_column_is_the_split(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jpg,cat,train", "b.jpg,,test", head="image,labels,split")
    assert read_labels(path) == [
        LabelRow("a.jpg", ("cat",), "train"),
        LabelRow("b.jpg", (), "test"),
    ]


def test_a_byte_order_mark_crlf_and_blank_lines_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(b"\xef\xbb\xbfimage,labels\r\n\r\na.jpg,cat\r\n   \r\n\r\nb.jpg,dog")
    assert images(read_labels(path)) == ["a.jpg", "b.jpg"]


def test_spaces_around_cells_and_classes_do_not_count(tmp_path: Path) -> None:
    path = write(tmp_path, " a b.jpg , cat | hot dog ", head=" image , labels ")
    assert read_labels(path) == [LabelRow("a b.jpg", ("cat", "hot dog"))]


def test_quoted_cells_may_hold_commas_and_quotes(tmp_path: Path) -> None:
    path = write(tmp_path, '"a,b.jpg","say ""miau"""')
    assert read_labels(path) == [LabelRow("a,b.jpg", ('say "miau"',))]


def test_letters_of_any_script_and_subfolders_work(tmp_path: Path) -> None:
    path = write(tmp_path, "2024/für später/图 1.jpg,猫|Bär")
    assert read_labels(path) == [LabelRow("2024/für später/图 1.jpg", ("猫", "Bär"))]


def test_no_labels_are_an_image_that_holds_none_of_the_classes(tmp_path: Path) -> None:
    assert read_labels(write(tmp_path, "a.jpg,", "b.jpg,  ")) == [
        LabelRow("a.jpg", ()),
        LabelRow("b.jpg", ()),
    ]


def test_a_label_twice_counts_once(tmp_path: Path) -> None:
    (row,) = read_labels(write(tmp_path, "a.jpg,dog|cat|dog"))
    assert row.labels == ("dog", "cat")


@pytest.mark.parametrize("image", ["./a/b.jpg", "a//b.jpg", "a/./b.jpg", "a\\b.jpg"])
def test_one_image_has_one_spelling(tmp_path: Path, image: str) -> None:
    assert images(read_labels(write(tmp_path, f"{image},cat"))) == ["a/b.jpg"]


# --- files of labels that are refused ------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        "",
        "image",
        "image;labels",
        "labels,image",
        "image,label",
        "Image,Labels",
        "image,labels,fold",
        "image,labels,split,note",
        "a.jpg,cat",
    ],
)
def test_another_head_is_refused(tmp_path: Path, head: str) -> None:
    path = write(tmp_path, "a.jpg,cat", head=head)
    with pytest.raises(ValueError, match=r"labels\.csv: the first line is image,labels or image,"):
        read_labels(path)


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n\r\n  \n"])
def test_an_empty_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"labels\.csv: the first line is image,labels"):
        read_labels(path)


def test_a_head_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"labels\.csv: no images are listed$"):
        read_labels(write(tmp_path, "", ""))


@pytest.mark.parametrize(
    ("head", "line", "what"),
    [
        ("image,labels", "a.jpg", "1 columns instead of 2"),
        ("image,labels", "a.jpg,cat,train", "3 columns instead of 2"),
        ("image,labels", "a.jpg,cat,dog,cow", "4 columns instead of 2"),
        ("image,labels,split", "a.jpg,cat", "2 columns instead of 3"),
        ("image,labels,split", "a.jpg,cat,", "the split is empty"),
        ("image,labels,split", "a.jpg,cat,all", "the split 'all' is every image already"),
        ("image,labels", ",cat", "'' is not a path below the folder"),
        ("image,labels", ",", "'' is not a path below the folder"),
        ("image,labels", "../a.jpg,cat", "'../a.jpg' is not a path below the folder"),
        ("image,labels", "b/../../a.jpg,cat", "'b/../../a.jpg' is not a path below"),
        ("image,labels", "..\\a.jpg,cat", r"'..\\\\a.jpg' is not a path below the folder"),
        ("image,labels", "\\\\server\\a.jpg,cat", "server.* is not a path below the folder"),
        ("image,labels", "/etc/passwd,cat", "'/etc/passwd' is not a path below the folder"),
        ("image,labels", "a\0.jpg,cat", r"'a\\x00.jpg' is not a path below the folder"),
        ("image,labels", "a.jpg,cat||dog", r"an empty class name in 'cat\|\|dog'"),
        ("image,labels", "a.jpg,|cat", r"an empty class name in '\|cat'"),
        ("image,labels", "a.jpg,cat| ", r"an empty class name in 'cat\|'"),
        ("image,labels", "x.jpg,dog", "'x.jpg' is listed twice"),
        ("image,labels", "./x.jpg,dog", "'x.jpg' is listed twice"),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, head: str, line: str, what: str) -> None:
    first = "x.jpg,cat,train" if head.endswith("split") else "x.jpg,cat"
    path = write(tmp_path, "", first, line, head=head)
    with pytest.raises(ValueError, match=rf"labels\.csv: line 4: .*{what}"):
        read_labels(path)


@pytest.mark.parametrize(
    "content", ["image,labels\na.jpg,Bär".encode("latin-1"), b"\xff\xfei\0m\0"]
)
def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"labels\.csv: not a CSV file in UTF-8"):
        read_labels(path)


@pytest.mark.parametrize(
    "lines", [('a.jpg,"cat',), ('a.jpg,"cat', "b.jpg,dog"), ('"a.jpg"x,cat',), ("a" * 200_000,)]
)
def test_a_quote_or_a_cell_without_end_is_refused(tmp_path: Path, lines: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"labels\.csv: not a CSV file in UTF-8"):
        read_labels(write(tmp_path, *lines))


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "labels.csv")
    with pytest.raises(FileNotFoundError, match=r"labels\.csv: no such file of labels"):
        read_labels(tmp_path / "labels.csv")


# --- folders without a labels file ---------------------------------------------------------------


def test_every_image_is_found_by_its_ending_and_sorted(tmp_path: Path) -> None:
    save(tmp_path, "b.PNG", "a/z 图.jpeg", "a/b/c.webp", ".hidden.gif")
    (tmp_path / "labels.csv").write_text("image,labels\n")
    (tmp_path / "notes.txt").write_text("")
    assert images(find_images(tmp_path)) == [".hidden.gif", "a/b/c.webp", "a/z 图.jpeg", "b.PNG"]


def test_a_folder_named_like_an_image_is_searched_and_is_none(tmp_path: Path) -> None:
    save(tmp_path, "holiday.jpg/a.png")
    assert images(find_images(tmp_path)) == ["holiday.jpg/a.png"]


def test_links_to_images_are_images(tmp_path: Path) -> None:
    save(tmp_path / "there", "a.png")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "b.png").symlink_to(tmp_path / "there" / "a.png")
    assert images(find_images(tmp_path / "here")) == ["b.png"]


def test_a_link_to_nothing_is_not_passed_over(tmp_path: Path) -> None:
    save(tmp_path, "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "gone.png")
    assert images(find_images(tmp_path)) == ["a.png", "b.png"]
    with pytest.raises(FileNotFoundError, match=r"no such image: b\.png$"):
        FolderDataset(tmp_path, None, "all", classes=["cat"])


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text("")])
def test_no_folder_of_images_is_named(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "a")
    with pytest.raises(FileNotFoundError, match=r"/a: no such folder of images"):
        find_images(tmp_path / "a")


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(FileNotFoundError, match=r"no images in it \(\.jpg, \.jpeg, \.png, "):
        find_images(tmp_path)


def test_images_are_those_of_the_labels_file_or_without_one_all(tmp_path: Path) -> None:
    labels = write(save(tmp_path, "a.png", "b.png"), "b.png,cat")
    assert list_images(tmp_path, labels) == [LabelRow("b.png", ("cat",))]
    assert list_images(tmp_path, None) == [LabelRow("a.png", ()), LabelRow("b.png", ())]


# --- splits --------------------------------------------------------------------------------------


def test_the_third_column_makes_the_splits() -> None:
    rows = [LabelRow(f"{k}", (), split) for k, split in enumerate(["val", "train", "test", "val"])]
    splits = splits_of(rows)
    assert {name: images(members) for name, members in splits.items()} == {
        "all": ["0", "1", "2", "3"],
        "val": ["0", "3"],
        "train": ["1"],
        "test": ["2"],
        "trainval": ["0", "1", "3"],
    }


def test_splits_of_any_name_need_neither_train_nor_val() -> None:
    splits = splits_of([LabelRow("0", (), "2023"), LabelRow("1", (), "2024")])
    assert list(splits) == ["all", "2023", "2024"]


def test_a_row_of_the_split_all_is_there_once_more_and_no_oftener() -> None:
    assert len(splits_of([LabelRow("0", (), "all")])["all"]) == 2


@pytest.mark.parametrize(("fraction", "count"), [(0.2, 4), (0.25, 5), (0.33, 7), (0.95, 19)])
def test_without_a_column_the_fraction_of_val_is_exact(fraction: float, count: int) -> None:
    splits = splits_of(ROWS, val_fraction=fraction)
    assert len(splits["val"]) == count
    assert len(splits["train"]) == 20 - count
    assert not set(splits["train"]) & set(splits["val"])
    assert splits["trainval"] == splits["all"] == ROWS


def test_the_rows_of_a_drawn_split_keep_their_order() -> None:
    splits = splits_of(ROWS, val_fraction=0.5)
    for members in splits.values():
        assert members == sorted(members, key=ROWS.index)


def test_the_choice_depends_on_names_alone() -> None:
    other = [LabelRow(row.image, ("dog", "cow")) for row in reversed(ROWS)]
    chosen, again = (set(images(splits_of(rows)["val"])) for rows in (ROWS, other))
    assert chosen == again


def test_another_seed_is_another_choice() -> None:
    choices = {tuple(images(splits_of(ROWS, seed=seed)["val"])) for seed in range(10)}
    assert len(choices) > 5


def test_a_new_image_leaves_all_but_one_of_the_others_where_they_are() -> None:
    before = set(images(splits_of(ROWS)["val"]))
    after = set(images(splits_of([LabelRow("new.png", ("cat",)), *ROWS])["val"]))
    assert len(before - after) <= 1


def test_a_fraction_that_rounds_to_nothing_makes_no_split() -> None:
    assert list(splits_of(ROWS[:2], val_fraction=0.2)) == ["all", "train", "trainval"]
    assert list(splits_of(ROWS[:2], val_fraction=0.9)) == ["all", "val", "trainval"]


def test_images_without_labels_are_all_and_nothing_else() -> None:
    assert list(splits_of([LabelRow("0", ()), LabelRow("1", ())])) == ["all"]


# --- the data set --------------------------------------------------------------------------------


def test_classes_are_those_of_the_file_in_alphabetical_order(tmp_path: Path) -> None:
    labels = write(save(tmp_path, "a.png", "b.png"), "a.png,dog", "b.png,cat|dog")
    dataset = FolderDataset(tmp_path, labels, "all")
    assert dataset.classes == ("cat", "dog")
    assert dataset.targets.tolist() == [[0, 1], [1, 1]]
    assert dataset.weights.tolist() == [[1, 1], [1, 1]]


def test_labels_follow_the_order_of_the_given_classes(tmp_path: Path) -> None:
    labels = write(save(tmp_path, "a.png"), "a.png,dog")
    dataset = FolderDataset(tmp_path, labels, "all", classes=["dog", "yeti", "cat"])
    assert dataset.targets.tolist() == [[1, 0, 0]]


def test_an_image_without_labels_is_negative_for_every_class(tmp_path: Path) -> None:
    labels = write(save(tmp_path, "a.png", "b.png"), "a.png,", "b.png,cat")
    dataset = FolderDataset(tmp_path, labels, "all")
    assert dataset.targets.tolist() == [[0], [1]]
    assert dataset.weights.tolist() == [[1], [1]]


def test_a_sample_holds_the_pixels_and_labels_of_its_path(tmp_path: Path) -> None:
    save(tmp_path, "für später/图 1.png", "b.png", size=(8, 6))
    labels = write(tmp_path, "b.png,cat", "für später/图 1.png,dog")
    sample = FolderDataset(tmp_path, labels, "all")[1]
    assert sample.image_id == "für später/图 1.png"
    assert torch.equal(sample.image, read_image(tmp_path / "für später" / "图 1.png"))
    assert sample.targets.tolist() == [0, 1]
    assert sample.network_size == (6, 8)


def test_boxes_are_not_known(tmp_path: Path) -> None:
    labels = write(save(tmp_path, "a.png", size=(8, 6)), "a.png,cat")
    (annotation,) = FolderDataset(tmp_path, labels, "all").annotations
    assert annotation.image_size == (6, 8)
    assert annotation.boxes.shape == (0, 4)
    assert len(annotation.labels) == len(annotation.difficult) == len(annotation.truncated) == 0


def test_without_a_file_of_labels_every_target_and_weight_is_zero(tmp_path: Path) -> None:
    dataset = FolderDataset(save(tmp_path, "b.png", "a.png"), None, "all", classes=["cat", "dog"])
    assert dataset.ids == ["a.png", "b.png"]
    assert dataset.targets.tolist() == dataset.weights.tolist() == [[0, 0], [0, 0]]


def test_a_data_set_holds_the_images_of_its_split(tmp_path: Path) -> None:
    save(tmp_path, *images(ROWS))
    labels = write(tmp_path, *(f"{row.image},cat" for row in ROWS))
    for split, members in splits_of(ROWS, val_fraction=0.3, seed=5).items():
        dataset = FolderDataset(tmp_path, labels, split, val_fraction=0.3, seed=5)
        assert dataset.ids == images(members)
        assert dataset.split == split


def test_images_that_are_left_out_are_not_looked_at(tmp_path: Path) -> None:
    save(tmp_path, "a.png", "b.png")
    (tmp_path / "a.png").write_text("not an image")
    labels = write(tmp_path, "a.png,cat", "b.png,dog", "gone.png,cat")
    bad = [tmp_path / "a.png", tmp_path / "gone.png"]
    dataset = FolderDataset(tmp_path, labels, "all", leave_out=bad)
    assert dataset.ids == ["b.png"]
    assert dataset.classes == ("cat", "dog")  # labels do not depend on what is left out


def test_images_and_folders_that_are_links_work(tmp_path: Path) -> None:
    save(tmp_path / "there", "a.png")
    (tmp_path / "there" / "b.png").symlink_to(tmp_path / "there" / "a.png")
    (tmp_path / "here").symlink_to(tmp_path / "there", target_is_directory=True)
    labels = write(tmp_path, "b.png,cat")
    dataset = FolderDataset(tmp_path / "here", labels, "all")
    assert torch.equal(dataset[0].image, read_image(tmp_path / "there" / "a.png"))


def test_reading_leaves_the_folder_as_it_is(tmp_path: Path) -> None:
    labels = write(save(tmp_path, "a.png", "c/b.png"), "a.png,cat", "c/b.png,dog")
    before = snapshot(tmp_path)
    for given in (labels, None):
        dataset = FolderDataset(tmp_path, given, "all", classes=["cat", "dog"])
        assert [dataset[index].image.shape[0] for index in range(2)] == [3, 3]
    assert snapshot(tmp_path) == before


# --- data sets that are refused ------------------------------------------------------------------


def test_an_unknown_class_is_refused_with_its_image(tmp_path: Path) -> None:
    labels = write(save(tmp_path, "a.png"), "a.png,cat", "b.png,yeti")
    with pytest.raises(ValueError, match=r"csv: b\.png: class 'yeti' is not one of cat, dog$"):
        FolderDataset(tmp_path, labels, "train", classes=["cat", "dog"])


@pytest.mark.parametrize("is_labeled", [True, False])
def test_a_folder_without_any_class_is_refused(tmp_path: Path, is_labeled: bool) -> None:
    labels = write(save(tmp_path, "a.png"), "a.png,") if is_labeled else None
    with pytest.raises(ValueError, match=r": no classes \(no image has a label\)"):
        FolderDataset(save(tmp_path, "a.png"), labels, "all")


def test_an_unknown_split_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    labels = write(save(tmp_path, "a.png"), "a.png,cat,2023", head="image,labels,split")
    with pytest.raises(ValueError, match=r"csv: no split 'test'; there are all, 2023$"):
        FolderDataset(tmp_path, labels, "test")
    with pytest.raises(ValueError, match=r": no split 'val'; there are all$"):
        FolderDataset(tmp_path, None, "val", classes=["cat"])


def test_missing_images_are_listed(tmp_path: Path) -> None:
    labels = write(save(tmp_path, "a.png"), "x.png,cat", "a.png,cat", "y/z.png,cat")
    with pytest.raises(FileNotFoundError, match=r"no such image: x\.png, y/z\.png$"):
        FolderDataset(tmp_path, labels, "all")


def test_of_many_missing_images_five_are_listed_and_the_rest_counted(tmp_path: Path) -> None:
    labels = write(tmp_path, *(f"{number}.png,cat" for number in range(8)))
    with pytest.raises(FileNotFoundError, match=r": 0\.png, .*, 4\.png and 3 more$"):
        FolderDataset(tmp_path, labels, "all")


@pytest.mark.parametrize("content", [b"", b"<html></html>", b"\x89PNG\r\n\x1a\n"])
def test_a_damaged_image_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    labels = write(save(tmp_path, "a.png", "b.png"), "a.png,cat", "b.png,cat")
    (tmp_path / "b.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"/b\.png: the image does not decode"):
        FolderDataset(tmp_path, labels, "all")


def test_an_image_that_is_a_folder_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(ValueError, match=r"/a\.png: not a regular file"):
        FolderDataset(tmp_path, write(tmp_path, "a.png,cat"), "all")


def test_an_image_that_breaks_off_is_refused_when_it_is_read(tmp_path: Path) -> None:
    labels = write(save(tmp_path, "a.png", size=(64, 64)), "a.png,cat")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[:-30])
    dataset = FolderDataset(tmp_path, labels, "all")
    with pytest.raises(ValueError, match=r"/a\.png: the image does not decode"):
        dataset[0]


def test_an_image_of_another_size_than_when_it_was_opened_is_refused(tmp_path: Path) -> None:
    labels = write(save(tmp_path, "a.png", size=(8, 6)), "a.png,cat")
    dataset = FolderDataset(tmp_path, labels, "all")
    save(tmp_path, "a.png", size=(6, 8))
    with pytest.raises(ValueError, match=r"a\.png: the image is 6x8, its annotation says 8x6"):
        dataset[0]


def test_nothing_left_is_refused(tmp_path: Path) -> None:
    labels = write(save(tmp_path, "a.png"), "a.png,cat")
    with pytest.raises(ValueError, match="train: no image is left"):
        FolderDataset(tmp_path, labels, "train", leave_out=[tmp_path / "a.png"])
