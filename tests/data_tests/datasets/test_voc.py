"""The VOC reader on small files, on the synthetic data set, and on real VOC2007."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from data.checks import check_annotation
from data.datasets.image_set import ImageSet
from data.datasets.labels.content import DifficultPolicy
from data.datasets.voc import VOC_CLASSES, VOCSource, image_level_labels, read_annotation
from data.datasets.voc_layout import annotation_path, image_ids, image_path
from data.images import read_image
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import Annotation
from tests.conftest import snapshot
from tests.worlds import annotate

Corners = tuple[float | str, float | str, float | str, float | str]


def bndbox(corners: Corners) -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    return "<bndbox>" + "".join(f"<{side}>{value}</{side}>" for side, value in sides) + "</bndbox>"


def described(name: str = "cat", corners: Corners = (1, 1, 10, 10), more: str = "") -> str:
    return f"<object>{more}<name>{name}</name>{bndbox(corners)}</object>"


def document(*objects: str, size: str = "<width>100</width><height>50</height>") -> str:
    return f"<annotation><size>{size}</size>{''.join(objects)}</annotation>"


def read(folder: Path, text: str | bytes) -> Annotation:
    path = folder / "000007.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_annotation(path)


def write_list(root: Path, text: str | bytes, split: str = "train") -> Path:
    lists = root / "VOC2007" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / f"{split}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


# --- classes -------------------------------------------------------------------------------------


def test_the_twenty_classes_are_in_alphabetical_order() -> None:
    assert len(VOC_CLASSES) == 20
    assert list(VOC_CLASSES) == sorted(VOC_CLASSES)


def test_labels_count_from_zero_to_nineteen(tmp_path: Path) -> None:
    text = document(described("aeroplane"), described("tvmonitor"))
    assert read(tmp_path, text).labels.tolist() == [0, 19]
    annotation = read_annotation(tmp_path / "000007.xml", ("tvmonitor", "aeroplane"))
    assert annotation.labels.tolist() == [1, 0]  # in the order of the given classes


def test_an_unknown_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"000007\.xml: class 'head' is not one of aeroplane, "):
        read(tmp_path, document(described("head")))


# --- boxes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("corners", "box"),
    [
        ((9, 20, 30, 40), [8, 19, 30, 40]),
        ((1, 1, 100, 50), [0, 0, 100, 50]),  # the whole image
        ((5, 5, 5, 5), [4, 4, 5, 5]),  # one pixel
        (("1.5", 1, "10.25", 10), [0.5, 0, 10.25, 10]),
    ],
)
def test_one_based_closed_corners_become_zero_based_half_open(
    tmp_path: Path, corners: Corners, box: list[float]
) -> None:
    assert read(tmp_path, document(described(corners=corners))).boxes.tolist() == [box]


def test_parts_inside_of_an_object_are_not_objects(tmp_path: Path) -> None:
    part = f"<part><name>head</name>{bndbox((2, 2, '3.7', 4))}</part>"
    annotation = read(tmp_path, document(described("person", (1, 1, 9, 9), more=part)))
    assert annotation.boxes.tolist() == [[0, 0, 9, 9]]
    assert annotation.labels.tolist() == [VOC_CLASSES.index("person")]


def test_no_objects_give_tensors_of_zero_rows(tmp_path: Path) -> None:
    annotation = read(tmp_path, document())
    assert annotation.boxes.shape == (0, 4)
    assert annotation.labels.shape == annotation.difficult.shape == annotation.truncated.shape
    assert annotation.image_size == (50, 100)
    assert annotation.image_id == "000007"
    check_annotation(annotation, 20)


def test_flags_are_read_for_each_object(tmp_path: Path) -> None:
    flags = "<truncated>{}</truncated><difficult>{}</difficult>"
    objects = [described(more=flags.format(1, 0)), described(more=flags.format(0, 1)), described()]
    annotation = read(tmp_path, document(*objects))
    assert annotation.truncated.tolist() == [True, False, False]
    assert annotation.difficult.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("corners", "problem"),
    [
        ((0, 1, 9, 9), r"0 1 9 9 leave 100x50 pixels that count from 1 \(--first-pixel 0"),
        ((1, 1, 9, 51), "1 1 9 51 leave 100x50 pixels that count from 1$"),
        ((0, 1, 9, 51), "0 1 9 51 leave 100x50 pixels that count from 1$"),
        ((9, 1, 8, 9), "9 1 8 9 enclose no area"),
        ((1, 1, "nan", 9), "1 1 nan 9 are not finite"),
        ((1, 1, "-inf", 9), "1 1 -inf 9 are not finite"),
        (("five", 1, 9, 9), "five"),
        (("1_0", 1, 19, 9), "'1_0' is no number"),
        (("\uff11", 1, 19, 9), "is no number"),
    ],
)
def test_an_invalid_box_is_refused(tmp_path: Path, corners: Corners, problem: str) -> None:
    with pytest.raises(ValueError, match=rf"000007\.xml: .*{problem}"):
        read(tmp_path, document(described(corners=corners)))


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (document(size="<width>100</width>"), "size/height"),
        (document(size="<width> </width><height>50</height>"), "size/width"),
        (document(size="<width>0</width><height>0</height>"), "size/width"),
        (document().replace("size", "extent"), "size/width"),
        (document(described(more="<difficult>maybe</difficult>")), "difficult is 1 or 0"),
        (document(size="<width>wide</width><height>50</height>"), "wide"),
        (document(size="<width>1_0</width><height>50</height>"), "'1_0' is no number"),
        (document(size="<width>inf</width><height>50</height>"), "two finite numbers"),
        *(
            (document(described(more=f"<difficult>{word}</difficult>")), "difficult is 1 or 0")
            for word in ("2", "-1", "y", "1.0")
        ),
        (document(described().replace("xmin", "left")), "bndbox/xmin"),
        (document(described(name="")), "name"),
    ],
)
def test_a_missing_field_or_a_size_that_is_no_number_is_named(
    tmp_path: Path, text: str, field: str
) -> None:
    with pytest.raises(ValueError, match=rf"000007\.xml: .*{field}"):
        read(tmp_path, text)


# --- files that are not annotations --------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be"])
def test_a_document_type_is_refused_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    text = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "cat">]>' + document(described("&x;"))
    with pytest.raises(ValueError, match=r"000007\.xml: .*is not accepted in an annotation"):
        read(tmp_path, text.encode(encoding))


@pytest.mark.parametrize(
    "text", [b"", b"not xml", b"<annotation>", b"<annotation>\xff", b"\x89PNG"]
)
def test_a_file_that_is_not_xml_is_refused(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(ValueError, match=r"000007\.xml: .*line 1, column"):
        read(tmp_path, text)


@pytest.mark.parametrize("encoding", ["klingon", "hex", "utf-7"])
def test_an_encoding_that_xml_does_not_know_is_refused(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(ValueError, match=r"000007\.xml: .*encoding"):
        read(tmp_path, f'<?xml version="1.0" encoding="{encoding}"?>{document()}')


def test_a_missing_annotation_is_named_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"000009\.xml: no annotation \(--voc-root is"):
        read_annotation(tmp_path / "000009.xml")


# --- lists ---------------------------------------------------------------------------------------


def test_a_byte_order_mark_crlf_and_blank_lines_are_fine(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbf000001\r\n\r\n  \r\n 000002 \r\n000003"
    assert image_ids(write_list(tmp_path, text), "train") == ["000001", "000002", "000003"]


def test_names_as_telephones_and_video_tools_write_them_keep_their_order(tmp_path: Path) -> None:
    names = ["2007_000001", "IMG (1)", "[0'6'53]_frame 94", "18.14.mp4_760", "Zürich", "frame 1"]
    assert image_ids(write_list(tmp_path, "\n".join(names)), "train") == names


@pytest.mark.parametrize(
    "name", ["../secret", "a/b", "..", ".hidden", "/etc/passwd", "a\\b", "-x", "a\tb", "a\0b"]
)
def test_a_name_that_is_no_plain_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"train\.txt: .* is not the name of an image"):
        image_ids(write_list(tmp_path, f"000001\n{name}\n"), "train")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the list is empty"),
        ("\n\r\n  \n", "the list is empty"),
        ("a\nc\nb\na\nc\n", "listed twice: a, c$"),
        (b"\xff\xfe0\x000\x00", "not a text file in UTF-8"),
    ],
)
def test_an_invalid_list_is_refused(tmp_path: Path, text: str | bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=rf"train\.txt: {problem}"):
        image_ids(write_list(tmp_path, text), "train")


def test_a_missing_list_is_named_with_those_that_exist_and_the_next_step(tmp_path: Path) -> None:
    missing = r"val\.txt: no list of split 'val'"
    with pytest.raises(FileNotFoundError, match=rf"{missing} \(there are train; --voc-root"):
        image_ids(write_list(tmp_path, "a"), "val")
    with pytest.raises(FileNotFoundError, match=rf"{missing} \(--voc-root"):
        image_ids(tmp_path / "empty", "val")


# --- image-level labels --------------------------------------------------------------------------


def objects(*labels: int, difficult: tuple[bool, ...] | None = None) -> Annotation:
    return annotate([[0, 0, 1, 1]] * len(labels), labels, difficult)


def test_present_classes_are_one_and_absent_ones_zero() -> None:
    targets, weights = image_level_labels(objects(0, 2, 2), 4)
    assert targets.tolist() == [1, 0, 1, 0]
    assert weights.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("policy", "target", "weight"), [("ignore", 0, 0), ("positive", 1, 1), ("negative", 0, 1)]
)
def test_a_class_with_only_difficult_objects_follows_the_policy(
    policy: DifficultPolicy, target: float, weight: float
) -> None:
    targets, weights = image_level_labels(
        objects(1, 1, difficult=(True, True)), 3, difficult=policy
    )
    assert targets.tolist() == [0, target, 0]
    assert weights.tolist() == [1, weight, 1]


@pytest.mark.parametrize("policy", ["ignore", "positive", "negative"])
@pytest.mark.parametrize("order", [(True, False), (False, True)])
def test_one_object_that_is_not_difficult_settles_its_class_under_every_policy(
    policy: DifficultPolicy, order: tuple[bool, bool]
) -> None:
    both = objects(1, 1, difficult=order)
    targets, weights = image_level_labels(both, 3, difficult=policy)
    assert targets.tolist() == [0, 1, 0]
    assert weights.tolist() == [1, 1, 1]


@pytest.mark.parametrize("policy", ["ignore", "positive", "negative"])
def test_an_image_without_objects_is_negative_for_every_class(policy: DifficultPolicy) -> None:
    targets, weights = image_level_labels(annotate([]), 3, difficult=policy)
    assert targets.tolist() == [0, 0, 0]
    assert weights.tolist() == [1, 1, 1]


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="difficult is ignore, positive or negative; got 'drop'"):
        image_level_labels(annotate([]), difficult="drop")  # type: ignore[arg-type]


# --- the data set --------------------------------------------------------------------------------


def open_tiny(root: Path, split: str = "train") -> ImageSet:
    return VOCSource(root, classes=SYNTHETIC_CLASSES).open(split)


@pytest.mark.parametrize(("split", "count"), [("train", 12), ("val", 6), ("trainval", 18)])
def test_a_data_set_is_as_long_as_its_list(tiny_voc: Path, split: str, count: int) -> None:
    assert len(open_tiny(tiny_voc, split)) == count


def test_a_sample_holds_the_image_and_the_labels_of_its_name(tiny_voc: Path) -> None:
    dataset = open_tiny(tiny_voc)
    sample = dataset[5]
    annotation = read_annotation(annotation_path(tiny_voc, dataset.ids[5]), SYNTHETIC_CLASSES)
    targets, weights = image_level_labels(annotation, len(SYNTHETIC_CLASSES))
    assert sample.image_id == dataset.ids[5]
    assert sample.network_size == annotation.image_size
    assert torch.equal(sample.image, read_image(image_path(tiny_voc, dataset.ids[5])))
    assert torch.equal(sample.targets, targets)
    assert torch.equal(sample.weights, weights)


def test_the_policy_reaches_the_labels_and_images_that_are_left_out_are_not_read(
    tmp_path: Path,
) -> None:
    write_list(tmp_path, "a\nb")
    left_out = [image_path(tmp_path, "b")]
    with pytest.raises(FileNotFoundError, match=r"no such image: a$"):
        VOCSource(tmp_path).open("train", leave_out=left_out)
    image = image_path(tmp_path, "a")
    image.parent.mkdir()
    image.touch()
    with pytest.raises(FileNotFoundError, match=r"a\.xml: no annotation"):
        VOCSource(tmp_path).open("train", leave_out=left_out)
    annotations = tmp_path / "VOC2007" / "Annotations"
    annotations.mkdir()
    (annotations / "a.xml").write_text(document(described(more="<difficult>1</difficult>")))
    cat = VOC_CLASSES.index("cat")
    dataset = VOCSource(tmp_path).open("train", leave_out=left_out)
    assert dataset.ids == ["a"]
    assert dataset.weights[0, cat] == 0
    dataset = VOCSource(tmp_path, difficult="positive").open("train", leave_out=left_out)
    assert dataset.targets[0, cat] == 1
    image.unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.jpg: no such image"):
        dataset[0]
    with pytest.raises(ValueError, match="train: no image is left"):
        VOCSource(tmp_path).open("train", leave_out=[image_path(tmp_path, "a"), *left_out])


def test_an_image_of_another_size_than_its_annotation_is_refused(tiny_voc: Path) -> None:
    dataset = open_tiny(tiny_voc)
    height, width = dataset.annotations[0].image_size
    dataset.annotations[0] = Annotation(
        "a", (width + 1, height), *(torch.zeros(0) for _ in range(4))
    )
    says = f"the image is {width}x{height}, its annotation says {height}x{width + 1}"
    with pytest.raises(ValueError, match=rf"{dataset.ids[0]}\.jpg: {says}"):
        dataset[0]


def test_images_that_are_left_out_are_not_in_the_split(tiny_voc: Path) -> None:
    ids = open_tiny(tiny_voc).ids
    bad = {image_path(tiny_voc, name) for name in (ids[0], ids[5], "another")}
    dataset = VOCSource(tiny_voc, classes=SYNTHETIC_CLASSES).open("train", leave_out=bad)
    assert dataset.ids == ids[1:5] + ids[6:]
    assert torch.equal(dataset[4].image, open_tiny(tiny_voc)[6].image)
    assert torch.equal(dataset.targets, open_tiny(tiny_voc).targets[[1, 2, 3, 4, *range(6, 12)]])


def test_reading_through_a_link_of_any_name_changes_nothing(tiny_voc: Path, tmp_path: Path) -> None:
    link = tmp_path / "Bilder für später 图"
    link.symlink_to(tiny_voc, target_is_directory=True)
    before = snapshot(tiny_voc)
    dataset, linked = open_tiny(tiny_voc), open_tiny(link)
    for index in range(len(dataset)):
        assert torch.equal(linked[index].image, dataset[index].image)
    assert snapshot(tiny_voc) == before


# --- real images -------------------------------------------------------------------------------

# Images with an object of the class that is not difficult, in the part of VOC2007 that travels
# beside the project: 992 images of trainval and 320 of test.
IN_TRAINVAL = {
    "aeroplane": 51, "bicycle": 45, "bird": 62, "boat": 28, "bottle": 44, "bus": 35, "car": 141,
    "cat": 72, "chair": 98, "cow": 41, "diningtable": 39, "dog": 86, "horse": 72, "motorbike": 52,
    "person": 379, "pottedplant": 57, "sheep": 31, "sofa": 48, "train": 45, "tvmonitor": 46,
}  # fmt: skip
IN_TEST = {
    "aeroplane": 9, "bicycle": 21, "bird": 17, "boat": 11, "bottle": 17, "bus": 19, "car": 38,
    "cat": 24, "chair": 25, "cow": 10, "diningtable": 11, "dog": 25, "horse": 19, "motorbike": 15,
    "person": 135, "pottedplant": 18, "sheep": 12, "sofa": 14, "train": 13, "tvmonitor": 10,
}  # fmt: skip


@pytest.fixture(scope="module", params=["trainval", "test"])
def real(request: pytest.FixtureRequest, voc_root: Path) -> ImageSet:
    dataset = VOCSource(voc_root).open(request.param)
    if len(dataset) != {"trainval": 992, "test": 320}[request.param]:
        pytest.skip(f"{voc_root} is not the part of VOC2007 that the figures belong to")
    return dataset


@pytest.mark.voc
def test_real_class_counts_are_the_known_ones(real: ImageSet) -> None:
    counts = real.targets.sum(dim=0).int().tolist()
    known = IN_TRAINVAL if real.split == "trainval" else IN_TEST
    assert dict(zip(VOC_CLASSES, counts, strict=True)) == known


@pytest.mark.voc
def test_every_real_image_decodes_to_its_annotations_size(real: ImageSet) -> None:
    for index, annotation in enumerate(real.annotations):
        assert real[index].image.shape == (3, *annotation.image_size)


# --- images that are turned upright --------------------------------------------------------------

# The box of columns 10 to 30 and rows 5 to 15 of 60x40 stored pixels, as people see it: 40x60.
TURNED_BOXES = {5: [5, 10, 15, 30], 6: [25, 10, 35, 30], 7: [25, 30, 35, 50], 8: [5, 30, 15, 50]}


def one_turned_image(
    root: Path, orientation: int, size: tuple[int, int], corners: Corners
) -> ImageSet:
    """60x40 pixels as stored, white in that box; its annotation says (width, height) ``size``."""
    stored = Image.new("RGB", (60, 40))
    stored.paste((255, 255, 255), (10, 5, 30, 15))
    exif = Image.Exif()
    exif[0x0112] = orientation
    text = document(
        described("cat", corners), size=f"<width>{size[0]}</width><height>{size[1]}</height>"
    )
    write_list(root, "a\n")
    for path in (image_path(root, "a"), annotation_path(root, "a")):
        path.parent.mkdir()
    stored.save(image_path(root, "a"), "PNG", exif=exif)
    annotation_path(root, "a").write_text(text)
    return VOCSource(root).open("train")


@pytest.mark.parametrize("orientation", TURNED_BOXES)
@pytest.mark.parametrize("annotated", ["as stored", "as seen"])
def test_boxes_on_stored_and_on_turned_pixels_are_told_apart_by_the_size(
    tmp_path: Path, annotated: str, orientation: int
) -> None:
    x1, y1, x2, y2 = TURNED_BOXES[orientation]
    as_seen = (40, 60), (x1 + 1, y1 + 1, x2, y2)
    size, corners = as_seen if annotated == "as seen" else ((60, 40), (11, 6, 30, 15))

    dataset = one_turned_image(tmp_path, orientation, size, corners)

    assert dataset.annotations[0].image_size == (60, 40)
    assert dataset.annotations[0].boxes.tolist() == [TURNED_BOXES[orientation]]
    image = dataset[0].image
    assert image.shape == (3, 60, 40)
    assert (image[:, y1:y2, x1:x2] == 255).all()
    assert (image == 255).sum() == 3 * 20 * 10


def test_boxes_count_as_upright_where_a_turn_leaves_the_size(tmp_path: Path) -> None:
    dataset = one_turned_image(tmp_path, 3, (60, 40), (31, 26, 50, 35))
    assert dataset.annotations[0].boxes.tolist() == [[30, 25, 50, 35]]
    assert (dataset[0].image[:, 25:35, 30:50] == 255).all()


def test_a_size_that_is_neither_stored_nor_upright_is_refused(tmp_path: Path) -> None:
    dataset = one_turned_image(tmp_path, 6, (41, 60), (1, 1, 10, 10))
    with pytest.raises(ValueError, match=r"a\.jpg: the image is 40x60, its annotation says 41x60"):
        dataset[0]
