"""Detections as files: written, read again as each reader does it, and nothing lost on the way."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import torch
from torch import Tensor

from data.datasets.voc import read_annotation
from data.evaluation.voc_eval import eval_detection_voc
from data.types import Annotation, Detections, no_detections
from tests.tools_tests.conftest import read_devkit
from tools.files.detections import (
    read_detections,
    write_coco,
    write_detections,
    write_devkit_files,
    write_voc_xml,
)

CLASSES = ("cat", "dog")
SIZE = (100, 100)


def random_boxes(count: int, rng: torch.Generator) -> Tensor:
    size = 20 + torch.rand(count, 2, generator=rng) * 40
    corners = torch.rand(count, 2, generator=rng) * (100 - size)
    return torch.cat([corners, corners + size], dim=1)


@pytest.fixture
def truths(rng: torch.Generator) -> list[Annotation]:
    """Four objects in each of six images, one of them difficult."""
    flags = torch.tensor([False, False, False, True])
    return [
        Annotation(
            f"00000{number}",
            SIZE,
            random_boxes(4, rng),
            torch.randint(2, (4,), generator=rng),
            flags,
            flags,
        )
        for number in range(6)
    ]


@pytest.fixture
def found(truths: list[Annotation], rng: torch.Generator) -> dict[str, Detections]:
    """Boxes near the objects with scores that differ in the seventh digit; in one image none."""
    detections = {}
    for truth in truths:
        near = truth.boxes.repeat(5, 1) + torch.rand(20, 4, generator=rng) * 20 - 10
        scores = 0.5 + torch.rand(20, generator=rng) * 1e-6
        detections[truth.image_id] = Detections(near, truth.labels.repeat(5), scores)
    return detections | {truths[3].image_id: no_detections()}


def sizes_of(found: Mapping[str, Detections]) -> dict[str, tuple[int, int]]:
    return dict.fromkeys(found, SIZE)


def one(box: list[float], label: int = 0, score: float = 0.5) -> Detections:
    return Detections(torch.tensor([box]), torch.tensor([label]), torch.tensor([score]))


def assert_equal(one: Detections, other: Detections) -> None:
    for name in ("boxes", "labels", "scores"):
        ours, theirs = getattr(one, name), getattr(other, name)
        assert ours.dtype == theirs.dtype
        assert ours.equal(theirs), name


# Our own JSON


def test_detections_read_again_are_equal_bit_for_bit(
    found: dict[str, Detections], tmp_path: Path
) -> None:
    write_detections(tmp_path / "d.json", CLASSES, found, sizes_of(found))
    classes, again = read_detections(tmp_path / "d.json")

    assert classes == CLASSES
    assert list(again) == list(found)
    for image_id, detections in found.items():
        assert_equal(again[image_id], detections)


@pytest.mark.parametrize("use_07_metric", [True, False])
def test_detections_read_again_have_the_same_ap(
    use_07_metric: bool, found: dict[str, Detections], truths: list[Annotation], tmp_path: Path
) -> None:
    write_detections(tmp_path / "d.json", CLASSES, found, sizes_of(found))
    _, again = read_detections(tmp_path / "d.json")

    before, after = (
        eval_detection_voc(each, truths, num_classes=2, use_07_metric=use_07_metric)
        for each in (found, again)
    )
    assert after.per_class.tolist() == before.per_class.tolist()
    assert 0 < before.mean < 1


def test_the_file_says_how_large_each_image_is(tmp_path: Path) -> None:
    write_detections(tmp_path / "d.json", CLASSES, {"a": no_detections()}, {"a": (3, 4)})

    content = json.loads((tmp_path / "d.json").read_text())
    assert content == {
        "classes": ["cat", "dog"],
        "images": {"a": {"size": [3, 4], "boxes": [], "labels": [], "scores": []}},
    }


def test_no_images_are_read_as_none(tmp_path: Path) -> None:
    write_detections(tmp_path / "d.json", CLASSES, {}, {})

    assert read_detections(tmp_path / "d.json") == (CLASSES, {})


def test_names_of_any_alphabet_are_kept(tmp_path: Path) -> None:
    found = {'für später/图 "1".jpg': one([0, 0, 1, 1]), "\x1b\n\udcff.jpg": no_detections()}
    write_detections(tmp_path / "d.json", ["猫", "<dog>"], found, sizes_of(found))

    classes, again = read_detections(tmp_path / "d.json")
    assert classes == ("猫", "<dog>")
    assert list(again) == list(found)


@pytest.mark.parametrize(
    "content",
    [
        "",
        '{"classes": ["cat"], "images": {"a": {"boxes": [[0, 0,',
        "[]",
        "7",
        '{"images": {}}',
        '{"classes": ["cat"]}',
        '{"classes": 7, "images": {}}',
        '{"classes": ["cat"], "images": ["a"]}',
        '{"classes": ["cat"], "images": {"a": 7}}',
        '{"classes": ["cat"], "images": {"a": {"labels": [], "scores": []}}}',
        '{"classes": ["cat"], "images": {"a": {"boxes": [[0, 0, 1]], "labels": [0],'
        ' "scores": [0.5]}}}',
        '{"classes": ["cat"], "images": {"a": {"boxes": [["x", 0, 1, 1]], "labels": [0],'
        ' "scores": [0.5]}}}',
        '{"classes": ["cat"], "images": {"a": {"boxes": [[0, 0, 1, 1]], "labels": [0],'
        ' "scores": [null]}}}',
        "[" * 100_000,
    ],
)
def test_a_damaged_or_foreign_file_is_refused_by_name(content: str, tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text(content)

    with pytest.raises(ValueError, match=r"/d\.json: (not a file of detections \(|image a: )"):
        read_detections(tmp_path / "d.json")


def test_bytes_that_are_no_text_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ValueError, match=r"/d\.json: (not a file of detections \(|image a: )"):
        read_detections(tmp_path / "d.json")


@pytest.mark.parametrize(
    ("box", "label", "score", "refusal"),
    [
        ([0, 0, 1, 1], 2, 0.5, r"label 2 is not in 0 \.\. 1"),
        ([0, 0, 0, 1], 0, 0.5, "a box has no area"),
        ([0, 0, 1, 1], 0, 1e99, "a score is not finite"),
        ([0, 0, 1e99, 1], 0, 0.5, "a coordinate is not finite"),
    ],
)
def test_wrong_detections_are_refused_by_the_images_name(
    box: list[float], label: int, score: float, refusal: str, tmp_path: Path
) -> None:
    rows = {"boxes": [box], "labels": [label], "scores": [score]}
    content = {"classes": CLASSES, "images": {"b": rows}}
    (tmp_path / "d.json").write_text(json.dumps(content))

    with pytest.raises(ValueError, match=rf"/d\.json: image b: {refusal}"):
        read_detections(tmp_path / "d.json")


def test_another_number_of_scores_than_boxes_is_refused(tmp_path: Path) -> None:
    rows = {"boxes": [[0, 0, 1, 1]], "labels": [0], "scores": [0.5, 0.25]}
    (tmp_path / "d.json").write_text(json.dumps({"classes": CLASSES, "images": {"b": rows}}))

    with pytest.raises(ValueError, match=r"/d\.json: image b: 1 boxes, labels \[1\], scores \[2\]"):
        read_detections(tmp_path / "d.json")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"/d\.json: no such file of detections"):
        read_detections(tmp_path / "d.json")


# The devkit's text


def test_a_line_has_the_name_the_score_and_one_based_closed_corners(tmp_path: Path) -> None:
    found = {"000007": one([0, 0, 10, 20.5], label=1, score=0.25)}
    write_devkit_files(tmp_path, "comp3", "test", CLASSES, found)

    assert (tmp_path / "comp3_det_test_dog.txt").read_text() == "000007 0.25 1 1 10 20.5\n"


@pytest.mark.parametrize("use_07_metric", [True, False])
def test_the_text_read_again_has_the_same_ap(
    use_07_metric: bool, found: dict[str, Detections], truths: list[Annotation], tmp_path: Path
) -> None:
    write_devkit_files(tmp_path, "comp3", "test", CLASSES, found)
    again = read_devkit(tmp_path, CLASSES)

    before, after = (
        eval_detection_voc(each, truths, num_classes=2, use_07_metric=use_07_metric)
        for each in (found, again)
    )
    assert after.per_class.tolist() == pytest.approx(before.per_class.tolist(), abs=1e-12)
    assert 0 < before.mean < 1


def test_no_score_is_rounded_and_no_corner_moves(
    found: dict[str, Detections], tmp_path: Path
) -> None:
    write_devkit_files(tmp_path, "comp3", "test", CLASSES, found)
    again = read_devkit(tmp_path, CLASSES)

    for image_id, detections in again.items():
        theirs = found[image_id]
        order = theirs.labels.argsort(stable=True)  # class by class
        assert detections.scores.equal(theirs.scores[order])
        # float32 of a number below 100
        torch.testing.assert_close(detections.boxes, theirs.boxes[order], rtol=0, atol=1e-5)


def test_a_small_score_keeps_its_digits(tmp_path: Path) -> None:
    score = math.nextafter(1e-4, 1)
    detections = Detections(
        torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([0]), torch.tensor([score]).double()
    )
    write_devkit_files(tmp_path, "comp3", "test", CLASSES, {"a": detections})

    text = (tmp_path / "comp3_det_test_cat.txt").read_text()
    assert torch.tensor(float(text.split()[1])).equal(torch.tensor(score))


def test_every_class_has_its_file_also_without_detections(tmp_path: Path) -> None:
    write_devkit_files(tmp_path / "new", "comp4", "val", CLASSES, {"a": one([0, 0, 1, 1])})

    assert {path.name: path.stat().st_size > 0 for path in (tmp_path / "new").iterdir()} == {
        "comp4_det_val_cat.txt": True,
        "comp4_det_val_dog.txt": False,
    }


@pytest.mark.parametrize("name", ["../cat", "/cat", "a/b/cat", "..", "ca\nt"])
def test_no_class_name_leaves_the_folder(name: str, tmp_path: Path) -> None:
    write_devkit_files(tmp_path / "in", "comp3", "test", [name], {"a": one([0, 0, 1, 1])})

    (file,) = (tmp_path / "in").iterdir()
    assert file.is_file()
    assert file.name.isprintable()
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_class_names_that_a_file_name_can_hold_stay_readable(tmp_path: Path) -> None:
    write_devkit_files(tmp_path, "comp3", "test", ["tv monitor", "a/b"], {})

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "comp3_det_test_a%2Fb.txt",
        "comp3_det_test_tv monitor.txt",
    ]


@pytest.mark.parametrize("name", ["my cat.jpg", "a\n000007 1 1 1 9 9", "50%20.jpg", "\udcff"])
def test_an_image_s_name_is_one_word_of_its_line(name: str, tmp_path: Path) -> None:
    write_devkit_files(tmp_path, "comp3", "test", CLASSES, {name: one([0, 0, 1, 1])})

    word, *numbers = (tmp_path / "comp3_det_test_cat.txt").read_text().split()
    assert unquote(word, errors="surrogateescape") == name
    assert numbers == ["0.5", "1", "1", "1", "1"]


def test_names_that_are_one_word_stay_readable(tmp_path: Path) -> None:
    write_devkit_files(tmp_path, "comp3", "test", CLASSES, {"sub/图_0-1.jpg": one([0, 0, 1, 1])})

    assert (tmp_path / "comp3_det_test_cat.txt").read_text().startswith("sub/图_0-1.jpg 0.5 ")


# COCO's JSON


def test_coco_holds_a_corner_with_width_and_height(tmp_path: Path) -> None:
    found = {"a": no_detections(), "b": one([10, 20, 30.5, 60], label=1, score=0.75)}
    sizes, files = {"a": (3, 4), "b": (100, 200)}, {"a": "a.jpg", "b": "sub/b.png"}
    write_coco(tmp_path / "coco.json", CLASSES, found, sizes, files)

    assert json.loads((tmp_path / "coco.json").read_text()) == {
        "images": [
            {"id": 1, "file_name": "a.jpg", "height": 3, "width": 4},
            {"id": 2, "file_name": "sub/b.png", "height": 100, "width": 200},
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 2,
                "category_id": 2,
                "bbox": [10, 20, 20.5, 40],
                "area": 820,
                "iscrowd": 0,
                "score": 0.75,
            }
        ],
    }


def test_coco_numbers_each_detection_once(found: dict[str, Detections], tmp_path: Path) -> None:
    files = {image_id: f"{image_id}.jpg" for image_id in found}
    write_coco(tmp_path / "c.json", CLASSES, found, sizes_of(found), files)

    content: dict[str, Any] = json.loads((tmp_path / "c.json").read_text())
    numbers = [annotation["id"] for annotation in content["annotations"]]
    assert numbers == list(range(1, 101))  # five images of twenty
    assert {annotation["image_id"] for annotation in content["annotations"]} == {1, 2, 3, 5, 6}


# VOC's XML


def test_an_xml_read_again_has_the_rounded_boxes(tmp_path: Path) -> None:
    found = Detections(
        torch.tensor([[0.4, 0.0, 9.6, 20.0], [10.6, 5.2, 100.0, 80.0]]),
        torch.tensor([1, 0]),
        torch.tensor([0.75, 0.5]),
    )
    write_voc_xml(tmp_path / "a.xml", "a.jpg", (80, 100), CLASSES, found)
    annotation = read_annotation(tmp_path / "a.xml", CLASSES)

    assert annotation.image_size == (80, 100)
    assert annotation.boxes.tolist() == [[0, 0, 10, 20], [11, 5, 100, 80]]
    assert annotation.labels.tolist() == [1, 0]
    assert not annotation.difficult.any()


def test_corners_in_the_xml_are_one_based_and_closed(tmp_path: Path) -> None:
    write_voc_xml(tmp_path / "a.xml", "sub/a.jpg", SIZE, CLASSES, one([0, 2, 10, 20]))

    text = (tmp_path / "a.xml").read_text()
    corners = {"xmin": 1, "ymin": 3, "xmax": 10, "ymax": 20}
    assert all(f"<{name}>{value}</{name}>" in text for name, value in corners.items())
    assert "<filename>a.jpg</filename>" in text


def test_an_xml_of_nothing_has_no_objects(tmp_path: Path) -> None:
    write_voc_xml(tmp_path / "a.xml", "a.jpg", SIZE, CLASSES, no_detections())

    assert read_annotation(tmp_path / "a.xml", CLASSES).boxes.shape == (0, 4)


@pytest.mark.parametrize("name", ["cats & dogs", "<cat>", '"cat\'s"', "</name>", "图"])
def test_names_of_classes_and_images_are_escaped(name: str, tmp_path: Path) -> None:
    write_voc_xml(tmp_path / "a.xml", f"{name}.jpg", SIZE, [name], one([0, 0, 9, 9]))

    annotation = read_annotation(tmp_path / "a.xml", [name])
    assert annotation.labels.tolist() == [0]


def test_signs_that_no_xml_may_hold_are_written_as_escapes(tmp_path: Path) -> None:
    write_voc_xml(tmp_path / "a.xml", "\x1b\udcff.jpg", SIZE, ["\0cat"], one([0, 0, 9, 9]))

    assert read_annotation(tmp_path / "a.xml", [r"\x00cat"]).labels.tolist() == [0]
    assert r"<filename>\x1b\udcff.jpg</filename>" in (tmp_path / "a.xml").read_text()


@pytest.mark.parametrize("box", [[3.0, 3.0, 3.25, 9.0], [1.5, 1.0, 2.5, 9.0]])
def test_a_box_narrower_than_a_pixel_is_a_box_in_the_xml_too(
    box: list[float], tmp_path: Path
) -> None:
    write_voc_xml(tmp_path / "a.xml", "a.jpg", SIZE, CLASSES, one(box))

    assert len(read_annotation(tmp_path / "a.xml", CLASSES).boxes) == 1
