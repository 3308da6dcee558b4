"""Boxes on images of one's own, from the command line."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import torch

from data.datasets.voc import image_level_labels, read_annotation
from data.datasets.voc_layout import annotation_path, image_ids, image_path
from data.images import read_image
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import Detections, Proposals
from tests.conftest import snapshot
from tests.tools_tests.conftest import process_as_before
from tests.worlds import files_of, random_boxes, write_proposals
from tools.cli.command import parse_settings
from tools.detect import main
from tools.exports.settings import DetectSettings
from tools.files.detections import read_detections
from tools.files.formats import FORMATS
from tools.loggers.colors import CLASS_COLORS
from tools.pages.draw import draw_boxes, encode_jpeg, write_jpeg
from tools.runs.folder import read_settings, write_settings

NAMES = ("beach/cat.jpg", "cat.jpg", "cat.png")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def images(elsewhere: Path, tiny_voc: Path) -> Path:
    """Three small images, two of which differ in their ending alone; only read."""
    folder = elsewhere / "photographs"
    for name, image_id in zip(NAMES, image_ids(tiny_voc, "test"), strict=False):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_jpeg(path, read_image(image_path(tiny_voc, image_id))[:, ::2, ::2])
    return folder


@pytest.fixture(scope="module")
def proposals(elsewhere: Path) -> str:
    """The option for forty boxes at random in each of them, in a file."""
    generator = torch.Generator().manual_seed(0)
    boxes = {
        name: Proposals(random_boxes(40, generator, corner=45, sides=(20, 55)), None)
        for name in NAMES
    }
    return f"--proposals={write_proposals(elsewhere / 'p.npz', boxes)}"


def words(run_dir: Path, images: Path, out: Path, *others: str) -> list[str]:
    small = f"--run-dir {run_dir} --images {images} --out {out} --amp off --device cpu"
    everything = ("--min-image-score", "0", "--relative-score", "0")
    return [*small.split(), "--processes", "1", *everything, *others]


def detections_in(out: Path) -> dict[str, Detections]:
    classes, detections = read_detections(out / "detections.json")
    assert classes == SYNTHETIC_CLASSES
    return detections


@pytest.fixture(scope="module")
def detected(detector_run: Path, images: Path, proposals: str, elsewhere: Path) -> Path:
    """What the detector finds in the folder with those boxes; only read."""
    before = snapshot(images)
    with process_as_before():
        assert main(words(detector_run, images, elsewhere / "out", proposals)) == 0
    assert snapshot(images) == before  # the images' own folder is not written to
    return elsewhere / "out"


# What is written


def test_every_file_is_written_and_subfolders_are_kept(detected: Path) -> None:
    lists = ["trainval", *(f"{name}_trainval" for name in sorted(SYNTHETIC_CLASSES))]
    names = [name for name in files_of(detected) if not name.startswith("voc/ImageSets/")]
    assert names == [
        *("coco.json", "coco_results.json", "detections.json"),
        *("images/beach/cat.jpg.jpg", "images/cat.jpg.jpg", "images/cat.png.jpg"),
        *(f"voc/Annotations/{name}.xml" for name in ("beach/cat", "cat.png", "cat")),
        *(f"voc/JPEGImages/{name}" for name in ("beach/cat.jpg", "cat.jpg", "cat.png.png")),
        "voc/labelmap.txt",
    ]
    main_lists = (detected / "voc" / "ImageSets" / "Main").iterdir()
    assert {path.stem for path in main_lists} == set(lists)


def test_no_name_leads_out_of_the_folder(small_run: Path, tiny_voc: Path, tmp_path: Path) -> None:
    names = ("..%2f..%2fup.jpg", "two\nlines.jpg", "<b>'\"& \x1b[31m.jpg", "\udcff.jpg")
    folder, out = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    for name in names:
        shutil.copyfile(image_path(tiny_voc, image_ids(tiny_voc, "test")[0]), folder / name)

    every = f"--formats=[{','.join(FORMATS)}]"
    assert main(words(small_run, folder, out, every)) == 0

    assert {path.name for path in tmp_path.iterdir()} == {"images", "out"}
    assert {path.name for path in (out / "images").iterdir()} == {f"{name}.jpg" for name in names}
    xmls = {
        path.stem: read_annotation(path, SYNTHETIC_CLASSES)
        for path in out.glob("voc/Annotations/*.xml")
    }
    assert {f"{name}.jpg" for name in xmls} == set(names)
    assert set(detections_in(out)) == set(names)


def test_every_file_holds_the_detections_of_every_image_the_top_scoring_first(
    detected: Path, images: Path
) -> None:
    detections = detections_in(detected)
    assert tuple(detections) == NAMES
    coco = json.loads((detected / "coco.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == list(NAMES)
    assert len(coco["annotations"]) == sum(len(each.boxes) for each in detections.values())
    assert [category["name"] for category in coco["categories"]] == list(SYNTHETIC_CLASSES)
    for name, file in zip(NAMES, ("beach/cat.xml", "cat.xml", "cat.png.xml"), strict=True):
        of_image, image = detections[name], read_image(images / name)
        assert 0 < len(of_image.scores) <= 100
        assert of_image.scores.equal(of_image.scores.sort(descending=True).values)
        xml = detected / "voc" / "Annotations" / file
        annotation = read_annotation(xml, SYNTHETIC_CLASSES)
        assert annotation.boxes.equal(of_image.boxes.round())
        assert annotation.labels.equal(of_image.labels)
        assert annotation.image_size == tuple(image.shape[1:])
        filename = ET.fromstring(xml.read_text()).findtext("filename")
        assert (detected / "voc" / "JPEGImages" / str(filename)).samefile(images / name)
        texts = [
            f"{SYNTHETIC_CLASSES[label]} {score:.2f}"
            for label, score in zip(of_image.labels.tolist(), of_image.scores.tolist(), strict=True)
        ]
        colors = [CLASS_COLORS[label] for label in of_image.labels.tolist()]
        drawn = encode_jpeg(draw_boxes(image, of_image.boxes, colors, texts))
        assert (detected / "images" / f"{name}.jpg").read_bytes() == drawn


def test_reviewed_boxes_stay_or_are_not_found_again(
    detected: Path,
    detector_run: Path,
    images: Path,
    proposals: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    header = "image,class,x1,y1,x2,y2,score,mark,new_class"
    found = detections_in(detected)["cat.jpg"]
    corners = ",".join(f"{side:.9g}" for side in found.boxes[0].tolist())
    was = SYNTHETIC_CLASSES[int(found.labels[0])]
    new = next(name for name in SYNTHETIC_CLASSES if name != was)
    reviewed = tmp_path / "reviewed.csv"
    option = f"--reviewed={reviewed}"
    for mark, name in (("rejected", ""), ("relabeled", new)):
        row = f"{corners},0.5,{mark},{name}"
        reviewed.write_text(f"{header}\ncat.jpg,{was},{row}\ngone.jpg,{was},{row}\n")
        out = tmp_path / mark
        assert main(words(detector_run, images, out, proposals, option)) == 0

        errors = capsys.readouterr().err
        assert f"warning: {reviewed}: images that are not among these: gone.jpg" in errors
        now = detections_in(out)["cat.jpg"]
        same = now[(now.boxes == found.boxes[0]).all(dim=1)]
        assert [SYNTHETIC_CLASSES[label] for label in same.labels.tolist()].count(was) == 0
        if name:
            assert SYNTHETIC_CLASSES.index(name) in same.labels.tolist()

    reviewed.write_text(f"{header}\ncat.jpg,dragon,{corners},0.5,accepted,\n")
    assert main(words(detector_run, images, tmp_path / "out", proposals, option)) == 2
    assert "cat.jpg: class 'dragon' is not one of" in capsys.readouterr().err


def test_the_same_again_gives_the_same_files(
    detected: Path, detector_run: Path, images: Path, proposals: str, tmp_path: Path
) -> None:
    assert main(words(detector_run, images, tmp_path / "out", proposals)) == 0
    assert files_of(tmp_path / "out") == files_of(detected)


# Choices


def test_shards_join_to_the_same_files(
    detected: Path, detector_run: Path, images: Path, proposals: str, tmp_path: Path
) -> None:
    shards = [tmp_path / f"{number}" for number in (1, 2)]
    for number, shard in enumerate(shards, start=1):
        shard_words = words(detector_run, images, shard, proposals, "--shard", f"{number}/2")
        assert main(shard_words) == 0
    assert list(detections_in(shards[1])) == [NAMES[1]]

    made = ("--made", *map(str, shards))
    assert main(words(detector_run, images, tmp_path / "all", proposals, *made)) == 0
    assert files_of(tmp_path / "all") == files_of(detected)


def test_shards_of_other_settings_and_whole_results_are_not_joined(
    detected: Path,
    detector_run: Path,
    images: Path,
    proposals: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shard = tmp_path / "shard"
    others = (proposals, "--shard", "1/2", "--max-detections", "3")
    assert main(words(detector_run, images, shard, *others)) == 0
    for made in (shard, detected):
        joined = words(detector_run, images, tmp_path / "all", proposals, "--made", str(made))
        assert main(joined) == 2
        assert f"{made / 'detections.json'}: not made by detect --shard" in capsys.readouterr().err
    assert not (tmp_path / "all").exists()


def test_one_image_alone_has_the_boxes_that_it_has_in_its_folder(
    detected: Path, detector_run: Path, images: Path, proposals: str, tmp_path: Path
) -> None:
    assert main(words(detector_run, images / "cat.png", tmp_path, proposals)) == 0

    detections, expected = detections_in(tmp_path), detections_in(detected)["cat.png"]
    assert list(detections) == ["cat.png"]
    assert detections["cat.png"].boxes.equal(expected.boxes)
    assert detections["cat.png"].scores.equal(expected.scores)
    assert (tmp_path / "voc" / "ImageSets" / "Main" / "trainval.txt").read_text() == "cat\n"


def test_low_scores_are_left_out_only_so_many_are_kept_and_images_need_not_be_drawn(
    detected: Path, detector_run: Path, images: Path, proposals: str, tmp_path: Path
) -> None:
    expected = detections_in(detected)["cat.jpg"]
    argv = words(detector_run, images / "cat.jpg", tmp_path, proposals, "--draw", "false")
    argv += ["--replace", "true"]

    best = torch.zeros(len(SYNTHETIC_CLASSES)).scatter_reduce(
        0, expected.labels, expected.scores, "amax"
    )
    fraction = float((expected.scores / best[expected.labels]).median())
    near = expected.scores >= fraction * best[expected.labels]
    assert 0 < near.sum() < len(near)
    for option, kept in (
        (f"--relative-score={fraction!r}", expected[near]),
        ("--max-detections=2", expected[torch.arange(2)]),
    ):
        assert main([*argv, option]) == 0
        detections = detections_in(tmp_path)["cat.jpg"]
        assert detections.scores.equal(kept.scores)
        assert detections.boxes.equal(kept.boxes)
    assert not (tmp_path / "images").exists()


def test_without_an_image_score_that_is_high_enough_files_have_no_objects(
    detector_run: Path, images: Path, proposals: str, tmp_path: Path
) -> None:
    assert main(words(detector_run, images, tmp_path, proposals, "--min-image-score", "1")) == 0

    assert [len(of_image.boxes) for of_image in detections_in(tmp_path).values()] == [0, 0, 0]
    assert len(read_annotation(tmp_path / "voc" / "Annotations" / "cat.xml").boxes) == 0
    plain = encode_jpeg(read_image(images / "cat.jpg"))
    assert (tmp_path / "images" / "cat.jpg.jpg").read_bytes() == plain


def test_proposals_are_made_on_the_way_by_any_number_of_processes(
    detector_run: Path, images: Path, tmp_path: Path
) -> None:
    before = snapshot(images)
    for count in ("1", "2"):
        argv = words(detector_run, images / "beach", tmp_path / count, "--processes", count)
        assert main(argv) == 0

    assert files_of(tmp_path / "1") == files_of(tmp_path / "2")
    ((name, detections),) = detections_in(tmp_path / "1").items()
    assert name == "cat.jpg"
    assert len(detections.boxes) > 0
    sides = detections.boxes[:, 2:] - detections.boxes[:, :2]
    assert (sides >= 20).all()  # --min-size of the training
    assert snapshot(images) == before


def test_an_image_without_large_enough_proposals_has_no_detections(
    detector_run: Path, tmp_path: Path, rng: torch.Generator
) -> None:
    noise = torch.randint(256, (3, 16, 16), generator=rng).byte()  # no side reaches 20 pixels
    (tmp_path / "in").mkdir()
    write_jpeg(tmp_path / "in" / "small.jpg", noise)

    assert main(words(detector_run, tmp_path / "in", tmp_path / "out")) == 0
    assert detections_in(tmp_path / "out")["small.jpg"].boxes.shape == (0, 4)


def test_a_localizer_gives_boxes_from_its_heatmap(
    small_run: Path, images: Path, tmp_path: Path
) -> None:
    before = snapshot(images)

    assert main(words(small_run, images, tmp_path)) == 0
    detections = detections_in(tmp_path)
    assert tuple(detections) == NAMES
    for name in NAMES:
        height, width = read_image(images / name).shape[1:]
        boxes = detections[name].boxes
        assert len(boxes) > 0
        assert (boxes >= 0).all()
        assert (boxes[:, 2:] <= torch.tensor([width, height]) + 1e-3).all()  # float32 of a ratio
    xml = tmp_path / "voc" / "Annotations" / "beach" / "cat.xml"
    annotation = read_annotation(xml, SYNTHETIC_CLASSES)
    assert annotation.boxes.equal(detections["beach/cat.jpg"].boxes.round())
    assert snapshot(images) == before


def test_features_of_a_frozen_backbone_stay_float32(
    detector_run: Path, images: Path, proposals: str, detected: Path, tmp_path: Path
) -> None:
    frozen = Path(shutil.copytree(detector_run, tmp_path / "frozen"))
    trained = read_settings(frozen)
    write_settings(frozen, replace(trained, pretrained=True, frozen_backbone=True))
    for run, out in ((detector_run, tmp_path / "bf16"), (frozen, tmp_path / "off")):
        assert main(words(run, images, out, proposals, "--amp", "bf16", "--draw", "false")) == 0

    expected = (detected / "detections.json").read_bytes()
    assert (tmp_path / "off" / "detections.json").read_bytes() == expected
    assert (tmp_path / "bf16" / "detections.json").read_bytes() != expected


def test_features_of_the_runs_cache_give_the_same_boxes_but_for_rounding(
    detector_run: Path, images: Path, proposals: str, detected: Path, tmp_path: Path
) -> None:
    frozen, cache = Path(shutil.copytree(detector_run, tmp_path / "frozen")), tmp_path / "features"
    frozen_settings: dict[str, Any] = {
        "pretrained": True,
        "frozen_backbone": True,
        "feature_cache": cache,
    }
    write_settings(frozen, replace(read_settings(frozen), **frozen_settings))
    others = (proposals, "--draw", "false", "--cached", "true")
    assert main(words(frozen, images, tmp_path / "out", *others)) == 0

    assert len([*cache.rglob("*.npz")]) == 2 * len(NAMES)  # features, and scores of proposals
    expected, cached = detections_in(detected), detections_in(tmp_path / "out")
    for name, of_image in expected.items():
        # features are kept in float16
        torch.testing.assert_close(cached[name].scores, of_image.scores, atol=2e-3, rtol=0)


def test_a_localizers_heatmap_moves_the_scores_of_the_detector(
    detected: Path,
    detector_run: Path,
    small_run: Path,
    images: Path,
    proposals: str,
    tmp_path: Path,
) -> None:
    others = (proposals, "--draw", "false", "--rescore-from", str(small_run))
    assert main(words(detector_run, images, tmp_path, *others)) == 0

    alone, both = (detections_in(out)["cat.jpg"] for out in (detected, tmp_path))
    assert alone.scores.tolist() != both.scores.tolist()


# Labels that are known


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """A cat of this world is whatever it is: the first class in one image, two in another."""
    first, second, *_ = SYNTHETIC_CLASSES
    rows = [f"{NAMES[0]},{first}", f"{NAMES[1]},{second}|{first}", f"{NAMES[2]},"]
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(["image,labels", *rows, ""]))
    return path


@pytest.mark.parametrize("run", ["small_run", "detector_run"])
def test_boxes_are_of_the_classes_that_an_image_holds(
    run: str,
    request: pytest.FixtureRequest,
    images: Path,
    proposals: str,
    labels: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    others = [f"--labels={labels}", "--draw=false", "--min-image-score=0.999"]
    others += [proposals] if run == "detector_run" else []
    argv = words(request.getfixturevalue(run), images, tmp_path / "out", *others)

    assert main(argv) == 0

    found = [set(of_image.labels.tolist()) for of_image in detections_in(tmp_path / "out").values()]
    assert found == [{0}, {0, 1}, set()]
    said = "labels of 3 images are known: no box of an absent class, at least one of each present"
    assert said in capsys.readouterr().out
    for file in ("detections.json", "coco.json"):
        info = json.loads((tmp_path / "out" / file).read_text())["info"]
        assert info["description"].startswith(said)
        assert (info["labels_used"], info["min_image_score"]) == (True, 0.999)


def test_labels_can_be_ignored(
    detected: Path,
    detector_run: Path,
    images: Path,
    proposals: str,
    labels: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    others = [f"--labels={labels}", "--ignore-labels=true", "--draw=false"]
    assert main(words(detector_run, images, tmp_path / "out", proposals, *others)) == 0

    found, as_without = detections_in(tmp_path / "out"), detections_in(detected)
    assert all(found[name].scores.equal(as_without[name].scores) for name in NAMES)
    assert "labels of 3 images are known and ignored" in capsys.readouterr().out
    info = json.loads((tmp_path / "out" / "detections.json").read_text())["info"]
    assert info["labels_used"] is False


def test_without_images_those_that_the_run_learned_from_are_boxed_with_their_labels(
    small_run: Path, tiny_voc: Path, tmp_path: Path
) -> None:
    argv = ["--run-dir", str(small_run), "--out", str(tmp_path), "--split", "val", "--device=cpu"]
    argv += ["--voc-root", str(tiny_voc), "--draw=false", "--relative-score=1"]
    assert main(argv) == 0

    found = detections_in(tmp_path)
    assert list(found) == image_ids(tiny_voc, "val")
    for image_id, of_image in found.items():
        annotation = read_annotation(annotation_path(tiny_voc, image_id), SYNTHETIC_CLASSES)
        targets, weights = image_level_labels(annotation, len(SYNTHETIC_CLASSES))
        assert set(targets.nonzero().flatten().tolist()) <= set(of_image.labels.tolist())
        assert not {label for label in of_image.labels.tolist() if weights[label] > targets[label]}
    assert (tmp_path / "voc" / "ImageSets" / "Main" / "val.txt").read_text().split() == list(found)


# An earlier result


def test_an_earlier_result_is_refused_or_replaced_as_a_whole(
    small_run: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    every = f"--formats=[{','.join(FORMATS)}]"
    assert main(words(small_run, images, tmp_path / "out", every)) == 0
    before = snapshot(tmp_path / "out")

    argv = words(small_run, images / "beach", tmp_path / "out", "--draw=false", "--formats=[yolo]")
    assert main(argv) == 2
    assert f"error: {tmp_path}/out: holds a result" in capsys.readouterr().err
    assert snapshot(tmp_path / "out") == before

    assert main([*argv, "--replace=true"]) == 0
    assert list(files_of(tmp_path / "out")) == [
        "detections.json",
        *("yolo/classes.txt", "yolo/data.yaml", "yolo/images/cat.jpg", "yolo/labels/cat.txt"),
    ]


def test_a_failure_leaves_the_earlier_result(
    small_run: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(images, tmp_path / "in"))
    assert main(words(small_run, folder, tmp_path / "out")) == 0
    before = snapshot(tmp_path / "out")
    (folder / "cat.png").write_bytes((folder / "cat.png").read_bytes()[:900])

    assert main(words(small_run, folder, tmp_path / "out", "--replace=true")) == 2

    assert "cat.png: the image does not decode" in capsys.readouterr().err
    assert snapshot(tmp_path / "out").keys() == before.keys()
    assert detections_in(tmp_path / "out").keys() == set(NAMES)


def test_a_folder_with_other_files_is_never_written_to(
    small_run: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").touch()

    assert main(words(small_run, images, tmp_path, "--replace=true")) == 2

    assert "holds thesis.tex, which is no part of a result" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


# Refusals


def test_an_unknown_format_is_refused_by_its_name(
    small_run: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(small_run, images, tmp_path / "out", "--formats=[coco,kitti]")) == 2
    message = "error: --formats: 'kitti' is not one of coco, voc, yolo, labelme, label_studio"
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("on_bad", ["refuse", "skip"])
def test_a_bad_image_is_refused_by_name_or_left_out_when_asked_for(
    on_bad: str,
    detector_run: Path,
    images: Path,
    proposals: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # what is known of images is kept in the working folder
    folder, out = Path(shutil.copytree(images, tmp_path / "photographs")), tmp_path / "out"
    bad = folder / "cat.jpg"
    bad.write_bytes(bad.read_bytes()[: bad.stat().st_size // 2])
    before = snapshot(folder)

    code = main(words(detector_run, folder, out, proposals, "--on-bad", on_bad))
    printed = capsys.readouterr()
    assert snapshot(folder) == before
    if on_bad == "refuse":
        assert code == 2
        assert f"error: {bad}: the image does not decode (" in printed.err
        assert not (out / "detections.json").exists()
    else:
        assert code == 0
        assert "all: 2 images, 1 bad ones left out" in printed.out
        assert f"warning: {bad}: left out: " in printed.err
        assert list(detections_in(out)) == ["beach/cat.jpg", "cat.png"]


def test_a_localizer_takes_its_boxes_from_proposals(
    small_run: Path, images: Path, tmp_path: Path
) -> None:
    boxes = [[3.0, 4.0, 33.0, 37.0], [3.0, 4.0, 34.0, 37.0]]
    one = {name: Proposals(torch.tensor(boxes), None) for name in NAMES}
    path = write_proposals(tmp_path / "two.npz", one)

    assert main(words(small_run, images, tmp_path / "out", f"--proposals={path}")) == 0

    for found in detections_in(tmp_path / "out").values():
        assert (found.boxes >= torch.tensor(boxes).amin(dim=0)).all()
        assert (found.boxes <= torch.tensor(boxes).amax(dim=0)).all()
        assert len(found.boxes)


def test_a_second_localizer_for_a_localizer_is_refused(
    small_run: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = f"--rescore-from={small_run}"

    assert main(words(small_run, images, tmp_path / "out", others)) == 2
    assert capsys.readouterr().err.startswith(f"error: {small_run}: holds a localizer")
    assert not (tmp_path / "out").exists()


def write_text(path: Path) -> None:
    path.write_text("hello")


@pytest.mark.parametrize(
    ("name", "make", "refusal"),
    [
        ("none", None, "no such image or folder"),
        ("empty", Path.mkdir, "no images in it"),
        ("cat.jpg", write_text, "the image does not decode"),
        ("notes.txt", write_text, ""),
    ],
)
def test_what_holds_no_image_is_refused_by_its_name(
    name: str,
    make: Callable[[Path], None] | None,
    refusal: str,
    detector_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if make is not None:
        make(tmp_path / name)

    assert main(words(detector_run, tmp_path / name, tmp_path / "out")) == 2
    assert f"error: {tmp_path / name}: {refusal}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_for_detections_among_the_images_is_refused(
    small_run: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(small_run, images, images / "out")) == 2
    assert capsys.readouterr().err.startswith(f"error: --out {images / 'out'}: ")
    assert not (images / "out").exists()


def test_a_folder_without_a_run_is_refused(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tmp_path / "typo", images, tmp_path / "out")) == 2

    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/typo/settings.yaml: ")
    assert not (tmp_path / "typo").exists()


def test_proposals_of_other_or_larger_images_are_refused_by_their_names(
    detector_run: Path,
    images: Path,
    proposals_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = Proposals(torch.tensor([[0.0, 0.0, 999.0, 999.0]]), None)
    larger = write_proposals(tmp_path / "p.npz", dict.fromkeys(NAMES, whole))

    for path, refusal in (
        (proposals_file, f"no proposals of {', '.join(NAMES)} ("),
        (larger, f"image {NAMES[0]}: 100% of the boxes leave"),
    ):
        argv = words(detector_run, images, tmp_path / "out", "--proposals", str(path))
        assert main(argv) == 2
        assert f"error: {path}: {refusal}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--min-image-score", "-0.1"), ("--min-image-score", "1.5"), ("--relative-score", "2")),
        *(("--max-detections", "0"), ("--processes", "-1")),
    ],
)
def test_settings_without_sense_are_refused(option: str, value: str) -> None:
    argv = ["--run-dir", "x", "--images", "x", "--out", "x", option, value]

    with pytest.raises(ValueError, match=f"{option} .* got {value}"):
        parse_settings(DetectSettings, "detect", argv)
