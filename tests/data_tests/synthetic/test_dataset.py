"""Difficulty of the synthetic data set, decided before any training on it, and its files."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest

from data.synthetic.dataset import SYNTHETIC_CLASSES, write_synthetic_voc
from data.synthetic.scenes import Box, DrawnObject, draw_image

Image = tuple[tuple[int, int], list[DrawnObject]]  # (height, width) and what is in it
Oracle = Callable[[tuple[int, int], DrawnObject], Box]


@pytest.fixture(scope="module")
def world() -> list[Image]:
    drawn = (draw_image(0, index) for index in range(240))
    return [((image.shape[0], image.shape[1]), objects) for image, objects in drawn]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_voc(
        tmp_path_factory.mktemp("world"), num_train=20, num_val=12, num_test=16, seed=3
    )


def read_list(home: Path, name: str) -> list[str]:
    return (home / "ImageSets" / "Main" / f"{name}.txt").read_text().splitlines()


def objects_of(home: Path, image_id: str) -> list[ET.Element]:
    return ET.parse(home / "Annotations" / f"{image_id}.xml").findall("object")


def corners_of(node: ET.Element) -> Box:
    corners = [node.findtext(f"bndbox/{corner}") for corner in ("xmin", "ymin", "xmax", "ymax")]
    return Box(*(int(text) for text in corners if text is not None))


def every_object(world: list[Image]) -> Iterator[tuple[tuple[int, int], DrawnObject]]:
    return ((size, drawn) for size, objects in world for drawn in objects)


def iou(one: Box, other: Box) -> float:
    common = one.common(other).area
    return common / (one.area + other.area - common)


def oracle_corloc(world: list[Image], oracle: Oracle) -> float:
    """How often the oracle, shown the largest object of a class, hits one of it; class mean."""
    per_class = []
    for name in SYNTHETIC_CLASSES:
        hits = []
        for size, objects in world:
            wanted = [o for o in objects if o.name == name and not o.difficult]
            if wanted:
                box = oracle(size, max(wanted, key=lambda o: o.box.area))
                hits.append(any(iou(box, o.box) >= 0.5 for o in wanted))
        per_class.append(np.mean(hits))
    return float(np.mean(per_class))


@pytest.mark.parametrize(
    ("oracle", "least", "most"),
    [
        (lambda size, drawn: drawn.part_box, 0, 0.15),
        (lambda size, drawn: Box(0, 0, size[1], size[0]), 0, 0.25),
        (lambda size, drawn: drawn.box, 1, 1),
    ],
    ids=["salient part", "whole image", "whole object"],
)
def test_only_boxing_the_whole_object_is_often_right(
    world: list[Image], oracle: Oracle, least: float, most: float
) -> None:
    assert least <= oracle_corloc(world, oracle) <= most


def test_a_salient_part_lies_within_its_object_and_that_within_the_image(
    world: list[Image],
) -> None:
    for (height, width), drawn in every_object(world):
        assert 0 < drawn.part_box.area <= 0.3 * drawn.box.area
        assert drawn.part_box.common(drawn.box) == drawn.part_box
        assert drawn.box.common(Box(0, 0, width, height)) == drawn.box


def test_every_class_is_in_8_percent_of_the_images_and_not_in_all(world: list[Image]) -> None:
    fractions = {
        name: np.mean(
            [name in {o.name for o in objects if not o.difficult} for _, objects in world]
        )
        for name in SYNTHETIC_CLASSES
    }

    assert len(fractions) >= 6
    assert all(0.08 <= fraction < 1 for fraction in fractions.values()), fractions


def test_an_image_has_1_to_4_objects_of_1_to_3_classes(world: list[Image]) -> None:
    assert {len(objects) for _, objects in world} == {1, 2, 3, 4}
    assert {len({o.name for o in objects}) for _, objects in world} == {1, 2, 3}


def test_the_largest_object_is_6_times_the_smallest(world: list[Image]) -> None:
    # As fractions of the image's shorter side, cut ones left out: they only seem small.
    sides = [
        max(o.box.x2 - o.box.x1, o.box.y2 - o.box.y1) / min(size)
        for size, o in every_object(world)
        if not o.difficult and not o.truncated
    ]

    assert max(sides) / min(sides) >= 6


def test_some_objects_are_difficult_some_truncated_and_most_are_neither(
    world: list[Image],
) -> None:
    flags = Counter((o.difficult, o.truncated) for _, o in every_object(world))

    difficult = flags[True, False] + flags[True, True]
    truncated = flags[False, True] + flags[True, True]
    assert 0.02 <= difficult / flags.total() <= 0.2
    assert 0.04 <= truncated / flags.total() <= 0.2
    assert flags[False, False] / flags.total() >= 0.6


def test_a_truncated_object_touches_the_border_and_no_other_does(world: list[Image]) -> None:
    for (height, width), drawn in every_object(world):
        x1, y1, x2, y2 = drawn.box
        touches = x1 == 0 or y1 == 0 or x2 == width or y2 == height
        assert touches <= drawn.truncated
        assert touches or drawn.difficult or not drawn.truncated


def test_some_objects_hide_others(world: list[Image]) -> None:
    hides = [
        any(a.box.common(b.box).area > 0 for a in objects for b in objects if a is not b)
        for _, objects in world
    ]

    assert np.mean(hides) >= 0.1


def test_images_are_wide_and_tall_and_of_many_sizes(world: list[Image]) -> None:
    sizes = {size for size, _ in world}

    assert len(sizes) >= 100
    assert all(120 <= min(size) < max(size) <= 400 for size in sizes)
    assert np.mean([height > width for height, width in sizes]) == pytest.approx(0.4, abs=0.2)


def test_an_object_stands_out_from_what_surrounds_it_by_its_part_first() -> None:
    part_contrast, body_contrast = [], []
    for index in range(40):
        image, objects = draw_image(0, index)
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        for drawn in objects:
            if not drawn.difficult and drawn.part_box.area > 200:
                x1, y1, x2, y2 = drawn.part_box
                part_contrast.append(gray[y1:y2, x1:x2].std())
                x1, y1, x2, y2 = drawn.box
                body_contrast.append(gray[y1:y2, x1:x2].std())

    assert np.median(part_contrast) > 1.2 * np.median(body_contrast)


def test_one_seed_gives_the_same_bytes_and_another_gives_others(tmp_path: Path) -> None:
    def written(folder: str, seed: int) -> dict[str, bytes]:
        home = write_synthetic_voc(tmp_path / folder, num_train=2, num_val=1, num_test=1, seed=seed)
        return {str(p.relative_to(home)): p.read_bytes() for p in home.rglob("*.*")}

    first, again, other = written("a", 5), written("b", 5), written("c", 6)

    assert first == again
    assert first.keys() == other.keys()
    images = [name for name in first if name.endswith(".jpg")]
    assert len(images) == 4
    assert all(first[name] != other[name] for name in images)


def test_a_larger_data_set_begins_with_the_images_of_a_smaller_one(
    home: Path, tmp_path: Path
) -> None:
    smaller = write_synthetic_voc(tmp_path, num_train=1, num_val=0, num_test=1, seed=3)

    for name in ("JPEGImages/000002.jpg", "Annotations/000002.xml"):
        assert (smaller / name).read_bytes() == (home / name).read_bytes()


def test_every_image_decodes_to_the_size_its_annotation_names(home: Path) -> None:
    image_ids = read_list(home, "trainval") + read_list(home, "test")

    assert len(image_ids) == 48
    for image_id in image_ids:
        image = cv2.imread(str(home / "JPEGImages" / f"{image_id}.jpg"))
        assert image is not None
        root = ET.parse(home / "Annotations" / f"{image_id}.xml").getroot()
        size = tuple(root.findtext(f"size/{side}") for side in ("height", "width", "depth"))
        assert size == tuple(str(side) for side in image.shape)
        assert root.findtext("filename") == f"{image_id}.jpg"


def test_train_and_val_make_trainval_and_share_nothing_with_test(home: Path) -> None:
    train, val, trainval, test = (
        read_list(home, split) for split in ("train", "val", "trainval", "test")
    )

    assert (len(train), len(val), len(test)) == (20, 12, 16)
    assert train + val == trainval
    assert len({*trainval, *test}) == 20 + 12 + 16


def test_written_corners_are_the_drawn_ones_one_based_and_closed(home: Path) -> None:
    _, drawn = draw_image(3, 6)
    nodes = objects_of(home, "000007")

    assert [node.findtext("name") for node in nodes] == [o.name for o in drawn]
    for node, o in zip(nodes, drawn, strict=True):
        x1, y1, x2, y2 = o.box
        assert corners_of(node) == (x1 + 1, y1 + 1, x2, y2)
        assert node.findtext("truncated") == str(int(o.truncated))
        assert node.findtext("difficult") == str(int(o.difficult))


def test_every_written_object_holds_its_part(home: Path) -> None:
    for image_id in read_list(home, "trainval"):
        for node in objects_of(home, image_id):
            part = node.find("part")
            assert part is not None
            x1, y1, x2, y2 = corners_of(node)
            inner = corners_of(part)
            assert 1 <= x1 <= inner.x1 <= inner.x2 <= x2
            assert 1 <= y1 <= inner.y1 <= inner.y2 <= y2


@pytest.mark.parametrize("split", ["train", "val", "trainval", "test"])
def test_a_class_list_says_1_where_it_is_0_where_only_difficult_and_else_minus_1(
    home: Path, split: str
) -> None:
    for name in SYNTHETIC_CLASSES:
        expected = []
        for image_id in read_list(home, split):
            flags = [
                node.findtext("difficult")
                for node in objects_of(home, image_id)
                if node.findtext("name") == name
            ]
            label = " 1" if "0" in flags else " 0" if flags else "-1"
            expected.append(f"{image_id} {label}")
        assert read_list(home, f"{name}_{split}") == expected


def test_no_images_make_empty_lists(tmp_path: Path) -> None:
    home = write_synthetic_voc(tmp_path, num_train=0, num_val=0, num_test=0)

    assert read_list(home, "trainval") == []
    assert list((home / "JPEGImages").iterdir()) == []


def test_an_existing_data_set_is_not_replaced(home: Path) -> None:
    with pytest.raises(FileExistsError, match="VOC2007 exists; remove it"):
        write_synthetic_voc(home.parent, num_train=1, num_val=0, num_test=0)


@pytest.mark.parametrize("name", ["num_train", "num_val", "num_test", "seed"])
def test_negative_numbers_are_refused(tmp_path: Path, name: str) -> None:
    numbers = {"num_train": 0, "num_val": 0, "num_test": 0, name: -1}

    with pytest.raises(ValueError, match=f"{name} is at least 0; got -1"):
        write_synthetic_voc(tmp_path, **numbers)


def test_a_failure_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_bytes(path: Path, content: bytes) -> int:
        if path.name == "000003.jpg":
            raise OSError("disk full")
        return len(content)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(OSError, match="disk full"):
        write_synthetic_voc(tmp_path, num_train=4, num_val=0, num_test=0)

    assert list(tmp_path.iterdir()) == []
