"""A file of labels in the folder of each split."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from data.datasets.folder import FolderSource

Save = Callable[..., Path]

IMAGES = [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 50}]
COCO = {
    "images": IMAGES,
    "annotations": [{"id": 1, "image_id": 1, "category_id": 2, "bbox": [0, 0, 5, 5]}],
    "categories": [{"id": 2, "name": "cat"}, {"id": 3, "name": "dog"}],
}


@pytest.mark.parametrize(
    ("file", "text", "form"),
    [
        ("_classes.csv", "filename, cat, dog\na.jpg, 1, 0", "a column for each class"),
        ("metadata.csv", "file_name,label\na.jpg,cat", "one row an image"),
        ("_annotations.coco.json", json.dumps(COCO), "COCO's instances, with boxes"),
        (
            "_annotations.csv",
            "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,100,50,cat,1,1,5,5",
            "one row an object, with boxes",
        ),
    ],
)
def test_names_are_those_below_the_folder_which_is_the_split(
    save: Save, file: str, text: str, form: str
) -> None:
    folder = save("train/a.jpg", "valid/a.jpg")
    for split in ("train", "valid"):
        (folder / split / file).write_text(text)
    source = FolderSource(folder, folder)
    assert source.form == f"photographs: {file} in folders of splits, {form}"
    assert source.ids("train") == ["train/a.jpg"]
    assert source.ids("val") == ["valid/a.jpg"]
    assert source.open("all").targets[:, 0].tolist() == [1, 1]
    assert source.content.problems == ()


def test_problems_name_the_file_of_the_split(save: Save) -> None:
    folder = save("train/a.jpg", "test/b.jpg")
    (folder / "train" / "metadata.csv").write_text("file_name,label\na.jpg,cat,x")
    (folder / "test" / "metadata.csv").write_text("file_name,label\nb.jpg,cat")
    (problem,) = FolderSource(folder, folder).content.problems
    assert problem.where == folder / "train" / "metadata.csv"
    assert problem.what == "line 2: 3 columns instead of 2"
