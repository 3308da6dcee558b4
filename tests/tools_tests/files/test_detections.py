"""Detections as files: written, read again as each reader does it, and nothing lost on the way."""

import json
import math
from pathlib import Path
from urllib.parse import unquote

import pytest
import torch

from data.evaluation.voc_eval import eval_detection_voc
from data.types import Annotation, Detections, no_detections
from tests.worlds import detect, random_boxes, read_devkit
from tools.files.detections import (
    read_detections,
    write_detections,
    write_devkit_files,
)

CLASSES = ("cat", "dog")
SIZE = (100, 100)


@pytest.fixture
def truths(rng: torch.Generator) -> list[Annotation]:
    """Four objects in each of six images, one of them difficult."""
    flags = torch.tensor([False, False, False, True])
    return [
        Annotation(
            f"00000{number}",
            SIZE,
            random_boxes(4, rng, corner=40),
            torch.randint(2, (4,), generator=rng),
            flags,
            flags,
        )
        for number in range(6)
    ]


@pytest.fixture
def detections(truths: list[Annotation], rng: torch.Generator) -> dict[str, Detections]:
    """Boxes near the objects with scores that differ in the seventh digit; in one image none."""
    by_image = {}
    for truth in truths:
        near = truth.boxes.repeat(5, 1) + torch.rand(20, 4, generator=rng) * 20 - 10
        scores = 0.5 + torch.rand(20, generator=rng) * 1e-6
        by_image[truth.image_id] = Detections(near, truth.labels.repeat(5), scores)
    return by_image | {truths[3].image_id: no_detections()}


def one(box: list[float], label: int = 0, score: float = 0.5) -> Detections:
    return detect([box], [score], [label])


# Our own JSON


def test_detections_read_again_are_equal_bit_for_bit(
    detections: dict[str, Detections], tmp_path: Path
) -> None:
    write_detections(tmp_path / "d.json", CLASSES, detections, dict.fromkeys(detections, SIZE))
    classes, again = read_detections(tmp_path / "d.json")

    assert classes == CLASSES
    assert list(again) == list(detections)
    for image_id, of_image in detections.items():
        for name in ("boxes", "labels", "scores"):
            ours, theirs = getattr(again[image_id], name), getattr(of_image, name)
            assert ours.dtype == theirs.dtype
            assert ours.equal(theirs), name


def test_the_file_says_how_large_each_image_is(tmp_path: Path) -> None:
    write_detections(tmp_path / "d.json", CLASSES, {"a": no_detections()}, {"a": (3, 4)})

    content = json.loads((tmp_path / "d.json").read_text())
    assert content == {
        "classes": ["cat", "dog"],
        "images": {"a": {"size": [3, 4], "boxes": [], "labels": [], "scores": []}},
    }


def test_the_file_says_how_its_boxes_were_chosen_and_is_read_as_before(tmp_path: Path) -> None:
    info = {"description": "the best ones", "min_score": 0.5}
    write_detections(tmp_path / "d.json", CLASSES, {"a": one([0, 0, 1, 1])}, {"a": SIZE}, info)

    assert json.loads((tmp_path / "d.json").read_text())["info"] == info
    assert read_detections(tmp_path / "d.json")[0] == CLASSES


def test_names_of_any_alphabet_are_kept(tmp_path: Path) -> None:
    detections = {'für später/图 "1".jpg': one([0, 0, 1, 1]), "\x1b\n\udcff.jpg": no_detections()}
    write_detections(
        tmp_path / "d.json", ["猫", "<dog>"], detections, dict.fromkeys(detections, SIZE)
    )

    classes, again = read_detections(tmp_path / "d.json")
    assert classes == ("猫", "<dog>")
    assert list(again) == list(detections)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"images": {}}',
        '{"classes": 7, "images": {}}',
        '{"classes": ["cat"], "images": ["a"]}',
        '{"classes": ["cat"], "images": {"a": 7}}',
        '{"classes": ["cat"], "images": {"a": {"labels": [], "scores": []}}}',
        "[" * 100_000,
        b"\xff\xfe\x00",
    ],
)
def test_a_damaged_or_foreign_file_is_refused_by_name(content: str | bytes, tmp_path: Path) -> None:
    (tmp_path / "d.json").write_bytes(content.encode() if isinstance(content, str) else content)

    with pytest.raises(ValueError, match=r"/d\.json: not a file of detections \("):
        read_detections(tmp_path / "d.json")
    with pytest.raises(FileNotFoundError, match=r"/none\.json: "):
        read_detections(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("box", "label", "scores", "named"),
    [
        ([0, 0, 1], 0, [0.5], "d.json"),
        (["x", 0, 1, 1], 0, [0.5], "d.json"),
        ([0, 0, 1, 1], 0, [None], "d.json"),
        ([0, 0, 1, 1], 2, [0.5], "image b: label 2"),
        ([0, 0, 0, 1], 0, [0.5], "image b: 100% of the boxes have"),
        ([0, 0, 1, 1], 0, [1e99], "image b: a score"),
        ([0, 0, 1e99, 1], 0, [0.5], "image b: 100% of the boxes are"),
        ([0, 0, 1, 1], 0, [0.5, 0.25], "image b: scores have shape"),
    ],
)
def test_wrong_detections_are_refused_by_the_file_and_the_image(
    box: list[object], label: int, scores: list[object], named: str, tmp_path: Path
) -> None:
    rows = {"boxes": [box], "labels": [label], "scores": scores}
    (tmp_path / "d.json").write_text(json.dumps({"classes": CLASSES, "images": {"b": rows}}))

    with pytest.raises(ValueError, match=named):
        read_detections(tmp_path / "d.json")


# The devkit's text


def test_a_line_has_the_name_every_digit_of_the_score_and_one_based_closed_corners(
    tmp_path: Path,
) -> None:
    small = torch.tensor([math.nextafter(1e-4, 1)], dtype=torch.float64)
    detections = Detections(torch.tensor([[0, 0, 10, 20.5]]), torch.tensor([1]), small)
    write_devkit_files(tmp_path, "comp3", "test", CLASSES, {"000007": detections})

    line = f"000007 {small.item()!r} 1 1 10 20.5\n"
    assert (tmp_path / "comp3_det_test_dog.txt").read_text() == line


@pytest.mark.parametrize("use_07_metric", [True, False])
def test_the_text_read_again_has_the_same_ap(
    use_07_metric: bool, detections: dict[str, Detections], truths: list[Annotation], tmp_path: Path
) -> None:
    write_devkit_files(tmp_path, "comp3", "test", CLASSES, detections)
    again = read_devkit(tmp_path, CLASSES)

    before, after = (
        eval_detection_voc(each, truths, num_classes=2, use_07_metric=use_07_metric)
        for each in (detections, again)
    )
    assert after.per_class.tolist() == pytest.approx(before.per_class.tolist(), abs=1e-12)
    assert 0 < before.mean < 1


def test_no_score_is_rounded_and_no_corner_moves(
    detections: dict[str, Detections], tmp_path: Path
) -> None:
    write_devkit_files(tmp_path, "comp3", "test", CLASSES, detections)
    again = read_devkit(tmp_path, CLASSES)

    for image_id, of_image in again.items():
        written = detections[image_id]
        order = written.labels.argsort(stable=True)  # class by class
        assert of_image.scores.equal(written.scores[order])
        # float32 of a number below 100
        torch.testing.assert_close(of_image.boxes, written.boxes[order], rtol=0, atol=1e-5)


def test_every_class_has_its_file_also_without_detections(tmp_path: Path) -> None:
    write_devkit_files(tmp_path / "new", "comp4", "val", CLASSES, {"a": one([0, 0, 1, 1])})

    assert {path.name: path.stat().st_size > 0 for path in (tmp_path / "new").iterdir()} == {
        "comp4_det_val_cat.txt": True,
        "comp4_det_val_dog.txt": False,
    }


@pytest.mark.parametrize("name", ["../cat", "/cat", "..", "ca\nt", "tv monitor"])
def test_no_class_name_leaves_the_folder_and_plain_ones_stay_readable(
    name: str, tmp_path: Path
) -> None:
    write_devkit_files(tmp_path / "in", "comp3", "test", [name], {"a": one([0, 0, 1, 1])})

    (file,) = (tmp_path / "in").iterdir()
    assert file.is_file()
    assert file.name.isprintable()
    assert (name in file.name) == (name in ("..", "tv monitor"))
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    "name", ["my cat.jpg", "a\n000007 1 1 1 9 9", "50%20.jpg", "\udcff", "sub/图_0-1.jpg"]
)
def test_an_image_s_name_is_one_word_of_its_line(name: str, tmp_path: Path) -> None:
    write_devkit_files(tmp_path, "comp3", "test", CLASSES, {name: one([0, 0, 1, 1])})

    word, *numbers = (tmp_path / "comp3_det_test_cat.txt").read_text().split()
    assert unquote(word, errors="surrogateescape") == name
    assert (word == name) == ("/" in name)  # nothing to escape
    assert numbers == ["0.5", "1", "1", "1", "1"]


def test_long_names_of_classes_have_a_file_each(tmp_path: Path) -> None:
    classes = ["類" * 80, "類" * 80 + "x", "и" * 200, "cat"]
    write_devkit_files(tmp_path, "comp3", "test", classes, {"a": one([0, 0, 1, 1])})

    assert len(list(tmp_path.iterdir())) == 4
    assert (tmp_path / "comp3_det_test_cat.txt").is_file()
