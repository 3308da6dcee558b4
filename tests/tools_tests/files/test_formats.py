"""The formats of other tools: by hand, and as the tools' own readers understand them."""

import errno
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor
from torchvision.datasets import CocoDetection, VOCDetection

from data.datasets.image_set import ImageSet
from data.datasets.voc import read_annotation
from data.types import Detections, no_detections, without_boxes
from tests.worlds import annotate, detect, files_of, noise_image
from tools.files.boxed_images import BoxedImages, link_image, name_images
from tools.files.formats import FORMATS
from tools.files.voc import write_voc_xml

CLASSES = ("cat", "dog", "two words")
SIZES = {"a.jpg": (80, 100), "none.jpg": (30, 20), "z z.png": (50, 64)}
INFO = {"description": "boxes drawn by hand"}
DETECTIONS = {
    "a.jpg": detect([[10, 20, 30.5, 60], [0, 0, 2, 3]], [0.75, 0.5], [1, 0]),
    "none.jpg": no_detections(),
    "z z.png": detect([[16.25, 10, 64, 50]], [0.1], [2]),
}


def boxed_images(
    folder: Path,
    detections: dict[str, Detections],
    sizes: dict[str, tuple[int, int]],
    classes: Sequence[str] = CLASSES,
) -> BoxedImages:
    """Images of noise in a folder, with these detections."""
    for name, (height, width) in sizes.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        noise_image(height, width).save(folder / name)
    dataset = ImageSet(
        "all",
        classes,
        [folder / name for name in sizes],
        [without_boxes(name, size) for name, size in sizes.items()],
        [(torch.zeros(len(classes)),) * 2 for _ in sizes],
    )
    return BoxedImages(
        tuple(classes), name_images(dataset, detections), "all", "hand", INFO, "http://x/"
    )


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every format of three images; only read."""
    folder = tmp_path_factory.mktemp("formats")
    boxed = boxed_images(folder / "in", DETECTIONS, SIZES)
    (folder / "out").mkdir()
    for row in FORMATS.values():
        row.write(folder / "out", boxed)
    return folder / "out"


def images_of(out: Path) -> Path:
    return out.parent / "in"


def parsed(path: Path) -> Any:
    return json.loads(path.read_text())


def assert_boxes(
    found: Tensor | np.ndarray[Any, Any] | Sequence[Any], name: str, *, atol: float = 1e-4
) -> None:
    """The boxes of an image in their order; float32 of a fraction of its size is not exact."""
    boxes = torch.as_tensor(np.array(found)).float().reshape(-1, 4)
    torch.testing.assert_close(boxes, DETECTIONS[name].boxes, rtol=0, atol=atol)


def refuse_links(*paths: str) -> None:
    raise OSError(errno.EXDEV, "Invalid cross-device link")


# What is common to all


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_writes_what_it_says_and_the_same_again(name: str, tmp_path: Path) -> None:
    boxed = boxed_images(tmp_path / "in", DETECTIONS, SIZES)
    for out in (tmp_path / "one", tmp_path / "two"):
        out.mkdir()
        FORMATS[name].write(out, boxed)

    assert {path.name for path in (tmp_path / "one").iterdir()} == set(FORMATS[name].names)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


@pytest.mark.parametrize("name", FORMATS)
def test_long_names_of_images_and_classes_are_cut_where_a_file_has_no_room(
    name: str, tmp_path: Path
) -> None:
    names = ["類" * 83 + ".jpg", "類" * 83 + "x.jpg", "a" * 251 + ".png"]
    classes = ["類" * 40, "類" * 40 + "x", "и" * 200]
    sizes = dict.fromkeys(names, (20, 20))
    every = detect([[0, 0, 9, 9]] * 3, [0.5] * 3, [0, 1, 2])
    boxed = boxed_images(tmp_path / "in", dict.fromkeys(names, every), sizes, classes)
    (tmp_path / "out").mkdir()

    FORMATS[name].write(tmp_path / "out", boxed)

    assert len({image.stem for image in boxed.images}) == 3
    lists = [path.name for path in (tmp_path / "out").rglob("*_trainval.txt")]
    assert len(lists) == (3 if name == "voc" else 0)


@pytest.mark.parametrize("name", FORMATS)
def test_names_of_any_kind_stay_in_the_folder(name: str, tmp_path: Path) -> None:
    names = ["..%2fup.jpg", "two\nlines.jpg", "<b>'\"& \x1b.jpg", "\udcff.jpg", "sub/图 1.PNG"]
    classes = ["</name>", "a/b", "\x1b", "猫"]
    sizes = dict.fromkeys(names, (20, 20))
    every = detect([[0, 0, 9, 9]] * 4, [0.5] * 4, [0, 1, 2, 3])
    boxed = boxed_images(tmp_path / "in", dict.fromkeys(names, every), sizes, classes)
    (tmp_path / "out").mkdir()

    FORMATS[name].write(tmp_path / "out", boxed)

    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(FORMATS[name].names)


def test_images_of_one_stem_get_files_of_their_own_and_folders_are_kept(tmp_path: Path) -> None:
    names = ["cat.jpg", "cat.png", "cat.png.jpg", "sub/cat.jpg"]
    boxed = boxed_images(
        tmp_path, dict.fromkeys(names, no_detections()), dict.fromkeys(names, (9, 9))
    )

    assert [image.file for image in boxed.images] == names
    assert [image.stem for image in boxed.images] == ["cat", "cat.png", "cat.png.jpg", "sub/cat"]
    assert [image.linked for image in boxed.images] == [
        *("cat.jpg", "cat.png.png", "cat.png.jpg.jpg", "sub/cat.jpg")
    ]


def test_an_id_without_an_ending_gets_that_of_its_file(tmp_path: Path) -> None:
    dataset = ImageSet(
        "test",
        CLASSES,
        [tmp_path / "JPEGImages" / "000012.jpg"],
        [without_boxes("000012", (9, 9))],
        [(torch.zeros(3), torch.ones(3))],
    )

    (image,) = name_images(dataset, {"000012": no_detections()})

    assert (image.file, image.stem, image.linked) == ("000012.jpg", "000012", "000012.jpg")


def test_an_image_is_linked_and_its_content_stays(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"pixels")

    link_image(tmp_path / "sub" / "b.jpg", tmp_path / "a.jpg")

    assert (tmp_path / "sub" / "b.jpg").read_bytes() == b"pixels"
    assert not (tmp_path / "sub" / "b.jpg").is_symlink()


def test_an_image_on_a_disk_without_links_is_copied(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"pixels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "link", refuse_links)
        link_image(tmp_path / "b.jpg", tmp_path / "a.jpg")

    assert (tmp_path / "b.jpg").read_bytes() == b"pixels"
    assert not (tmp_path / "b.jpg").samefile(tmp_path / "a.jpg")


# COCO


def test_coco_holds_a_corner_with_width_and_height(out: Path) -> None:
    assert parsed(out / "coco.json") == {
        "info": INFO,
        "licenses": [],
        "images": [
            {"id": 1, "file_name": "a.jpg", "height": 80, "width": 100},
            {"id": 2, "file_name": "none.jpg", "height": 30, "width": 20},
            {"id": 3, "file_name": "z z.png", "height": 50, "width": 64},
        ],
        "categories": [
            {"id": 1, "name": "cat", "supercategory": ""},
            {"id": 2, "name": "dog", "supercategory": ""},
            {"id": 3, "name": "two words", "supercategory": ""},
        ],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": category,
                "bbox": box,
                "score": score,
                "area": box[2] * box[3],
                "segmentation": [],
                "iscrowd": 0,
            }
            for number, image, category, box, score in (
                (1, 1, 2, [10, 20, 20.5, 40], 0.75),
                (2, 1, 1, [0, 0, 2, 3], 0.5),
                (3, 3, 3, [16.25, 10, 47.75, 40], float(DETECTIONS["z z.png"].scores[0])),
            )
        ],
    }


def test_results_are_the_same_boxes_with_scores(out: Path) -> None:
    keys = ("image_id", "category_id", "bbox", "score")
    annotations = parsed(out / "coco.json")["annotations"]

    assert parsed(out / "coco_results.json") == [
        {key: row[key] for key in keys} for row in annotations
    ]


def test_the_data_set_of_coco_holds_known_objects_instead_and_difficult_ones_as_crowds(
    tmp_path: Path,
) -> None:
    boxed = boxed_images(tmp_path / "in", DETECTIONS, SIZES)
    two = annotate([[0, 0, 9, 8.5], [1, 2, 4, 6]], [0, 1])
    known = [annotate([[5, 6, 20, 30]], [2], [True]), annotate([]), two]

    FORMATS["coco"].write(tmp_path, replace(boxed, known=known))
    annotations = parsed(tmp_path / "coco.json")["annotations"]
    assert annotations == [
        {"id": number, "image_id": image, "category_id": category, "bbox": box}
        | {"area": box[2] * box[3], "segmentation": [], "iscrowd": is_crowd}
        for number, image, category, box, is_crowd in (
            (1, 1, 3, [5, 6, 15, 24], 1),
            (2, 3, 1, [0, 0, 9, 8.5], 0),
            (3, 3, 2, [1, 2, 3, 4], 0),
        )
    ]
    FORMATS["coco"].write(tmp_path / "in", boxed)
    results = (tmp_path / "coco_results.json").read_bytes()
    assert results == (tmp_path / "in" / "coco_results.json").read_bytes()
    assert b" " not in results


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools and numpy 2
def test_pycocotools_takes_the_results_and_finds_each_of_the_objects(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = "pycocotools is a package of the group dev"
    coco_module = pytest.importorskip("pycocotools.coco", reason=reason)
    cocoeval = pytest.importorskip("pycocotools.cocoeval", reason=reason)
    coco = coco_module.COCO(str(out / "coco.json"))
    results = coco.loadRes(str(out / "coco_results.json"))
    evaluation = cocoeval.COCOeval(coco, results, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()

    assert evaluation.stats[0] == pytest.approx(1)
    for (number, image), name in zip(coco.imgs.items(), DETECTIONS, strict=True):
        assert image["file_name"] == name
        for read in (coco, results):
            rows = read.loadAnns(read.getAnnIds(imgIds=[number]))
            corners = [
                [x, y, x + width, y + height] for x, y, width, height in (r["bbox"] for r in rows)
            ]
            assert_boxes(corners, name)
            assert [row["score"] for row in rows] == DETECTIONS[name].scores.tolist()
            assert [row["category_id"] - 1 for row in rows] == DETECTIONS[name].labels.tolist()
    assert results.annToMask(results.anns[1]).sum() > 0
    assert "Average Precision" in capsys.readouterr().out


def test_pycocotools_draws_the_boxes(out: Path) -> None:
    coco_module = pytest.importorskip("pycocotools.coco", reason="a package of the group dev")
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="pycocotools draws with it")
    pyplot.switch_backend("agg")
    coco = coco_module.COCO(str(out / "coco.json"))

    coco.showAnns(coco.loadAnns([1, 2]), draw_bbox=True)

    (patches,) = pyplot.gca().collections[-1:]
    assert len(patches.get_paths()) == 2
    pyplot.close("all")


def test_torchvision_reads_coco_beside_the_images(out: Path) -> None:
    pytest.importorskip("pycocotools", reason="torchvision reads COCO with it")
    dataset = CocoDetection(str(images_of(out)), str(out / "coco.json"))

    image, rows = dataset[0]
    assert image.size == (100, 80)
    corners = [[x, y, x + width, y + height] for x, y, width, height in (r["bbox"] for r in rows)]
    assert_boxes(corners, "a.jpg")
    assert dataset[1][1] == []


# VOC


def test_an_xml_has_rounded_boxes_whose_corners_are_one_based_and_closed(tmp_path: Path) -> None:
    detections = detect([[0.4, 2.0, 9.6, 20.0], [10.6, 5.2, 100.0, 80.0]], [0.75, 0.5], [1, 0])
    write_voc_xml(tmp_path / "a.xml", "sub/a.jpg", (80, 100), CLASSES, detections)
    annotation = read_annotation(tmp_path / "a.xml", CLASSES)

    assert annotation.image_size == (80, 100)
    assert annotation.boxes.tolist() == [[0, 2, 10, 20], [11, 5, 100, 80]]
    assert annotation.labels.tolist() == [1, 0]
    assert not annotation.difficult.any()
    text = (tmp_path / "a.xml").read_text()
    corners = {"xmin": 1, "ymin": 3, "xmax": 10, "ymax": 20}
    assert all(f"<{name}>{value}</{name}>" in text for name, value in corners.items())
    assert "<filename>sub/a.jpg</filename>" in text


def test_an_xml_of_nothing_has_no_objects(tmp_path: Path) -> None:
    write_voc_xml(tmp_path / "a.xml", "a.jpg", (80, 100), CLASSES, no_detections())

    assert read_annotation(tmp_path / "a.xml", CLASSES).boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cats & dogs", None),
        ("</name>", None),
        ('"图\'s"', None),
        ("\0\x1b\udcff", r"\x00\x1b\udcff"),
    ],
)
def test_names_of_classes_and_images_are_escaped(
    name: str, shown: str | None, tmp_path: Path
) -> None:
    one = detect([[0, 0, 9, 9]], [0.5])
    write_voc_xml(tmp_path / "a.xml", f"{name}.jpg", (80, 100), [name], one)

    assert read_annotation(tmp_path / "a.xml", [shown or name]).labels.tolist() == [0]
    filename = ET.fromstring((tmp_path / "a.xml").read_text()).findtext("filename")
    assert filename == f"{shown or name}.jpg"


@pytest.mark.parametrize("box", [[3.0, 3.0, 3.25, 9.0], [1.5, 1.0, 2.5, 9.0], [99.6, 0, 100, 9]])
def test_a_box_narrower_than_a_pixel_is_a_box_in_the_xml_too(
    box: list[float], tmp_path: Path
) -> None:
    write_voc_xml(tmp_path / "a.xml", "a.jpg", (80, 100), CLASSES, detect([box], [0.5]))

    assert len(read_annotation(tmp_path / "a.xml", CLASSES).boxes) == 1


def test_lists_name_every_image_and_the_images_of_each_class(out: Path) -> None:
    lists = {path.name: path.read_text() for path in (out / "voc" / "ImageSets" / "Main").iterdir()}

    assert lists == {
        "trainval.txt": "a\nnone\nz z\n",
        "cat_trainval.txt": "a  1\nnone -1\nz z -1\n",
        "dog_trainval.txt": "a  1\nnone -1\nz z -1\n",
        "two words_trainval.txt": "a -1\nnone -1\nz z  1\n",
    }
    assert (out / "voc" / "labelmap.txt").read_text().splitlines()[1:] == [
        *("cat:::", "dog:::", "two words:::")
    ]


def test_torchvision_reads_voc(tmp_path: Path) -> None:
    names = {name: size for name, size in SIZES.items() if name.endswith(".jpg")}
    boxed = boxed_images(tmp_path / "in", DETECTIONS, names)
    (tmp_path / "VOCdevkit").mkdir()
    FORMATS["voc"].write(tmp_path, boxed)
    (tmp_path / "voc").rename(tmp_path / "VOCdevkit" / "VOC2012")

    dataset = VOCDetection(str(tmp_path), "2012", "trainval")

    assert len(dataset) == 2
    image, content = dataset[0]
    assert image.size == (100, 80)
    objects = content["annotation"]["object"]
    assert [entry["name"] for entry in objects] == ["dog", "cat"]
    assert objects[0]["bndbox"] == {"xmin": "11", "ymin": "21", "xmax": "30", "ymax": "60"}
    assert dataset[1][1]["annotation"]["object"] == []


# YOLO


def test_a_line_of_yolo_has_the_center_and_the_sides_as_fractions(out: Path) -> None:
    fractions = [
        [float(word) for word in line.split()]
        for line in (out / "yolo" / "labels" / "a.txt").read_text().splitlines()
    ]

    expected = [
        [1, 20.25 / 100, 40 / 80, 20.5 / 100, 40 / 80],
        [0, 1 / 100, 1.5 / 80, 2 / 100, 3 / 80],
    ]
    assert fractions == pytest.approx(np.array(expected), abs=1e-12)
    assert (out / "yolo" / "labels" / "none.txt").read_text() == ""
    about = (out / "yolo" / "data.yaml").read_text()
    assert about.startswith("# boxes drawn by hand\n")
    assert yaml.safe_load(about) == {
        "train": "images",
        "val": "images",
        "nc": 3,
        "names": list(CLASSES),
    }
    assert (out / "yolo" / "classes.txt").read_text().splitlines() == list(CLASSES)


# LabelMe and Label Studio


def test_labelme_has_a_rectangle_a_box_beside_the_image(out: Path) -> None:
    content = parsed(out / "labelme" / "a.json")

    assert [content[key] for key in ("imagePath", "imageHeight", "imageWidth")] == [
        "a.jpg",
        80,
        100,
    ]
    assert [(shape["label"], shape["points"], shape["score"]) for shape in content["shapes"]] == [
        ("dog", [[10, 20], [30.5, 60]], 0.75),
        ("cat", [[0, 0], [2, 3]], 0.5),
    ]
    assert {shape["shape_type"] for shape in content["shapes"]} == {"rectangle"}
    assert (out / "labelme" / "a.jpg").read_bytes() == (images_of(out) / "a.jpg").read_bytes()
    assert parsed(out / "labelme" / "none.json")["shapes"] == []


def test_label_studio_has_a_prediction_an_image_in_percent_with_scores(out: Path) -> None:
    first, none, last = parsed(out / "label_studio.json")

    assert [task["data"]["image"] for task in (first, none, last)] == [
        *("http://x/a.jpg", "http://x/none.jpg", "http://x/z%20z.png")
    ]
    (prediction,) = first["predictions"]
    assert prediction["model_version"] == "hand"
    assert prediction["score"] == (0.75 + 0.5) / 2
    assert [region["score"] for region in prediction["result"]] == [0.75, 0.5]
    region = prediction["result"][0]
    assert (region["original_width"], region["original_height"]) == (100, 80)
    assert region["value"] == {
        "x": 10.0,
        "y": 25.0,
        "width": 20.5,
        "height": 50.0,
        "rotation": 0,
        "rectanglelabels": ["dog"],
    }
    assert (none["predictions"][0]["score"], none["predictions"][0]["result"]) == (0, [])
    view = ET.fromstring((out / "label_studio.xml").read_text())
    choices = view.find("RectangleLabels")
    assert choices is not None
    assert (choices.get("name"), choices.get("toName")) == (region["from_name"], region["to_name"])
    assert [choice.get("value") for choice in choices] == list(CLASSES)


# supervision


@pytest.mark.parametrize("name", ["coco", "voc", "yolo", "labelme"])
def test_supervision_reads_the_boxes(name: str, out: Path) -> None:
    reason = "supervision is a package of the group dev"
    supervision = pytest.importorskip("supervision", reason=reason)
    read = supervision.DetectionDataset
    voc, yolo, labelme = (str(out / each) for each in ("voc", "yolo", "labelme"))
    dataset = {
        "coco": lambda: read.from_coco(str(images_of(out)), str(out / "coco.json")),
        "voc": lambda: read.from_pascal_voc(f"{voc}/JPEGImages", f"{voc}/Annotations"),
        "yolo": lambda: read.from_yolo(f"{yolo}/images", f"{yolo}/labels", f"{yolo}/data.yaml"),
        "labelme": lambda: read.from_labelme(labelme, labelme),
    }[name]()

    assert sorted(Path(path).name for path in dataset.image_paths) == sorted(DETECTIONS)
    for path, image, found in dataset:
        file = Path(path).name
        assert image.shape[:2] == SIZES[file]
        assert_boxes(found.xyxy, file, atol=0.5 if name == "voc" else 1e-4)  # VOC has whole pixels
        labels = [dataset.classes[label] for label in found.class_id] if len(found) else []
        assert labels == [CLASSES[label] for label in DETECTIONS[file].labels]


def test_detections_are_handed_to_supervision() -> None:
    pytest.importorskip("supervision", reason="supervision is a package of the group dev")

    found = DETECTIONS["a.jpg"].to_supervision(CLASSES)

    assert_boxes(found.xyxy, "a.jpg")
    values = [found.confidence, found.class_id, found["class_name"]]
    expected = [[0.75, 0.5], [1, 0], ["dog", "cat"]]
    assert [np.array(each).tolist() for each in values] == expected
    assert len(no_detections().to_supervision(CLASSES)) == 0


def test_without_supervision_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)

    with pytest.raises(ModuleNotFoundError, match=r"wsddn-localizer\[supervision\]"):
        no_detections().to_supervision(CLASSES)
