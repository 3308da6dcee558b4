"""XML as tools write it, beside the images or in a folder of its own, and VOC in other layouts."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from data.datasets.folder import FolderSource
from data.datasets.voc import VOCSource, read_annotation

Save = Callable[..., Path]

SIZE = "<size><width>100</width><height>50</height><depth>3</depth></size>"
POLYGON = "<polygon><x1>5</x1><y1>5</y1><x2>9</x2><y2>8</y2></polygon>"
ATTRIBUTES = "<attributes><attribute><name>red</name><value>1</value></attribute></attributes>"


def thing(name: str, corners: str, more: str = "") -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), corners.split(), strict=True)
    nodes = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    return f"<object><name>{name}</name>{more}<bndbox>{nodes}</bndbox></object>"


def write(path: Path, *things: str, size: str = SIZE, filename: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    name = f"<filename>{filename}</filename>" if filename else ""
    path.write_text(f"<annotation><folder>x</folder>{name}{size}{''.join(things)}</annotation>")
    return path


# A folder of images with XML


def test_xml_beside_the_images_in_folders_of_splits(save: Save) -> None:
    folder = save("train/a_jpg.rf.12.jpg", "valid/b.PNG")
    write(folder / "train" / "a_jpg.rf.12.xml", thing("cat", "1 1 10 20", POLYGON))
    write(folder / "valid" / "b.xml", thing("dog", "5 5 9 9", "<difficult>1</difficult>"))
    source = FolderSource(folder, folder)
    assert source.form == "photographs: VOC's XML, with boxes"
    assert source.ids("train") == ["train/a_jpg.rf.12.jpg"]
    assert source.ids("val") == ["valid/b.PNG"]
    dataset = source.open("all")
    assert dataset.targets.tolist() == [[1, 0], [0, 0]]
    assert dataset.weights.tolist() == [[1, 1], [1, 0]]
    assert dataset.annotations[0].boxes.tolist() == [[0, 0, 10, 20]]
    positive = FolderSource(folder, folder, difficult="positive").open("val")
    assert positive.targets.tolist() == [[0, 1]]


def test_xml_in_a_folder_of_its_own_and_images_without_any_are_told(
    save: Save, tmp_path: Path
) -> None:
    folder = save("a.jpg", "deep/b.png", "c.jpg")
    write(tmp_path / "Annotations" / "a.xml", thing("cat", "1 1 10 20"))
    write(tmp_path / "Annotations" / "deep" / "b.xml", size="")
    source = FolderSource(folder, tmp_path / "Annotations")
    assert source.ids("all") == ["a.jpg", "deep/b.png"]
    assert source.open("all").targets.tolist() == [[1], [0]]
    (remark,) = source.remarks()
    assert remark.endswith("images without a line in the labels, not used: c.jpg")


def test_of_two_images_of_one_name_the_file_says_which(save: Save, tmp_path: Path) -> None:
    folder = save("a.jpg", "a.png")
    path = write(tmp_path / "Annotations" / "a.xml", thing("cat", "1 1 9 9"), filename="a.png")
    assert FolderSource(folder, path.parent).ids("all") == ["a.png"]
    write(path, thing("cat", "1 1 9 9"), filename="IMG_0001.jpg")  # renamed since
    (problem,) = FolderSource(folder, path.parent).content.problems
    assert problem.what == "'a' may be a.jpg or a.png"


def test_a_file_that_cannot_be_read_is_a_problem_of_its_image_alone(
    save: Save, tmp_path: Path
) -> None:
    folder = save("a.jpg", "b.jpg", "c.jpg", "d.jpg")
    write(tmp_path / "x" / "a.xml", thing("cat", "1 1 9 9"))
    write(tmp_path / "x" / "b.xml", thing("cat", "1 1 101 9"))
    write(tmp_path / "x" / "d.xml", thing("cat", "1 1 9 9"), thing("yeti", "1 1 9 9"))
    (tmp_path / "x" / "c.xml").write_text("<!DOCTYPE a><annotation/>")
    source = FolderSource(folder, tmp_path / "x", classes=["cat"])
    found = [problem.where.name for problem in source.scan().problems]
    assert found == ["b.xml", "c.xml", "d.xml"]
    for name, what in (
        ("b", "101 9 leave 100x50"),
        ("c", "a document type is not accepted"),
        ("d", "class 'yeti' is not one of cat"),
    ):
        with pytest.raises(ValueError, match=rf"{name}\.xml: {name}(\.jpg)?: .*{what}"):
            source.annotation(f"{name}.jpg")
    left_out = [source.path(f"{name}.jpg") for name in "bcd"]
    assert source.open("all", leave_out=left_out).ids == ["a.jpg"]


def test_a_folder_without_labels_is_refused(save: Save, tmp_path: Path) -> None:
    folder = save("cat/a.jpg")
    with pytest.raises(ValueError, match=r"photographs: a folder without labels.*--labels folders"):
        FolderSource(folder, folder).ids("all")


# What tools write


@pytest.mark.parametrize(
    "size",
    [
        "",
        "<size><width>0</width><height>0</height><depth>0</depth></size>",
        "<size><width>100.0</width><height>50.0</height></size>",
    ],
)
def test_a_size_that_is_missing_or_zero_is_the_images(save: Save, size: str) -> None:
    folder = save("a.jpg")
    path = write(folder / "a.xml", thing("cat", "1 1 100 50"), size=size)
    annotation = read_annotation(path, ["cat"], image=folder / "a.jpg")
    assert annotation.image_size == (50, 100)
    assert FolderSource(folder, folder).open("all").annotations[0].image_size == (50, 100)


@pytest.mark.parametrize("more", [POLYGON, ATTRIBUTES, "<pose/>", "<occluded>1</occluded>"])
def test_fields_that_are_not_read_may_be_there(tmp_path: Path, more: str) -> None:
    path = write(tmp_path / "a.xml", thing("cat", "1 1 10 20", more), ATTRIBUTES)
    assert read_annotation(path, ["cat"]).boxes.tolist() == [[0, 0, 10, 20]]


@pytest.mark.parametrize(
    ("flag", "difficult"),
    [("", False), ("0", False), ("false", False), ("Unspecified", False), ("1", True), ("True", 1)],
)
def test_difficult_is_read_as_tools_write_it(tmp_path: Path, flag: str, difficult: bool) -> None:
    more = f"<difficult>{flag}</difficult><truncated>Unspecified</truncated>"
    annotation = read_annotation(write(tmp_path / "a.xml", thing("cat", "1 1 9 9", more)), ["cat"])
    assert annotation.difficult.tolist() == [difficult]
    assert annotation.truncated.tolist() == [False]


def test_corners_that_count_from_0_are_boxes_as_they_are(save: Save) -> None:
    folder = save("a.jpg", "b.jpg")
    path = write(folder / "a.xml", thing("cat", "0 11.5 13.25 50"))
    write(folder / "b.xml", thing("cat", "1 1 100 50"))
    said = r"object 1 \(cat\): its corners 0 11.5 13.25 50 leave .* \(--first-pixel 0 if"
    with pytest.raises(ValueError, match=said):
        read_annotation(path, ["cat"])
    dataset = FolderSource(folder, folder, first_pixel=0).open("all")
    assert [annotation.boxes.tolist() for annotation in dataset.annotations] == [
        [[0, 11.5, 13.25, 50]],
        [[1, 1, 100, 50]],
    ]


# VOC in other layouts


@pytest.fixture
def devkit(save: Save, tmp_path: Path) -> Path:
    """A layout of VOC in ``VOC2012``."""
    home = tmp_path / "devkit" / "VOC2012"
    shutil.copytree(save("IMG (1).jpg", "b.PNG"), home / "JPEGImages")
    write(home / "Annotations" / "IMG (1).xml", thing("cat", "1 1 9 9"))
    write(home / "Annotations" / "b.xml", size="")
    (home / "ImageSets" / "Main").mkdir(parents=True)
    (home / "ImageSets" / "Main" / "default.txt").write_text("IMG (1)\nb\n")
    return home.parent


@pytest.mark.parametrize("root", [".", "VOC2012"])
def test_another_year_and_the_folder_itself_are_opened(devkit: Path, root: str) -> None:
    source = VOCSource(devkit / root, ["cat"])
    assert source.path("b").name == "b.PNG"
    assert source.path("gone").name == "gone.jpg"
    dataset = source.open("default")
    assert dataset.ids == ["IMG (1)", "b"]
    assert [annotation.image_size for annotation in dataset.annotations] == [(50, 100)] * 2
    assert dataset[1].image.shape == (3, 50, 100)
    scan = source.scan()
    assert scan.splits == {"default": ["IMG (1)", "b"]}
    assert scan.problems == []


def test_class_lists_with_endings_alone_are_the_splits_as_a_tool_writes_them(devkit: Path) -> None:
    lists = devkit / "VOC2012" / "ImageSets" / "Main"
    (lists / "default.txt").unlink()
    (lists / "cat_train.txt").write_text("IMG (1).jpg 1\nb.PNG -1")
    (lists / "dog_train.txt").write_text("IMG (1).jpg -1\nb.PNG -1")
    source = VOCSource(devkit, ["cat", "dog"])
    assert source.ids("train") == ["IMG (1)", "b"]
    assert source.open("train").targets.tolist() == [[1, 0], [0, 0]]
    assert list(source.scan().splits) == ["train"]
    shutil.rmtree(devkit / "VOC2012" / "Annotations")
    assert VOCSource(devkit, ["cat", "dog"]).open("train").targets.tolist() == [[1, 0], [0, 0]]


def test_the_first_pixel_of_voc_is_a_setting(devkit: Path) -> None:
    assert VOCSource(devkit, ["cat"], first_pixel=0).annotation("IMG (1)").boxes.tolist() == [
        [1, 1, 9, 9]
    ]


def test_two_images_of_one_name_are_refused(devkit: Path) -> None:
    shutil.copy(devkit / "VOC2012/JPEGImages/b.PNG", devkit / "VOC2012/JPEGImages/b.jpg")
    with pytest.raises(ValueError, match=r"b\.PNG: the image of b, or b\.jpg\?"):
        VOCSource(devkit, ["cat"]).open("default")


def test_of_several_years_one_is_named(devkit: Path) -> None:
    (devkit / "VOC2010").mkdir()
    with pytest.raises(ValueError, match=r"which of VOC2010, VOC2012\? \(--voc-root .*VOC2012\)"):
        VOCSource(devkit)
    assert VOCSource(devkit / "VOC2012").official_count("train") is None  # another year's
    (devkit / "VOC2007").mkdir()
    assert VOCSource(devkit).folder == devkit / "VOC2007"
    assert VOCSource(devkit).official_count("train") == 2501


def test_a_folder_without_voc_is_refused_with_the_way_to_read_its_xml(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no VOC2007 in it \(--voc-root is the folder"):
        VOCSource(tmp_path)
    write(tmp_path / "train" / "a.xml")
    with pytest.raises(FileNotFoundError, match=r"--images DIR --labels DIR"):
        VOCSource(tmp_path)
