"""Opening a split by settings: what is said, what is left out, what is remembered."""

import json
import math
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from data.datasets.settings import (
    DataSettings,
    ImageSettings,
    LabelSettings,
    UsedImageSettings,
)
from data.datasets.sources import given_or_trained, open_source
from data.datasets.voc import VOC_CLASSES
from data.datasets.voc_layout import annotation_path, image_path
from data.synthetic.dataset import SYNTHETIC_CLASSES
from tools.cli.command import parse_settings, settings_from
from tools.cli.settings import to_dict
from tools.cli.signals import Interrupted, install_signal_handlers
from tools.inputs.datasets import (
    open_dataset,
    read_states,
    scan_with_progress,
    warn_of_one_sided_classes,
)
from tools.inputs.settings import IMAGE_STATES

FORM = "; labels.csv: one row an image\n"
NAMES = tuple(f"{number}.png" for number in range(10))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skipping keeps what it knows in the working folder; no VOC unless a test names one."""
    monkeypatch.delenv("VOC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten images, ``0.png`` to ``9.png``."""
    path = tmp_path / "photographs"
    path.mkdir()
    for number, name in enumerate(NAMES):
        Image.new("RGB", (8, 6), (number,) * 3).save(path / name)
    return path


@pytest.fixture
def unsplit(tmp_path: Path) -> Path:
    """Labels of them all, without splits."""
    path = tmp_path / "plain.csv"
    path.write_text("\n".join(["image,labels", *(f"{name},cat" for name in NAMES)]))
    return path


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Even ones hold a cat, odd ones a dog; the last four are in val."""
    path = tmp_path / "labels.csv"
    splits = ["train"] * 6 + ["val"] * 4
    lines = [
        f"{name},{('cat', 'dog')[number % 2]},{splits[number]}" for number, name in enumerate(NAMES)
    ]
    path.write_text("\n".join(["image,labels,split", *lines]))
    return path


def tiny(root: Path) -> DataSettings:
    return DataSettings(voc_root=root, classes=SYNTHETIC_CLASSES)


# What is opened


def test_a_split_of_voc_is_opened_with_its_count(
    tiny_voc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = open_dataset(tiny(tiny_voc), "val")

    assert dataset.classes == SYNTHETIC_CLASSES
    assert capsys.readouterr().out == "val: 6 images\n"


def test_a_part_of_an_official_split_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "VOC2007"
    (home / "ImageSets" / "Main").mkdir(parents=True)
    (home / "ImageSets" / "Main" / "test.txt").write_text("a\n")
    (home / "Annotations").mkdir()
    size = "<size><width>8</width><height>6</height></size>"
    (home / "Annotations" / "a.xml").write_text(f"<annotation>{size}</annotation>")
    (home / "JPEGImages").mkdir()
    (home / "JPEGImages" / "a.jpg").touch()

    assert open_dataset(DataSettings(voc_root=tmp_path), "test").classes == VOC_CLASSES
    assert capsys.readouterr().out == "test: 1 images (partial: 1 of 4952)\n"


def test_a_split_of_a_folder_is_opened_with_its_count(
    folder: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = open_dataset(DataSettings(images=folder, labels=labels), "trainval")

    assert dataset.classes == ("cat", "dog")
    assert capsys.readouterr().out == f"trainval: 10 images{FORM}"


def test_a_folder_wins_over_the_voc_of_the_environment(
    folder: Path, labels: Path, tiny_voc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOC_ROOT", str(tiny_voc))

    assert open_dataset(DataSettings(images=folder, labels=labels), "train").ids == list(NAMES[:6])


def test_fraction_and_seed_reach_the_split(folder: Path, unsplit: Path) -> None:
    def opened(seed: int) -> list[str]:
        settings = DataSettings(images=folder, labels=unsplit, val_fraction=0.3, split_seed=seed)
        return open_dataset(settings, "val").ids

    assert len(opened(0)) == 3
    assert len({tuple(opened(seed)) for seed in range(5)}) > 1


# Bad images


def test_a_bad_image_is_refused_by_default_and_nothing_is_scanned(
    folder: Path, labels: Path
) -> None:
    (folder / "3.png").write_bytes(b"")

    with pytest.raises(ValueError, match=r"/3\.png: the image does not decode"):
        open_dataset(DataSettings(images=folder, labels=labels), "train")
    assert not IMAGE_STATES.exists()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-26]),  # its head is whole
        lambda path: path.unlink(),
    ],
)
def test_skipping_leaves_bad_images_out_by_name_and_with_a_count(
    spoil: Callable[[Path], object],
    folder: Path,
    labels: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("1.png", "4.png"):
        spoil(folder / name)
    settings = DataSettings(images=folder, labels=labels, on_bad="skip")

    assert open_dataset(settings, "train").ids == ["0.png", "2.png", "3.png", "5.png"]
    captured = capsys.readouterr()
    assert captured.out == f"train: 4 images, 2 bad ones left out{FORM}"
    first, second = captured.err.splitlines()
    assert first.startswith(f"warning: {folder / '1.png'}: left out: ")
    assert second.startswith(f"warning: {folder / '4.png'}: left out: ")


def test_skipping_moves_no_image_between_splits_and_counts_those_of_the_split_alone(
    folder: Path, unsplit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = DataSettings(images=folder, labels=unsplit, on_bad="skip")
    before = {split: open_dataset(settings, split).ids for split in ("train", "val")}
    (folder / before["train"][0]).write_bytes(b"")
    capsys.readouterr()

    assert open_dataset(settings, "val").ids == before["val"]
    assert capsys.readouterr() == ("val: 2 images; plain.csv: one row an image\n", "")
    assert open_dataset(settings, "train").ids == before["train"][1:]


def test_skipping_works_for_voc(
    tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(tiny_voc, tmp_path / "voc"))
    image_path(root, "000014").write_bytes(b"<html>")
    settings = DataSettings(voc_root=root, classes=SYNTHETIC_CLASSES, on_bad="skip")

    assert "000014" not in open_dataset(settings, "val").ids
    assert capsys.readouterr().out == "val: 5 images, 1 bad ones left out\n"


def test_at_most_twenty_bad_images_are_named_and_all_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(25):
        (tmp_path / f"{number}.jpg").write_bytes(b"")
    Image.new("RGB", (8, 6)).save(tmp_path / "good.png")
    settings = DataSettings(images=tmp_path, classes=("cat",), on_bad="skip")

    assert open_dataset(settings, "all").ids == ["good.png"]
    captured = capsys.readouterr()
    assert captured.out == "all: 1 images, 25 bad ones left out\n"
    assert len(captured.err.splitlines()) == 20


def test_nothing_but_bad_images_is_refused(folder: Path, labels: Path) -> None:
    for name in NAMES[:6]:
        (folder / name).write_bytes(b"")

    with pytest.raises(ValueError, match="train: no image is left"):
        open_dataset(DataSettings(images=folder, labels=labels, on_bad="skip"), "train")


def test_skipping_a_split_that_is_not_there_names_those_that_are(
    folder: Path, labels: Path
) -> None:
    settings = DataSettings(images=folder, labels=labels, on_bad="skip")

    with pytest.raises(ValueError, match=r"no split 'test'; there are all, train, val, trainval$"):
        open_dataset(settings, "test")


def test_skipping_reads_every_image_once(folder: Path, labels: Path) -> None:
    settings = DataSettings(images=folder, labels=labels, on_bad="skip")
    ids = open_dataset(settings, "trainval").ids
    for path in folder.iterdir():  # damage behind the head that only reading would show
        data, status = path.read_bytes(), path.stat()
        path.write_bytes(data[:41] + bytes(len(data) - 41))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert open_dataset(settings, "trainval").ids == ids
    assert open_dataset(settings, "val").ids == ids[6:]


@pytest.mark.parametrize("skips", [True, False])
def test_images_too_thin_to_be_drawn_are_bad_ones(
    skips: bool, folder: Path, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (201, 2)).save(folder / "2.png")
    Image.new("RGB", (200, 2)).save(folder / "3.png")
    settings = DataSettings(images=folder, labels=labels, on_bad="skip" if skips else "refuse")

    if skips:
        assert open_dataset(settings, "train").ids == [n for n in NAMES[:6] if n != "2.png"]
        assert "/2.png: left out: too thin, 201x2 pixels" in capsys.readouterr().err
    else:
        with pytest.raises(ValueError, match=r"/2\.png: too thin, 201x2 pixels"):
            open_dataset(settings, "train")


def test_skipping_leaves_images_with_bad_annotations_out(
    tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(tiny_voc, tmp_path / "voc"))
    annotation_path(root, "000014").write_text("<annotation>")
    annotation_path(root, "000015").unlink()
    settings = DataSettings(voc_root=root, classes=SYNTHETIC_CLASSES, on_bad="skip")

    assert {"000014", "000015"}.isdisjoint(open_dataset(settings, "val").ids)
    captured = capsys.readouterr()
    assert captured.out == "val: 4 images, 2 bad ones left out\n"
    assert "000014.jpg: left out: " in captured.err
    assert "000015.xml: no annotation" in captured.err


def test_a_labels_file_with_bad_lines_is_refused_even_so(folder: Path, labels: Path) -> None:
    with labels.open("a") as file:
        file.write("\n0.png\n" + "\n".join(f"/{name},cat,train" for name in range(30)))
    settings = DataSettings(images=folder, labels=labels, on_bad="skip")

    with pytest.raises(ValueError, match=r"line 12: 1 columns .*; line 31: .*; and 11 more$"):
        open_dataset(settings, "train")


def test_an_evaluation_may_skip_where_the_run_did_not() -> None:
    trained, given = DataSettings(first_pixel=0), UsedImageSettings()

    assert given_or_trained(given, trained, ("cat",)).on_bad == "refuse"
    assert given_or_trained(given, trained, ("cat",)).first_pixel == 0
    given = UsedImageSettings(on_bad="skip", first_pixel=1)
    assert given_or_trained(given, trained, ("cat",)).on_bad == "skip"
    assert given_or_trained(given, trained, ("cat",)).first_pixel == 1
    skipping = DataSettings(on_bad="skip")
    assert given_or_trained(UsedImageSettings(), skipping, ("cat",)).on_bad == "skip"


# Classes of which nothing is learned


def test_classes_of_one_side_are_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["0.png,1,1,0,0,train", "1.png,0,1,0,-1,train", "2.png,0,0,1,1,val"]
    (tmp_path / "labels.csv").write_text("\n".join(["image,cat,dog,rare,odd,split", *rows]))
    settings = DataSettings(images=folder, labels=tmp_path / "labels.csv")

    warn_of_one_sided_classes(open_dataset(settings, "train"))
    assert capsys.readouterr().err.splitlines() == [
        "warning: train: class 'odd' has no image that holds it to learn from",
        "warning: train: class 'rare' has no image that holds it to learn from",
        "warning: train: class 'dog' has no image without it to learn from",
    ]


def test_images_alone_have_no_sides_but_what_is_doubtful_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "phone.HEIC").write_bytes(b"")
    shutil.copy(folder / "0.png", folder / "0.jpg")

    warn_of_one_sided_classes(open_dataset(DataSettings(images=folder, classes=("a",)), "all"))
    unread, twins = capsys.readouterr().err.splitlines()
    assert unread.endswith("(convert them to JPEG or PNG): 1 .heic")
    assert twins.endswith("opened for both by labeling tools: 0.jpg and 0.png")


# The form of labels in settings


def test_folders_are_a_word_and_not_a_path(folder: Path) -> None:
    words = f"--images {folder} --labels folders --first-pixel 0".split()
    settings = parse_settings(DataSettings, "check_data", words)

    assert settings.labels == "folders"
    assert settings_from(DataSettings, to_dict(settings)) == settings
    other = parse_settings(DataSettings, "check_data", ["--images=x", "--labels=./folders"])
    assert other.labels == Path("folders")


# What is remembered


def test_a_scan_adds_to_what_is_known_as_plain_json(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "new" / "states.json"
    first = scan_with_progress([folder / "0.png"], cache)
    second = scan_with_progress([folder / "1.png", folder / "2.png"], cache)

    assert list(second) == [folder / "1.png", folder / "2.png"]
    known = {str(path): state for path, state in (first | second).items()}
    assert read_states(cache) == known
    assert json.loads(cache.read_text()) == {path: list(state) for path, state in known.items()}


def test_an_interrupted_scan_leaves_what_was_known(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "states.json"
    scan_with_progress([folder / "0.png"], cache)
    before = cache.read_bytes()
    install_signal_handlers()
    signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted):
        scan_with_progress([folder / name for name in NAMES], cache)
    assert cache.read_bytes() == before


# Refusals before any work


def test_images_that_are_there_are_no_reason_to_stop(
    folder: Path, labels: Path, tiny_voc: Path
) -> None:
    for settings in (
        ImageSettings(images=folder),
        ImageSettings(images=folder, labels=labels),
        ImageSettings(voc_root=tiny_voc),
    ):
        open_source(settings)


@pytest.mark.parametrize(
    ("where", "refusal"),
    [
        ({}, "--voc-root"),
        ({"voc_root": "photographs"}, "photographs: no VOC2007 in it"),
        ({"images": "nowhere"}, "nowhere: no such image or folder of images"),
        ({"images": "labels.csv"}, "labels.csv: not an image or a folder of images"),
        ({"images": "photographs", "labels": "no.csv"}, "no.csv: no such file or folder of labels"),
    ],
)
def test_images_and_labels_that_are_not_there_are_refused(
    where: dict[str, str], refusal: str, folder: Path, labels: Path
) -> None:
    paths: dict[str, Any] = {name: Path(path) for name, path in where.items()}
    settings = ImageSettings(**paths)

    with pytest.raises((ValueError, FileNotFoundError), match=refusal):
        open_source(settings)


@pytest.mark.parametrize(
    ("values", "refusal"),
    [
        ({"labels": Path("labels.csv")}, "--labels: of which images"),
        ({"val_fraction": 0.0}, "--val-fraction .* got 0.0"),
        ({"val_fraction": 1.0}, "--val-fraction .* got 1.0"),
        ({"val_fraction": math.nan}, "--val-fraction .* got nan"),
        ({"classes": ("cat", "dog", "cat")}, "--classes: .* cat, dog, cat"),
    ],
)
def test_settings_without_sense_are_refused(values: dict[str, Any], refusal: str) -> None:
    with pytest.raises(ValueError, match=refusal):
        LabelSettings(**values)


def test_a_voc_root_given_by_hand_comes_before_the_images_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = DataSettings(images=tmp_path / "photographs", labels=tmp_path / "labels.csv")
    monkeypatch.setenv("VOC_ROOT", str(tmp_path / "usual"))

    by_default = given_or_trained(ImageSettings(), trained, ("cat",))
    by_hand = given_or_trained(ImageSettings(voc_root=tmp_path / "other"), trained, ("cat",))

    assert by_default.images == trained.images
    assert (by_hand.images, by_hand.labels) == (None, None)
    assert by_hand.voc_root == tmp_path / "other"
