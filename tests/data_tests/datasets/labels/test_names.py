"""Which file a name means."""

from collections.abc import Callable
from pathlib import Path

import pytest

from data.datasets.folder import FolderSource

Save = Callable[..., Path]


def source(folder: Path, *names: str) -> FolderSource:
    path = folder.parent / "labels.csv"
    path.write_text("\n".join(["image,labels", *(f"{name},cat" for name in names)]))
    return FolderSource(folder, path)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a.jpg", "a.jpg"),
        ("a", "a.jpg"),  # without its ending
        ("b.jpg", "b.JPG"),  # in other letters
        ("B", "b.JPG"),
        ("c.jpg", "c.png"),  # with another ending
        ("holiday/D.JPEG", "Holiday/d.jpg"),
        ("18.14.mp4_760", "18.14.mp4_760.jpg"),
    ],
)
def test_a_name_means_the_one_file_that_fits(save: Save, name: str, file: str) -> None:
    folder = save("a.jpg", "b.JPG", "c.png", "Holiday/d.jpg", "18.14.mp4_760.jpg")
    found = source(folder, name)
    assert found.content.problems == ()
    assert found.ids("all") == [file]


def test_a_name_that_is_a_file_means_that_file(save: Save) -> None:
    assert source(save("a.jpg", "a.png"), "a.png", "a.jpg").ids("all") == ["a.png", "a.jpg"]


@pytest.mark.parametrize("name", ["a", "a.jpeg", "A"])
def test_a_name_that_fits_two_files_is_a_problem(save: Save, name: str) -> None:
    (problem,) = source(save("a.jpg", "a.png"), name).content.problems
    assert problem.what == f"{name!r} may be a.jpg or a.png"
    assert "with its ending" in problem.cure


def test_two_names_of_one_file_are_a_problem(save: Save) -> None:
    (problem,) = source(save("a.jpg"), "a.jpg", "a").content.problems
    assert problem.what == "'a' and 'a.jpg' are both a.jpg"


def test_a_name_that_fits_no_file_is_a_missing_image(save: Save) -> None:
    found = source(save("a.jpg"), "a", "b")
    assert found.ids("all") == ["a.jpg", "b"]
    with pytest.raises(FileNotFoundError, match=r"no such image: b$"):
        found.open("all")


def test_names_that_begin_in_another_folder_are_one_problem_with_the_way_out(save: Save) -> None:
    folder = save("a.jpg", "b.jpg", "2024/c.jpg", "2024/d.jpg")
    names = ("photographs/a.jpg", "photographs/b.jpg", "c.jpg", "D.jpg", "gone.jpg")
    above, below = source(folder, *names).content.problems
    assert above.what == "2 images are named from the folder above, such as photographs/a.jpg"
    assert above.cure == f"--images {folder.parent}"
    assert below.what == "2 images lie in other folders, such as 2024/c.jpg for c.jpg"
