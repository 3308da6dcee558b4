"""One row an object, with its corners."""

from collections.abc import Callable
from pathlib import Path

import pytest

from data.datasets.folder import FolderSource

Save = Callable[..., Path]

HEAD = "filename,width,height,class,xmin,ymin,xmax,ymax"
LINES = (
    "a.jpg,100,50,cat,1,1,10,20",
    "a.jpg,100,50,cat,11,1,20,20",
    "a.jpg,100,50,dog,5,5,100,50",
    "b.jpg,100,50,,,,,",
)


def source(folder: Path, *lines: str, first_pixel: int = 1, head: str = HEAD) -> FolderSource:
    path = folder.parent / "labels.csv"
    path.write_text("\n".join([head, *lines]))
    return FolderSource(folder, path, first_pixel=first_pixel)


def test_rows_of_an_image_are_its_objects(save: Save) -> None:
    found = source(save("a.jpg", "b.jpg"), *LINES)
    assert found.form == "labels.csv: one row an object, with boxes"
    dataset = found.open("all")
    assert dataset.targets.tolist() == [[1, 1], [0, 0]]
    first, second = dataset.annotations
    assert first.boxes.tolist() == [[0, 0, 10, 20], [10, 0, 20, 20], [4, 4, 100, 50]]
    assert second.boxes.shape == (0, 4)
    assert found.scan().objects["a.jpg"] == {("cat", False): 2, ("dog", False): 1}


def test_other_names_a_split_and_corners_from_0(save: Save) -> None:
    head = "image_path;label;x1;y1;x2;y2;split"
    found = source(save("a.jpg"), "a.jpg;cat;0;0;9.5;8;val", first_pixel=0, head=head)
    annotation = found.open("val").annotations[0]
    assert annotation.boxes.tolist() == [[0, 0, 9.5, 8]]
    assert annotation.image_size == (50, 100)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("b.jpg,100,50,,1,1,9,9", "a box without a label"),
        ("b.jpg,100,50,cat,,1,9,9", "could not convert string to float"),
        ("b.jpg,100,50,cat,1_0,1,90,9", "'1_0' is no number"),
        ("b.jpg,inf,50,cat,1,1,9,9", "a size is two finite numbers, got infx50"),
        ("a.jpg,100,60,cat,1,1,9,9", "'a.jpg' has another split or size than before"),
        ("../b.jpg,100,50,cat,1,1,9,9", "is not a path below the folder"),
    ],
)
def test_a_bad_line_is_named_by_its_number(save: Save, line: str, what: str) -> None:
    (problem,) = source(save("a.jpg", "b.jpg"), *LINES[:3], line).content.problems
    assert problem.what.startswith("line 5: ")
    assert what in problem.what


def test_a_box_outside_is_a_problem_of_its_image_alone(save: Save) -> None:
    found = source(save("a.jpg", "b.jpg"), *LINES[:3], "b.jpg,100,50,cat,0,1,9,9")
    with pytest.raises(ValueError, match=r"csv: b\.jpg: object 1 \(cat\): .* \(--first-pixel 0"):
        found.open("all")
    assert found.open("all", leave_out=[found.path("b.jpg")]).ids == ["a.jpg"]
