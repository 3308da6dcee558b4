"""The file of marked boxes that a gallery saves: what is read, and what is refused by its line."""

from pathlib import Path

import pytest

from tools.files.reviewed import MarkedBox, read_reviewed

HEADER = "image,class,x1,y1,x2,y2,score,mark,new_class"


def write(folder: Path, *lines: str, header: str = HEADER, end: str = "\n") -> Path:
    path = folder / "reviewed.csv"
    path.write_text(end.join((header, *lines)), encoding="utf-8")
    return path


def test_boxes_are_those_of_their_image_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "a.jpg,cat,1,2.5,30,40,0.75,accepted,",
        '"b, c.jpg",dog,0,0,9,9,1e-05,relabeled,"a ""cat"""',
        "a.jpg,dog,5,5,6,6,0,,",
    )

    assert read_reviewed(path).boxes == {
        "a.jpg": [
            MarkedBox("cat", (1, 2.5, 30, 40), 0.75, "accepted", ""),
            MarkedBox("dog", (5, 5, 6, 6), 0, "", ""),
        ],
        "b, c.jpg": [MarkedBox("dog", (0, 0, 9, 9), 1e-5, "relabeled", 'a "cat"')],
    }


def test_what_a_spreadsheet_saves_is_read_too(tmp_path: Path) -> None:
    row = "a.jpg;cat;1;2;3;4;0.5;rejected;;looked at twice"
    path = write(tmp_path, row, header=HEADER.replace(",", ";") + ";note", end="\r\n")

    assert [box.mark for box in read_reviewed(path).boxes["a.jpg"]] == ["rejected"]


def test_every_invalid_line_is_named_at_once(tmp_path: Path) -> None:
    lines = [
        ("a,cat,1,2,3,4,.5,fine,", "the mark 'fine' is not one of accepted"),
        ("a,cat,1,2,1,4,.5,accepted,", "1 2 1 4 .5 are no box with a score"),
        ("a,cat,1,2,inf,4,.5,accepted,", "are no box"),
        ("a,cat,1,2,3,4,high,accepted,", "'high'"),
        ("a,cat,1,2,3,4,.5,relabeled,", "a new class belongs to a relabeled box"),
        ("a,cat,1,2,3,4,.5,rejected,dog", "a new class belongs to a relabeled box"),
        ("a,cat,1,2", "4 columns instead of 9"),
    ]
    path = write(tmp_path, *(line for line, _ in lines))

    with pytest.raises(ValueError, match=r"reviewed\.csv: ") as refused:
        read_reviewed(path)
    for number, (_, what) in enumerate(lines, start=2):
        assert f"line {number}: " in str(refused.value)
        assert what in str(refused.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv: no such file of reviewed boxes"):
        read_reviewed(tmp_path / "nowhere.csv")
    with pytest.raises(ValueError, match=r"no column class, x1, .*a gallery saves reviewed boxes"):
        read_reviewed(write(tmp_path, "a.jpg,cat", header="image,labels"))
