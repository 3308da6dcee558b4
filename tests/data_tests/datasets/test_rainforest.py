"""Tiles of the rainforest: the labels file, its classes in their order, its splits."""

from pathlib import Path

import pytest

from data.datasets.folder import FolderSource
from data.datasets.rainforest import RAINFOREST_CLASSES, RainforestSource, read_tags
from data.datasets.settings import DataSettings
from data.datasets.sources import open_source
from tests.data_tests.datasets.test_folder import save, write

REAL = Path(__file__).parents[4] / "shared" / "rainforest" / "train_v2.csv"


def labels(folder: Path, *lines: str, head: str = "image_name,tags") -> Path:
    return write(folder, *lines, head=head)


def source(folder: Path, *lines: str, **settings: object) -> RainforestSource:
    opened = open_source(DataSettings(images=folder, labels=labels(folder, *lines), **settings))  # type: ignore[arg-type]
    assert isinstance(opened, RainforestSource)
    return opened


def test_the_header_tells_the_kind_of_source(tmp_path: Path) -> None:
    for head in ("image,labels", "image_name;tags"):
        file = labels(tmp_path, "a.png,cat", head=head)
        opened = open_source(DataSettings(images=tmp_path, labels=file))
        assert type(opened) is FolderSource
    assert source(tmp_path, "train_0,clear").classes == RAINFOREST_CLASSES


def test_tags_are_targets_in_the_published_order_of_classes(tmp_path: Path) -> None:
    opened = source(tmp_path, "train_0,water haze", "train_1,primary primary  clear")
    named = {
        image: [
            name
            for name, value in zip(opened.classes, opened.labels(image)[0].tolist(), strict=True)
            if value
        ]
        for image in opened.ids("all")
    }
    assert named == {"train_0.tif": ["haze", "water"], "train_1.tif": ["clear", "primary"]}
    assert opened.labels("train_0.tif")[1].tolist() == [1.0] * 17
    assert opened.classes[:4] == ("clear", "cloudy", "haze", "partly_cloudy")


def test_an_image_is_the_file_that_exists(tmp_path: Path) -> None:
    save(tmp_path, "a.jpg", "b.tif", "c.jpg", "c.tif")
    opened = source(tmp_path, "a,clear", "b,clear", "c,clear")
    assert opened.ids("all") == ["a.jpg", "b.tif", "c.tif"]
    assert len(opened.open("all")) == 3


@pytest.mark.parametrize(
    "lines",
    [["a,clear,more"], ["a"], ["../a,clear"], [",clear"], ["a,clear", "a,haze"]],
    ids=["columns", "no tags", "elsewhere", "no name", "twice"],
)
def test_an_invalid_line_is_named(tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(ValueError, match=rf"labels\.csv: line {len(lines) + 1}: "):
        read_tags(labels(tmp_path, *lines))


@pytest.mark.parametrize("content", [b"a,\xff", b"a," + b"x" * 200_000], ids=["bytes", "long"])
def test_what_is_no_csv_is_named(tmp_path: Path, content: bytes) -> None:
    path = labels(tmp_path)
    path.write_bytes(path.read_bytes() + content)

    with pytest.raises(ValueError, match=r"labels\.csv: not a CSV file in UTF-8 \("):
        read_tags(path)


def test_an_unknown_tag_is_named_and_classes_may_be_given(tmp_path: Path) -> None:
    save(tmp_path, *(f"{n}.jpg" for n in range(4)))
    lines = [f"{n},clear" for n in range(3)] + ["3,klear"]
    with pytest.raises(ValueError, match=r"3\.jpg: class 'klear' is not one of clear"):
        source(tmp_path, *lines).open("all")
    assert len(source(tmp_path, *lines, classes=("clear", "klear")).open("all")) == 4


@pytest.mark.skipif(not REAL.is_file(), reason="the file of labels is not here")
def test_the_real_file_has_the_published_split() -> None:
    opened = RainforestSource(REAL.parent, REAL, classes=RAINFOREST_CLASSES)
    assert len(opened.ids("all")) == 40479
    assert len(opened.ids("test")) == 13359  # .33, rounded up
    assert len(opened.ids("trainval")) == 27120
    assert opened.ids("test")[:4] == ["train_4.tif", "train_6.tif", "train_17.tif", "train_18.tif"]
    assert not set(opened.ids("test")) & set(opened.ids("trainval"))
    assert {*opened.ids("train"), *opened.ids("val")} == set(opened.ids("trainval"))
    assert opened.scan().problems == []
    present = sum(opened.labels(image)[0] for image in opened.ids("all"))
    by_name = dict(zip(opened.classes, present.int().tolist(), strict=True))  # type: ignore[union-attr]
    assert by_name["primary"] == 37513
    assert by_name["blow_down"] == 98
