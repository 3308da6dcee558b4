"""COCO's instances as labels and boxes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.datasets.folder import FolderSource

Save = Callable[..., Path]

CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}, {"id": 0, "name": "animals"}]


def box(image: int, category: int, bbox: list[float], **more: Any) -> dict[str, Any]:
    number = int(sum(bbox) * 100)
    return {"id": number, "image_id": image, "category_id": category, "bbox": bbox, **more}


def image(number: int, name: str, **more: Any) -> dict[str, Any]:
    return {"id": number, "file_name": name, "width": 100, "height": 50, **more}


IMAGES = [image(1, "a.jpg"), image(2, "b.jpg"), image(3, "c.jpg")]
ANNOTATIONS = [
    box(1, 3, [0, 0, 10, 20.5]),
    box(1, 3, [90.24, 5, 9.77, 45]),  # to 100.01: two decimals each
    box(2, 7, [0, 0, 100, 50], iscrowd=1),
]


def write(folder: Path, **changes: Any) -> Path:
    content = {"images": IMAGES, "annotations": ANNOTATIONS, "categories": CATEGORIES} | changes
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return path


def test_categories_are_labels_and_boxes_annotations(save: Save, tmp_path: Path) -> None:
    source = FolderSource(save("a.jpg", "b.jpg", "c.jpg"), write(tmp_path))
    assert source.form == "instances.json: COCO's instances, with boxes"
    assert source.classes == ("cat", "dog")  # those that an image holds
    dataset = source.open("all")
    assert dataset.targets.tolist() == [[1, 0], [0, 0], [0, 0]]
    assert dataset.weights.tolist() == [[1, 1], [1, 0], [1, 1]]  # a crowd alone is difficult
    first, second, third = dataset.annotations
    expected = [[0, 0, 10, 20.5], [90.24, 5, 100, 50]]
    assert first.boxes.tolist() == [pytest.approx(row) for row in expected]
    assert first.labels.tolist() == [0, 0]
    assert second.difficult.tolist() == [True]
    assert third.boxes.shape == (0, 4)
    scan = source.scan()
    assert scan.problems == []
    assert scan.objects["a.jpg"] == {("cat", False): 2}
    assert scan.sizes["a.jpg"] == (50, 100)


def test_folders_of_splits_are_splits_and_a_missing_size_is_the_images(
    save: Save, tmp_path: Path
) -> None:
    names = ["train/a.jpg", "valid/b.jpg", "test/c.jpg"]
    images = [{"id": k, "file_name": name} for k, name in enumerate(names, start=1)]
    source = FolderSource(save(*names), write(tmp_path, images=images, annotations=ANNOTATIONS[:1]))
    assert source.ids("val") == ["valid/b.jpg"]
    assert source.open("train").annotations[0].image_size == (50, 100)


@pytest.mark.parametrize(
    ("bbox", "what"),
    [
        ([95, 0, 10, 10], "95 0 105 10 leave 100x50 pixels that count from 0"),
        ([5, 5, 0, 10], "5 5 5 15 enclose no area"),
        ([5, 5, 10], "no box"),
        (["5", "5", "1_0", "10"], "'1_0' is no number"),
        ([5, 5, True, 10], "True is no number"),
        (None, "no box"),
    ],
)
def test_an_invalid_box_is_a_problem_of_its_image_alone(
    save: Save, tmp_path: Path, bbox: list[float], what: str
) -> None:
    spoiled = {**box(2, 7, [0, 0, 1, 1]), "bbox": bbox}
    annotations = [*ANNOTATIONS[:2], spoiled, box(3, 7, [1, 1, 5, 5])]
    source = FolderSource(save("a.jpg", "b.jpg", "c.jpg"), write(tmp_path, annotations=annotations))
    (problem,) = source.scan().problems
    assert what in problem.what
    assert "b.jpg" in problem.what
    with pytest.raises(ValueError, match=r"instances\.json: b\.jpg: .*"):
        source.open("all")
    assert len(source.open("all", leave_out=[source.path("b.jpg")])) == 2


@pytest.mark.parametrize("width", ["wide", "1_0", float("inf"), [1], 10**400])
def test_a_size_that_is_none_is_a_problem_of_its_image_alone(
    save: Save, tmp_path: Path, width: Any
) -> None:
    images = [{**image(k, f"{name}.jpg"), "width": width} for k, name in ((1, "a"), (2, "b"))]
    images[0]["width"] = 100
    path = write(tmp_path, images=images, annotations=[])
    (problem,) = FolderSource(save("a.jpg", "b.jpg"), path).scan().problems
    assert problem.what.startswith("b.jpg: ")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"images": [*IMAGES, image(4, "a.jpg")]}, "file_name 'a.jpg' is there twice"),
        ({"images": [*IMAGES, image(3, "d.jpg")]}, "image id 3 is there twice"),
        ({"images": [*IMAGES, image(4, "../d.jpg")]}, "'../d.jpg' is not a path below the folder"),
        ({"categories": [*CATEGORIES, {"id": 9, "name": "cat"}]}, "category 'cat' is there twice"),
        ({"annotations": [box(9, 3, [0, 0, 1, 1])]}, "is of no listed image or category"),
        ({"annotations": [box(1, 9, [0, 0, 1, 1])]}, "is of no listed image or category"),
    ],
)
def test_what_contradicts_itself_is_a_problem_of_the_file(
    save: Save, tmp_path: Path, changes: dict[str, Any], what: str
) -> None:
    path = write(tmp_path, **changes)
    source = FolderSource(save("a.jpg", "b.jpg", "c.jpg", "d.jpg"), path)
    assert [what in problem.what for problem in source.content.problems] == [True]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "JSON without COCO's images, annotations and categories"),
        ('{"images": [], "annotations": []}', "JSON without COCO's .*categories"),
        ('{"images": [1], "annotations": [], "categories": []}', "JSON without COCO's"),
    ],
)
def test_a_file_of_another_kind_is_refused(
    save: Save, tmp_path: Path, text: str, what: str
) -> None:
    (tmp_path / "instances.json").write_text(text)
    with pytest.raises(ValueError, match=rf"instances\.json: {what}"):
        FolderSource(save("a.jpg"), tmp_path / "instances.json").ids("all")
