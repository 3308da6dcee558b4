"""Boxes on images of one's own, from the command line."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from data.datasets.voc import image_ids, image_path, read_annotation
from data.images import read_image
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import Proposals
from tests.conftest import snapshot
from tests.tools_tests.conftest import (
    files_of,
    process_as_before,
    random_boxes,
    write_proposals,
)
from tools.cli.command import parse_settings
from tools.detect import main
from tools.exports.settings import DetectSettings
from tools.files.detections import read_detections
from tools.pages.draw import DETECTION, draw_boxes, encode_jpeg, write_jpeg

NAMES = ("beach/cat.jpg", "cat.jpg", "cat.png")


@pytest.fixture(scope="module", autouse=True)
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
def proposals(elsewhere: Path, images: Path) -> Path:
    """Forty boxes at random in each of them, in a file."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name in NAMES:
        height, width = read_image(images / name).shape[1:]
        found[name] = Proposals(random_boxes(40, (height, width), generator), None)
    return write_proposals(elsewhere / "p.npz", found)


def words(run_dir: Path, images: Path, out: Path, *others: str) -> list[str]:
    small = f"--run-dir {run_dir} --images {images} --out {out} --amp off --device cpu"
    return [*small.split(), "--processes", "1", "--min-score", "0", *others]


@pytest.fixture(scope="module")
def detected(detector_run: Path, images: Path, proposals: Path, elsewhere: Path) -> Path:
    """What the detector finds in the folder with those boxes; only read."""
    before = snapshot(images)
    with process_as_before():
        argv = words(detector_run, images, elsewhere / "out", "--proposals", str(proposals))
        assert main(argv) == 0
    assert snapshot(images) == before  # the images' own folder is not written to
    return elsewhere / "out"


# What is written


def test_every_file_is_written_and_subfolders_are_kept(detected: Path) -> None:
    assert list(files_of(detected)) == [
        "coco.json",
        "detections.json",
        "images/beach/cat.jpg.jpg",
        "images/cat.jpg.jpg",
        "images/cat.png.jpg",
        "voc/beach/cat.xml",
        "voc/cat.png.xml",
        "voc/cat.xml",
    ]


def test_no_name_leads_out_of_the_folder(small_run: Path, tiny_voc: Path, tmp_path: Path) -> None:
    names = ("..%2f..%2fup.jpg", "two\nlines.jpg", "<b>'\"& \x1b[31m.jpg", "\udcff.jpg")
    folder, out = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    for name in names:
        shutil.copyfile(image_path(tiny_voc, image_ids(tiny_voc, "test")[0]), folder / name)

    assert main(words(small_run, folder, out)) == 0

    assert {path.name for path in tmp_path.iterdir()} == {"images", "out"}
    assert {path.name for path in (out / "images").iterdir()} == {f"{name}.jpg" for name in names}
    xmls = {path.stem: read_annotation(path, SYNTHETIC_CLASSES) for path in out.glob("voc/*.xml")}
    assert {f"{name}.jpg" for name in xmls} == set(names)
    assert set(read_detections(out / "detections.json")[1]) == set(names)


def test_detections_are_of_every_image_the_top_scoring_first(detected: Path) -> None:
    classes, found = read_detections(detected / "detections.json")

    assert classes == SYNTHETIC_CLASSES
    assert tuple(found) == NAMES
    for detections in found.values():
        assert 0 < len(detections.scores) <= 100
        assert detections.scores.equal(detections.scores.sort(descending=True).values)


def test_every_xml_holds_the_boxes_of_its_own_image(detected: Path, images: Path) -> None:
    _, found = read_detections(detected / "detections.json")

    for name, file in zip(NAMES, ("beach/cat.xml", "cat.xml", "cat.png.xml"), strict=True):
        annotation = read_annotation(detected / "voc" / file, SYNTHETIC_CLASSES)
        assert annotation.boxes.equal(found[name].boxes.round())
        assert annotation.labels.equal(found[name].labels)
        assert annotation.image_size == tuple(read_image(images / name).shape[1:])
        assert f"<filename>{Path(name).name}</filename>" in (detected / "voc" / file).read_text()


def test_coco_names_the_images_by_their_paths(detected: Path) -> None:
    content = json.loads((detected / "coco.json").read_text())

    _, found = read_detections(detected / "detections.json")
    assert [image["file_name"] for image in content["images"]] == list(NAMES)
    assert len(content["annotations"]) == sum(len(each.boxes) for each in found.values())
    assert [category["name"] for category in content["categories"]] == list(SYNTHETIC_CLASSES)


def test_a_drawn_image_shows_its_detections(detected: Path, images: Path) -> None:
    _, found = read_detections(detected / "detections.json")
    of_image = found["cat.jpg"]
    texts = [
        f"{SYNTHETIC_CLASSES[label]} {score:.2f}"
        for label, score in zip(of_image.labels.tolist(), of_image.scores.tolist(), strict=True)
    ]

    drawn = draw_boxes(read_image(images / "cat.jpg"), of_image.boxes, DETECTION, texts)
    assert (detected / "images" / "cat.jpg.jpg").read_bytes() == encode_jpeg(drawn)


def test_the_same_again_gives_the_same_files(
    detected: Path, detector_run: Path, images: Path, proposals: Path, tmp_path: Path
) -> None:
    argv = words(detector_run, images, tmp_path / "out", "--proposals", str(proposals))

    assert main(argv) == 0
    assert files_of(tmp_path / "out") == files_of(detected)


# Choices


def test_one_image_alone_has_the_boxes_that_it_has_in_its_folder(
    detected: Path, detector_run: Path, images: Path, proposals: Path, tmp_path: Path
) -> None:
    argv = words(detector_run, images / "cat.png", tmp_path, "--proposals", str(proposals))

    assert main(argv) == 0
    _, found = read_detections(tmp_path / "detections.json")
    _, expected = read_detections(detected / "detections.json")
    assert list(found) == ["cat.png"]
    assert found["cat.png"].boxes.equal(expected["cat.png"].boxes)
    assert found["cat.png"].scores.equal(expected["cat.png"].scores)
    assert list(files_of(tmp_path)) == [
        *("coco.json", "detections.json", "images/cat.png.jpg", "voc/cat.xml")
    ]


def test_unsure_detections_are_left_out_and_only_so_many_are_kept(
    detected: Path, detector_run: Path, images: Path, proposals: Path, tmp_path: Path
) -> None:
    _, expected = read_detections(detected / "detections.json")
    third = float(expected["cat.jpg"].scores[2])
    own = words(detector_run, images / "cat.jpg", tmp_path, "--proposals", str(proposals))

    assert main([*own, "--min-score", repr(third)]) == 0
    _, sure = read_detections(tmp_path / "detections.json")
    assert main([*own, "--max-detections", "2"]) == 0
    _, two = read_detections(tmp_path / "detections.json")
    assert sure["cat.jpg"].scores.equal(expected["cat.jpg"].scores[:3])
    assert two["cat.jpg"].boxes.equal(expected["cat.jpg"].boxes[:2])


def test_nothing_sure_enough_leaves_files_without_objects(
    detector_run: Path, images: Path, proposals: Path, tmp_path: Path
) -> None:
    argv = words(detector_run, images, tmp_path, "--proposals", str(proposals))

    assert main([*argv, "--min-score", "1"]) == 0
    _, found = read_detections(tmp_path / "detections.json")
    assert [len(detections.boxes) for detections in found.values()] == [0, 0, 0]
    assert len(read_annotation(tmp_path / "voc" / "cat.xml").boxes) == 0
    plain = encode_jpeg(read_image(images / "cat.jpg"))
    assert (tmp_path / "images" / "cat.jpg.jpg").read_bytes() == plain


def test_images_need_not_be_drawn(
    detector_run: Path, images: Path, proposals: Path, tmp_path: Path
) -> None:
    argv = words(detector_run, images, tmp_path, "--proposals", str(proposals))

    assert main([*argv, "--draw", "false"]) == 0
    assert not (tmp_path / "images").exists()
    assert (tmp_path / "detections.json").exists()


def test_proposals_are_made_on_the_way(
    detector_run: Path, images: Path, elsewhere: Path, tmp_path: Path
) -> None:
    before = snapshot(images)

    assert main(words(detector_run, images / "beach", tmp_path)) == 0
    _, found = read_detections(tmp_path / "detections.json")
    assert list(found) == ["cat.jpg"]
    assert len(found["cat.jpg"].boxes) > 0
    sides = found["cat.jpg"].boxes[:, 2:] - found["cat.jpg"].boxes[:, :2]
    assert (sides >= 20).all()  # --min-size of the training
    assert snapshot(images) == before


def test_two_processes_find_the_same(detector_run: Path, images: Path, tmp_path: Path) -> None:
    for count in ("1", "2"):
        argv = words(detector_run, images / "beach", tmp_path / count, "--processes", count)
        assert main(argv) == 0

    assert files_of(tmp_path / "1") == files_of(tmp_path / "2")


def test_an_image_without_large_enough_proposals_has_no_detections(
    detector_run: Path, tmp_path: Path, rng: torch.Generator
) -> None:
    noise = torch.randint(256, (3, 16, 16), generator=rng).byte()  # no side reaches 20 pixels
    (tmp_path / "in").mkdir()
    write_jpeg(tmp_path / "in" / "small.jpg", noise)

    assert main(words(detector_run, tmp_path / "in", tmp_path / "out")) == 0
    _, found = read_detections(tmp_path / "out" / "detections.json")
    assert found["small.jpg"].boxes.shape == (0, 4)


def test_a_localizer_gives_boxes_from_its_heatmap(
    small_run: Path, images: Path, tmp_path: Path
) -> None:
    before = snapshot(images)

    assert main(words(small_run, images, tmp_path)) == 0
    _, found = read_detections(tmp_path / "detections.json")
    assert tuple(found) == NAMES
    for name in NAMES:
        height, width = read_image(images / name).shape[1:]
        ends = torch.tensor([width, height])
        assert len(found[name].boxes) > 0
        assert (found[name].boxes >= 0).all()
        assert (found[name].boxes[:, 2:] <= ends + 1e-3).all()  # float32 of a ratio
    annotation = read_annotation(tmp_path / "voc" / "beach" / "cat.xml", SYNTHETIC_CLASSES)
    assert annotation.boxes.equal(found["beach/cat.jpg"].boxes.round())
    assert snapshot(images) == before


def test_features_of_a_frozen_backbone_stay_float32(
    detector_run: Path, images: Path, proposals: Path, detected: Path, tmp_path: Path
) -> None:
    frozen = Path(shutil.copytree(detector_run, tmp_path / "frozen"))
    path = frozen / "settings.yaml"
    path.write_text(path.read_text().replace("frozen_backbone: false", "frozen_backbone: true"))
    for run, out in ((detector_run, tmp_path / "bf16"), (frozen, tmp_path / "off")):
        boxes = ("--proposals", str(proposals), "--amp", "bf16", "--draw", "false")
        assert main(words(run, images, out, *boxes)) == 0

    expected = (detected / "detections.json").read_bytes()
    assert (tmp_path / "off" / "detections.json").read_bytes() == expected
    assert (tmp_path / "bf16" / "detections.json").read_bytes() != expected


def test_a_localizers_heatmap_moves_the_scores_of_the_detector(
    detector_run: Path, small_run: Path, images: Path, proposals: Path, tmp_path: Path
) -> None:
    boxes = ("--proposals", str(proposals), "--draw", "false")
    heatmap = ("--rescore-from", str(small_run))
    assert main(words(detector_run, images, tmp_path / "alone", *boxes)) == 0
    assert main(words(detector_run, images, tmp_path / "both", *boxes, *heatmap)) == 0

    alone, both = (
        read_detections(tmp_path / name / "detections.json")[1]["cat.jpg"]
        for name in ("alone", "both")
    )
    assert alone.scores.tolist() != both.scores.tolist()


def test_heatmap_for_a_localizer_is_refused(
    small_run: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(small_run, images, tmp_path, "--rescore-from", str(small_run))) == 2
    assert f"error: {small_run}: holds a localizer, which" in capsys.readouterr().err


# Bad images


@pytest.fixture
def with_a_bad_one(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder in which one image is half there."""
    monkeypatch.chdir(tmp_path)  # what is known of images is kept in the working folder
    folder = Path(shutil.copytree(images, tmp_path / "photographs"))
    content = (folder / "cat.jpg").read_bytes()
    (folder / "cat.jpg").write_bytes(content[: len(content) // 2])
    return folder


def test_a_bad_image_is_refused_by_name(
    detector_run: Path,
    with_a_bad_one: Path,
    proposals: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv = words(detector_run, with_a_bad_one, tmp_path / "out", "--proposals", str(proposals))

    assert main(argv) == 2
    error = capsys.readouterr().err
    assert f"error: {with_a_bad_one / 'cat.jpg'}: the image does not decode (" in error
    assert not (tmp_path / "out" / "detections.json").exists()


def test_a_bad_image_is_left_out_when_asked_for(
    detector_run: Path,
    with_a_bad_one: Path,
    proposals: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = snapshot(with_a_bad_one)
    argv = words(detector_run, with_a_bad_one, tmp_path / "out", "--proposals", str(proposals))

    assert main([*argv, "--on-bad", "skip"]) == 0
    printed = capsys.readouterr()
    assert "all: 2 images, 1 bad ones left out" in printed.out
    assert f"warning: {with_a_bad_one / 'cat.jpg'}: left out: " in printed.err
    _, found = read_detections(tmp_path / "out" / "detections.json")
    assert list(found) == ["beach/cat.jpg", "cat.png"]
    assert snapshot(with_a_bad_one) == before


# Refusals


def test_proposals_for_a_localizer_are_refused(
    small_run: Path,
    images: Path,
    proposals: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv = words(small_run, images, tmp_path / "out", "--proposals", str(proposals))

    assert main(argv) == 2
    refusal = f"error: {small_run}: holds a localizer, which takes no proposals\n"
    assert capsys.readouterr().err == refusal
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_there_is_refused(
    detector_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(detector_run, tmp_path / "none", tmp_path / "out")) == 2

    refusal = f"error: {tmp_path / 'none'}: no such image or folder of images\n"
    assert capsys.readouterr().err == refusal
    assert not (tmp_path / "out").exists()


def test_a_folder_without_images_is_refused(
    detector_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()

    assert main(words(detector_run, tmp_path / "empty", tmp_path / "out")) == 2
    assert f"error: {tmp_path / 'empty'}: no images in it (" in capsys.readouterr().err


def test_a_file_that_is_no_image_is_refused_by_name(
    detector_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cat.jpg").write_text("hello")

    assert main(words(detector_run, tmp_path / "cat.jpg", tmp_path / "out")) == 2
    assert f"error: {tmp_path / 'cat.jpg'}: the image does not" in capsys.readouterr().err


def test_a_single_file_of_another_ending_is_refused_by_name(
    detector_run: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(images / "cat.jpg", tmp_path / "other.jpg")
    (tmp_path / "notes.txt").write_text("hello")

    assert main(words(detector_run, tmp_path / "notes.txt", tmp_path / "out")) == 2
    assert "notes.txt" in capsys.readouterr().err


def test_a_folder_without_a_run_is_refused(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tmp_path / "typo", images, tmp_path / "out")) == 2

    assert f"error: {tmp_path}/typo/settings.yaml: no run in" in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()


def test_proposals_of_other_images_are_refused_by_their_names(
    detector_run: Path,
    images: Path,
    proposals_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv = words(detector_run, images, tmp_path / "out", "--proposals", str(proposals_file))

    assert main(argv) == 2
    assert f"{proposals_file}: no proposals of {', '.join(NAMES)} (" in capsys.readouterr().err


def test_proposals_of_a_larger_image_are_refused_by_its_name(
    detector_run: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Proposals(torch.tensor([[0.0, 0.0, 999.0, 999.0]]), None)
    path = write_proposals(tmp_path / "p.npz", dict.fromkeys(NAMES, whole))

    argv = words(detector_run, images, tmp_path / "out", "--proposals", str(path))
    assert main(argv) == 2
    assert f"{path}: image {NAMES[0]}: 100% of the boxes leave" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        ("--min-score -0.1", r"--min-score is in \[0, 1\], got -0\.1"),
        ("--min-score 1.5", r"--min-score is in \[0, 1\], got 1\.5"),
        ("--max-detections 0", "--max-detections is above 0, got 0"),
        ("--processes -1", "--processes is 0 or more, got -1"),
    ],
)
def test_settings_without_sense_are_refused(words: str, refusal: str) -> None:
    with pytest.raises(ValueError, match=refusal):
        parse_settings(
            DetectSettings,
            "detect",
            ["--run-dir", "x", "--images", "x", "--out", "x", *words.split()],
        )
