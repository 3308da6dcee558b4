"""One command from a folder and its labels to boxes and a gallery; typed again it continues."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.datasets.voc import VOCSource
from data.synthetic.dataset import SYNTHETIC_CLASSES
from tests.tools_tests.conftest import process_as_before
from tests.tools_tests.pages.conftest import content_of
from tests.worlds import SMALL_BOXES, files_of, write_labeled_images, write_small_recipes
from tools.boxes import main
from tools.runs.folder import read_settings

BOXED = f"--images photographs --labels labels.csv --out boxed {SMALL_BOXES}".split()
STAGES = ("check", "localizer", "proposals", "detector", "boxes", "gallery")


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, tiny_voc: Path) -> Iterator[Path]:
    """A working folder with small recipes, four labeled images and one that nobody has labeled."""
    folder = tmp_path_factory.mktemp("home")
    dataset = VOCSource(tiny_voc, classes=SYNTHETIC_CLASSES).open("train")
    write_labeled_images(folder / "photographs", dataset.subset(range(4)), folder / "labels.csv")
    write_labeled_images(folder / "new", dataset.subset([4]), folder / "of_new.csv")
    (folder / "one_class.csv").write_text(
        "image,labels\n"
        + "\n".join(f"{path.name},{'box' * (k % 2)}" for k, path in enumerate(dataset.paths[:4]))
    )
    write_small_recipes(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("VOC_ROOT", raising=False)
        yield folder


@pytest.fixture(scope="module")
def boxed(home: Path) -> Path:
    """Made by one command; not to be written to."""
    with process_as_before():
        assert main(BOXED) == 0
    return home / "boxed"


@pytest.fixture
def copy(boxed: Path, tmp_path: Path) -> Path:
    """For a test that changes it."""
    return Path(shutil.copytree(boxed, tmp_path / "boxed"))


def stages_of(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if line.startswith("stage ")]


def boxes_of(folder: Path) -> dict[str, set[str]]:
    """Names of the boxes of each image."""
    content = json.loads((folder / "boxes" / "detections.json").read_text())
    return {
        name: {content["classes"][label] for label in of_image["labels"]}
        for name, of_image in content["images"].items()
    }


def labels_of(file: Path) -> dict[str, set[str]]:
    rows = [line.split(",") for line in file.read_text().splitlines()[1:]]
    return {name: set(filter(None, labels.split("|"))) for name, labels in rows}


def test_the_classes_of_the_boxes_of_each_image_are_its_labels(boxed: Path, home: Path) -> None:
    assert boxes_of(boxed) == labels_of(home / "labels.csv")


def test_everything_lies_in_the_one_folder(boxed: Path, home: Path) -> None:
    made = {path.name for path in boxed.iterdir() if not path.name.startswith(".")}
    assert made == {
        *("boxes", "gallery", "runs", "features", "proposals.npz"),
        *("images.json", "log.txt", "stages.json"),
    }
    assert {path.name for path in (boxed / "boxes").iterdir()} == {
        *("detections.json", "images", "coco.json", "coco_results.json", "voc"),
    }
    assert {path.name for path in home.iterdir()} >= {"photographs", "new", "boxed"}
    assert not (home / "runs").exists()


def test_both_models_learn_from_every_labeled_image(boxed: Path) -> None:
    for name in ("localizer", "detector"):
        trained = read_settings(boxed / "runs" / name)
        assert (trained.split, trained.val_split) == ("trainval", "")
    assert " trainval: 4 images; " in (boxed / "log.txt").read_text()


def test_the_gallery_shows_the_boxes_that_were_written(boxed: Path) -> None:
    written = json.loads((boxed / "boxes" / "detections.json").read_text())["images"]
    shown = content_of(boxed / "gallery" / "index.html")
    assert shown["names"] == sorted(written)
    assert shown["box_score"] == 0  # none is hidden


def test_the_gallery_shows_a_heatmap_of_every_label_of_every_image(boxed: Path, home: Path) -> None:
    shown = content_of(boxed / "gallery" / "index.html")
    with_heatmaps = {
        shown["names"][int(image)]: {shown["classes"][int(label)] for label in of_image}
        for image, of_image in shown["heatmap"].items()
    }
    assert with_heatmaps == {name: of for name, of in labels_of(home / "labels.csv").items() if of}


def test_each_stage_and_the_next_command_are_told(boxed: Path) -> None:
    log = (boxed / "log.txt").read_text().splitlines()
    lines = [line.split(" ", 2)[2] for line in log]  # after date and time of day
    assert [line for line in lines if line.startswith("stage ")] == [
        f"stage {number} of 6: {name}" for number, name in enumerate(STAGES, start=1)
    ]
    assert lines[-3:] == [
        "boxes: boxed/boxes (images/ with the boxes drawn, detections.json, coco, voc)",
        "to look at: boxed/gallery/index.html",
        "next: python -m tools.boxes --run-dir boxed --images NEW_IMAGES --out boxed_new",
    ]


def test_a_command_that_is_typed_twice_makes_nothing_again(
    boxed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def times() -> dict[Path, int]:
        return {p: p.stat().st_mtime_ns for p in boxed.rglob("*") if p.name not in ("log.txt",)}

    before = times()
    assert main(BOXED) == 0
    assert times() == before
    printed = capsys.readouterr().out
    assert stages_of(printed) == [
        f"stage {number} of 6: {name}, done already" for number, name in enumerate(STAGES, start=1)
    ]


@pytest.mark.parametrize(
    ("lost", "left"),
    [
        ("gallery/index.html", STAGES[5:]),
        ("boxes", STAGES[4:]),
        ("runs/detector/training.json", STAGES[3:]),
    ],
)
def test_what_is_lost_is_made_again_with_all_that_comes_after_it(
    lost: str, left: tuple[str, ...], copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()

    assert main([*BOXED, "--out", str(copy)]) == 0
    printed = stages_of(capsys.readouterr().out)
    assert [line.split(": ")[1] for line in printed if "done already" not in line] == [*left]
    assert path.exists()


@pytest.mark.parametrize("content", ["[]", "3", "no json", ""])
def test_a_damaged_record_of_stages_is_named(
    content: str, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / "stages.json").write_text(content)

    assert main([*BOXED, "--out", str(copy)]) == 2
    assert f"error: {copy / 'stages.json'}: not a record of stages" in capsys.readouterr().err


def test_a_stage_that_fails_is_made_when_the_command_is_typed_again(
    home: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(copy / "boxes")
    (copy / "boxes").mkdir()
    (copy / "boxes" / "notes.txt").write_text("of a person")
    before = files_of(copy / "runs")

    assert main([*BOXED, "--out", str(copy)]) == 2
    assert "boxes: holds notes.txt, which is no part of a result" in capsys.readouterr().err
    (copy / "boxes" / "notes.txt").unlink()
    assert main([*BOXED, "--out", str(copy)]) == 0
    printed = stages_of(capsys.readouterr().out)
    assert [line.endswith("done already") for line in printed] == [True] * 4 + [False] * 2
    assert boxes_of(copy) == labels_of(home / "labels.csv")
    trained = {name: content for name, content in before.items() if "evaluations" not in name}
    after = files_of(copy / "runs")
    assert {name: after[name] for name in trained if "log" not in name} == {
        name: content for name, content in trained.items() if "log" not in name
    }


def test_other_formats_ask_for_the_boxes_and_the_gallery_alone(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*BOXED, "--out", str(copy), "--formats", "[yolo]"]) == 0
    printed = stages_of(capsys.readouterr().out)
    assert [line.endswith("done already") for line in printed] == [True] * 4 + [False] * 2


def test_other_labels_are_refused_where_a_run_has_learned_from_the_first_ones(
    home: Path, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (home / "labels.csv").read_text().splitlines()
    first, _ = lines[1].split(",")
    other = next(name for name in SYNTHETIC_CLASSES if name not in lines[1])
    (tmp_path / "labels.csv").write_text("\n".join([lines[0], f"{first},{other}", *lines[2:]]))

    words = [*BOXED, "--labels", str(tmp_path / "labels.csv"), "--out", str(copy)]
    assert main(words) == 2
    assert capsys.readouterr().err.rstrip().endswith("another --out)")


def test_images_without_labels_are_boxed_by_an_earlier_command(
    boxed: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"--images new --run-dir boxed --out boxed_new {SMALL_BOXES}".split()
    for end in ("", ", done already"):
        assert main(words) == 0
        assert stages_of(capsys.readouterr().out) == [
            f"stage {number} of 3: {name}{end}"
            for number, name in enumerate(("proposals", "boxes", "gallery"), start=1)
        ]
    assert len(boxes_of(home / "boxed_new")) == 1
    assert (home / "boxed_new" / "gallery" / "index.html").is_file()


def test_the_run_of_a_localizer_boxes_new_images_from_proposals(
    boxed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = Path(shutil.copytree(boxed / "runs" / "localizer", tmp_path / "run"))
    words = f"--images new --run-dir {run_dir} --out {tmp_path / 'new'} {SMALL_BOXES}".split()

    assert main(words) == 0
    printed = stages_of(capsys.readouterr().out)
    names = ("proposals", "boxes", "gallery")
    assert printed == [f"stage {number} of 3: {name}" for number, name in enumerate(names, start=1)]


def test_an_earlier_command_that_is_unfinished_boxes_nothing(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / "runs" / "detector" / "training.json").unlink()
    words = f"--images new --run-dir {copy} --out {tmp_path / 'new'} {SMALL_BOXES}".split()

    assert main(words) == 2
    assert "detector: its training is not finished" in capsys.readouterr().err


def test_one_class_gets_the_boxes_of_the_localizer(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*BOXED, "--labels", "one_class.csv", "--out", str(tmp_path / "one")]

    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "one class, box: a detector needs several, the localizer boxes" in printed
    assert [line.split(": ")[1] for line in stages_of(printed)] == [
        *("check", "localizer", "proposals", "boxes", "gallery")
    ]
    assert boxes_of(tmp_path / "one") == labels_of(home / "one_class.csv")


def test_fast_boxes_are_those_of_the_localizer_and_the_best_follow_from_what_is_there(
    home: Path, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = (copy / "boxes" / "detections.json").read_text()
    first = ("check, done already", "localizer, done already", "proposals, done already")
    for quality, others in (("fast", ()), ("best", ("detector, done already",))):
        assert main([*BOXED, "--out", str(copy), "--quality", quality]) == 0
        printed = stages_of(capsys.readouterr().out)
        assert [line.split(": ")[1] for line in printed] == [*first, *others, "boxes", "gallery"]
        assert boxes_of(copy) == labels_of(home / "labels.csv")
        assert ((copy / "boxes" / "detections.json").read_text() == best) == (quality == "best")

    words = (
        f"--images new --run-dir {copy} --out {tmp_path}/new {SMALL_BOXES} --quality fast".split()
    )
    shutil.rmtree(copy / "runs" / "detector")
    assert main(words) == 0


def test_a_bad_image_is_left_out_of_every_stage_and_named_once(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = Path(shutil.copytree(home / "photographs", tmp_path / "images"))
    broken, *others = sorted(images.iterdir())
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    words = [*BOXED, "--images", str(images), "--out", str(tmp_path / "out")]

    assert main(words) == 2
    refusal = capsys.readouterr()
    assert f"\n{broken}: the image does not decode" in refusal.out
    assert main([*words, "--on-bad", "skip"]) == 0
    captured = capsys.readouterr()
    assert len(stages_of(captured.out)) == len(STAGES)
    assert captured.err.count("left out: ") == 1
    assert f"warning: {broken}: left out: the image does not decode" in captured.err
    assert f"{images}: 4 images, 1 bad ones left out, no problems\n" in captured.out
    assert set(boxes_of(tmp_path / "out")) == {path.name for path in others}
    assert not (home / "runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--images photographs", "name one of --labels"),
        ("--images photographs --labels labels.csv --run-dir boxed", "name one of --labels"),
        ("--images nowhere --labels labels.csv", "nowhere: "),
        ("--images photographs --labels nowhere.csv", "nowhere.csv: no such file"),
        ("--images photographs --run-dir nowhere", "no run in this folder"),
        (
            "--images new --run-dir boxed/runs/detector --quality fast",
            "boxed/runs/detector is a detector's run",
        ),
        ("--images photographs --labels labels.csv --formats [cocoa]", "'cocoa' is not one of"),
        ("--images photographs --labels labels.csv --localizer localizer_lit", "localizer_lite0"),
        ("--images photographs --labels labels.csv --epochs -1", "--epochs"),
        ("--images photographs --labels labels.csv --out photographs/out", "folder of images"),
        ("--images photographs --labels labels.csv --out new", "new: holds something else"),
    ],
)
def test_what_cannot_be_boxed_is_refused_before_any_work(
    words: str, message: str, home: Path, boxed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_of(home)

    assert main(["--out", "refused", *words.split()]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert files_of(home) == before
