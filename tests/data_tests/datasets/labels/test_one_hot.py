"""A column for each class."""

from pathlib import Path

import pytest

from data.datasets.folder import FolderSource
from data.datasets.labels.content import Labels
from data.datasets.labels.forms import read_labels
from data.datasets.labels.place import LabelsPlace


def read(folder: Path, text: str) -> Labels:
    path = folder / "labels.csv"
    path.write_text(text)
    return read_labels(LabelsPlace(path, folder))


@pytest.mark.parametrize(
    "text",
    [
        "image,cat,dog\na.jpg,1,0\nb.jpg,1,1\nc.jpg,0,0",
        "filename, cat, dog\na.jpg, 1, 0\nb.jpg, 1, 1\nc.jpg, 0, 0",
        "dog\tcat\timage_id\n0.0\t1.0\ta.jpg\n1.0\t1.0\tb.jpg\n0.0\t0.0\tc.jpg",
        "image;cat;dog\na.jpg;True;False\nb.jpg;True;True\nc.jpg;False;False",
    ],
)
def test_ones_are_labels_and_zeros_are_absent(tmp_path: Path, text: str) -> None:
    result = read(tmp_path, text)
    assert result.problems == ()
    assert "unknown" not in result.form
    assert {image: set(row.labels) for image, row in result.rows.items()} == {
        "a.jpg": {"cat"},
        "b.jpg": {"cat", "dog"},
        "c.jpg": set(),
    }
    assert not any(row.unknown for row in result.rows.values())


def test_minus_one_and_nothing_are_ignored_and_a_class_without_images_stays(
    tmp_path: Path,
) -> None:
    (tmp_path / "labels.csv").write_text(
        "image,dog,cat,cow,split\na.jpg,1,-1,0,val\nb.jpg,,1,0,val"
    )
    source = FolderSource(tmp_path, tmp_path / "labels.csv")
    assert source.classes == ("cat", "cow", "dog")
    assert [values.tolist() for values in source.labels("a.jpg")] == [[0, 0, 1], [0, 1, 1]]
    assert [values.tolist() for values in source.labels("b.jpg")] == [[1, 0, 0], [1, 1, 0]]
    assert source.ids("val") == ["a.jpg", "b.jpg"]
    assert source.form == "labels.csv: a column for each class, -1 or nothing unknown"


def test_a_named_class_without_a_column_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image,dog\na.jpg,0")
    source = FolderSource(tmp_path, tmp_path / "labels.csv", classes=["cat", "dog"])
    assert [values.tolist() for values in source.labels("a.jpg")] == [[0, 0], [0, 1]]


def test_every_value_that_is_none_is_named_by_its_line(tmp_path: Path) -> None:
    text = "image,cat,dog\na.jpg,1,0\nb.jpg,2,0\na.jpg,0,0\nc.jpg,0\nd.jpg,1,yes"
    assert [problem.what for problem in read(tmp_path, text).problems] == [
        "line 3: '2' of column cat is not 1, 0 or -1",
        "line 4: 'a.jpg' is listed twice",
        "line 5: 2 columns instead of 3",
        "line 6: 'yes' of column dog is not 1, 0 or -1",
    ]


def test_minus_one_without_any_zero_is_asked_about(tmp_path: Path) -> None:
    (problem,) = read(tmp_path, "image,cat,dog\na.jpg,1,-1\nb.jpg,-1,1").problems
    assert problem.what == "holds -1 and no 0"
    assert "0 for a class that is absent" in problem.cure
