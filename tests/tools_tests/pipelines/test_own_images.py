"""Own images from end to end: a folder and a CSV to a trained run, a report, heatmaps."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import yaml

from data.datasets.voc import VOCDataset
from data.images import read_image
from data.synthetic.dataset import SYNTHETIC_CLASSES
from tests.conftest import snapshot
from tests.tools_tests.conftest import process_as_before
from tools import evaluate, train_localizer, view_heatmaps
from tools.inputs.settings import IMAGE_STATES

SMALL = "--model.backbone squeezenet1_1 --image-sizes [64] --amp off --device cpu --split train"
SMALL += " --loop.epochs 1 --loop.batch-size 4 --loop.log-every 1"
NEED_BOXES = ("box_map_11point", "box_map_area", "corloc", "point_accuracy", "heatmap_coverage")


def digest(run_dir: Path) -> str:
    text: str = json.loads((run_dir / "training.json").read_text())["weights_sha256"]
    return text


def report_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "report.json").read_text())["localizer"]
    return content


@pytest.fixture(scope="module", autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder without any VOC named, where relative paths begin."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.chdir(folder)
        patch.delenv("VOC_ROOT", raising=False)
        yield folder


@pytest.fixture(scope="module")
def images(elsewhere: Path, tiny_voc: Path) -> Path:
    """Twelve images to learn from, six to validate on, with labels and nothing else of VOC."""
    dataset = VOCDataset(tiny_voc, "trainval", classes=SYNTHETIC_CLASSES)
    lines = ["image,labels,split"]
    for number, path in enumerate(dataset.paths):
        image = f"für später/图 {number}.jpg" if number % 2 else f"{number}.jpg"
        target = elsewhere / "photographs" / image
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        present = dataset.targets[number].nonzero().flatten().tolist()
        labels = "|".join(SYNTHETIC_CLASSES[label] for label in present)
        lines.append(f"{image},{labels},{'train' if number < 12 else 'val'}")
    (elsewhere / "labels.csv").write_text("\n".join(lines))
    return elsewhere / "photographs"


@pytest.fixture(scope="module")
def new_photographs(elsewhere: Path, tiny_voc: Path) -> Path:
    """Three images that nobody has labeled, with names that are not all text."""
    folder = elsewhere / "new"
    folder.mkdir()
    for path in sorted((tiny_voc / "VOC2007" / "JPEGImages").iterdir())[-3:]:
        shutil.copyfile(path, folder / f"holiday <b>\n\x1b[31m\udcff {path.name}")
    return folder


@pytest.fixture(scope="module")
def own_run(elsewhere: Path, images: Path) -> Path:
    """Trained with paths as a person types them; not to be written to."""
    own = "--run-dir own --images photographs --labels labels.csv --val-split val"
    with process_as_before():
        assert train_localizer.main([*own.split(), *SMALL.split()]) == 0
    return elsewhere / "own"


@pytest.fixture(scope="module")
def evaluated(
    own_run: Path, new_photographs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A copy of the run with reports in ``val`` (its own split) and ``new`` (without labels)."""
    folder = tmp_path_factory.mktemp("evaluated") / "own"
    shutil.copytree(own_run, folder)
    same = f"--run-dir {folder} --amp off --device cpu"
    new = f"--images {new_photographs} --split all"
    with process_as_before():
        val = [*same.split(), "--split", "val", "--report-dir", str(folder / "val")]
        assert evaluate.main(val) == 0
        (folder / "val.json").write_bytes((folder / "detections.json").read_bytes())
        argv = [*same.split(), *new.split(), "--report-dir", str(folder / "new")]
        assert evaluate.main(argv) == 0
    return folder


@pytest.fixture
def copy(own_run: Path, tmp_path: Path) -> Path:
    """The run for a test that writes to it."""
    return Path(shutil.copytree(own_run, tmp_path / "copy"))


# Training


def test_a_run_keeps_its_classes_and_the_absolute_paths(own_run: Path, images: Path) -> None:
    settings = yaml.safe_load((own_run / "settings.yaml").read_text())

    assert settings["classes"] == sorted(SYNTHETIC_CLASSES)
    assert settings["images"] == str(images)
    assert settings["labels"] == str(images.parent / "labels.csv")
    assert settings["voc_root"] is None


def test_a_run_says_what_it_learns_from_and_validates_on(own_run: Path) -> None:
    text = (own_run / "log.txt").read_text()

    assert text.startswith("train: 12 images\nval: 6 images\nepoch 1: image mAP ")


def test_given_classes_are_the_order_of_the_labels(
    images: Path, tmp_path: Path, own_run: Path
) -> None:
    classes = f"--classes=[{','.join(reversed(SYNTHETIC_CLASSES))}]"
    own = f"--run-dir {tmp_path}/run --images photographs --labels labels.csv {classes}"

    assert train_localizer.main([*own.split(), *SMALL.split()]) == 0
    settings = yaml.safe_load((tmp_path / "run" / "settings.yaml").read_text())
    assert settings["classes"] == list(reversed(SYNTHETIC_CLASSES))
    assert digest(tmp_path / "run") != digest(own_run)


def test_images_are_never_written_to(
    evaluated: Path, images: Path, new_photographs: Path, tiny_voc: Path
) -> None:
    names = {path.relative_to(images).as_posix() for path in images.rglob("*.*")}
    originals = sorted((tiny_voc / "VOC2007" / "JPEGImages").iterdir())

    assert evaluated.exists()
    assert len(names) == 18
    assert all(name.endswith(".jpg") for name in names)
    for number, path in enumerate(originals[:18]):
        name = f"für später/图 {number}.jpg" if number % 2 else f"{number}.jpg"
        assert (images / name).read_bytes() == path.read_bytes()
    assert [path.read_bytes() for path in sorted(new_photographs.iterdir())] == [
        path.read_bytes() for path in originals[-3:]
    ]


# Evaluation


def test_numbers_of_labels_are_there_and_those_of_boxes_are_null(evaluated: Path) -> None:
    report = report_of(evaluated / "val")

    assert all(0 <= report[name] <= 1 for name in ("image_map", "f2", "recall"))
    assert [report[name] for name in NEED_BOXES] == [None] * len(NEED_BOXES)
    for row in report["per_class"].values():
        assert [row[name] for name in NEED_BOXES] == [None] * len(NEED_BOXES)
    assert set(report["threshold_curve"].values()) == {None}


def test_boxes_are_found_in_every_image_under_its_path(evaluated: Path, images: Path) -> None:
    content = json.loads((evaluated / "val.json").read_text())

    names = [f"für später/图 {k}.jpg" if k % 2 else f"{k}.jpg" for k in range(12, 18)]
    assert list(content["images"]) == names
    for name, found in content["images"].items():
        height, width = found["size"]
        assert (height, width) == tuple(read_image(images / name).shape[1:])
        boxes = np.array(found["boxes"])
        assert len(boxes) > 0
        assert (boxes >= 0).all()
        assert (boxes <= [width, height, width, height]).all()


def test_images_without_labels_get_detections_and_scores(
    evaluated: Path, new_photographs: Path
) -> None:
    content = json.loads((evaluated / "detections.json").read_text())
    names = sorted(path.name for path in new_photographs.iterdir())
    with np.load(evaluated / "scores.npz", allow_pickle=False) as scores:
        ids, values, weights = (scores[name] for name in ("ids", "scores", "weights"))

    assert content["classes"] == sorted(SYNTHETIC_CLASSES)
    assert list(content["images"]) == ids.tolist() == names
    assert all(found["scores"] for found in content["images"].values())
    assert values.shape == (3, len(SYNTHETIC_CLASSES))
    assert ((values > 0) & (values < 1)).all()
    assert (weights == 0).all()


def test_images_without_labels_have_no_numbers(evaluated: Path) -> None:
    report = report_of(evaluated / "new")
    names = ("image_map", "f2", "recall", *NEED_BOXES)
    page = (evaluated / "new" / "report.html").read_text()

    assert [report[name] for name in names] == [None] * len(names)
    for row in report["per_class"].values():
        assert set(row.values()) == {None}
    assert "n/a" in page
    assert 'src="data:image/jpeg;base64,' in page
    assert "nan" not in re.sub(r'src="[^"]*"', "", page)


def test_an_evaluation_prints_what_is_not_known_as_such(
    copy: Path, new_photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = f"--run-dir {copy} --images {new_photographs} --split all --amp off --device cpu"

    assert evaluate.main([*argv.split(), "--report-dir", str(tmp_path / "report")]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("all: 3 images\n")
    assert "n/a" in captured.out
    assert "nan" not in captured.out
    assert captured.err == ""


# Heatmaps


def test_heatmaps_of_the_run_s_own_images_are_files_named_by_their_paths(copy: Path) -> None:
    argv = f"--run-dir {copy} --split val --amp off --device cpu --count 100"

    assert view_heatmaps.main(argv.split()) == 0
    names = [f"für später/图 {k}.jpg" if k % 2 else f"{k}.jpg" for k in range(12, 18)]
    assert {path.name for path in (copy / "heatmaps").iterdir()} == {
        f"val_{quote(name, safe='')}.jpg" for name in names
    }


def test_heatmaps_of_images_without_labels_show_what_the_model_sees(
    copy: Path, new_photographs: Path
) -> None:
    argv = f"--run-dir {copy} --images {new_photographs} --split all --amp off --device cpu"

    assert view_heatmaps.main(argv.split()) == 0
    shown = sorted((copy / "heatmaps").iterdir())
    assert len(shown) == 3
    for path, original in zip(shown, sorted(new_photographs.iterdir()), strict=True):
        row, image = read_image(path), read_image(original)
        width = image.shape[2] * 240 / image.shape[1]  # images in a row are 240 high
        assert row.shape[2] > 2 * width  # at least one heatmap beside the image


# Bad images


@pytest.fixture(scope="module")
def damaged(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images once more: one breaks off, one is a page of HTML, one is gone."""
    folder = tmp_path_factory.mktemp("damaged") / "photographs"
    shutil.copytree(images, folder)
    broken = folder / "2.jpg"
    broken.write_bytes(broken.read_bytes()[:-2000])
    (folder / "für später" / "图 5.jpg").write_text("<html>404</html>")
    (folder / "8.jpg").unlink()
    return folder


def repaired(damaged: Path, folder: Path, *names: str) -> Path:
    """A copy in which these images are whole."""
    shutil.copytree(damaged, folder)
    for name in names:
        shutil.copyfile(Path("photographs") / name, folder / name)
    return folder


def train_damaged(damaged: Path, run_dir: Path, *others: str) -> int:
    own = f"--run-dir {run_dir} --images {damaged} --labels labels.csv {SMALL}"
    return train_localizer.main([*own.split(), "--loop.checkpoint-every", "1", *others])


@pytest.fixture(scope="module")
def skipped_run(damaged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on what is left; not to be written to."""
    run_dir = tmp_path_factory.mktemp("skipped") / "run"
    with process_as_before():
        assert train_damaged(damaged, run_dir, "--on-bad", "skip") == 0
    return run_dir


def test_bad_images_are_left_out_by_name_and_counted(skipped_run: Path, damaged: Path) -> None:
    *warnings, count, _ = (skipped_run / "log.txt").read_text().splitlines()

    assert count == "train: 9 images, 3 bad ones left out"
    assert [line.split(": left out: ")[0] for line in warnings] == [
        f"warning: {damaged / name}" for name in ("2.jpg", "für später/图 5.jpg", "8.jpg")
    ]
    assert not (damaged.parent / "runs").exists()
    assert IMAGE_STATES.is_file()  # in the working folder


def test_skipping_leaves_the_bad_images_as_they_are(skipped_run: Path, damaged: Path) -> None:
    assert skipped_run.exists()
    assert (damaged / "für später" / "图 5.jpg").read_text() == "<html>404</html>"
    assert not (damaged / "8.jpg").exists()


@pytest.mark.parametrize("is_known", [True, False])
def test_a_resumed_run_that_skips_is_the_same_run(
    is_known: bool, skipped_run: Path, damaged: Path, tmp_path: Path
) -> None:
    checkpoint = skipped_run / "checkpoints" / "step-00000002.pt"  # of 3
    if not is_known:
        IMAGE_STATES.unlink()
    others = ("--on-bad", "skip", "--resume", str(checkpoint))

    assert train_damaged(damaged, tmp_path / "run", *others) == 0
    assert digest(tmp_path / "run") == digest(skipped_run)


def test_other_care_of_bad_images_is_another_run(
    skipped_run: Path, damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = Path(shutil.copytree(skipped_run, tmp_path / "run"))
    folder = repaired(damaged, tmp_path / "images", "2.jpg", "8.jpg", "für später/图 5.jpg")

    assert train_damaged(folder, run_dir, "--resume", "auto") == 2
    assert "--on-bad: the run was started with skip" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "what"),
    [
        ((), "no such image: 8.jpg"),
        (("8.jpg",), "图 5.jpg: the image does not decode"),
        (("8.jpg", "für später/图 5.jpg"), "2.jpg: the image does not decode"),
    ],
)
def test_by_default_a_bad_image_ends_the_run_by_its_name(
    names: tuple[str, ...],
    what: str,
    damaged: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = repaired(damaged, tmp_path / "images", *names)

    assert train_damaged(folder, tmp_path / "run") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error: {folder}")
    assert what in last
    assert not (tmp_path / "run" / "training.json").exists()


def test_a_run_that_skips_skips_in_evaluation_too(
    skipped_run: Path, damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = Path(shutil.copytree(skipped_run, tmp_path / "run"))
    argv = f"--run-dir {run_dir} --split train --amp off --device cpu"

    assert evaluate.main(argv.split()) == 0
    captured = capsys.readouterr()
    assert "train: 9 images, 3 bad ones left out\n" in captured.out
    assert f"warning: {damaged / '2.jpg'}: left out: " in captured.err
    assert len(json.loads((run_dir / "detections.json").read_text())["images"]) == 9


# Refusals


Main = Callable[[list[str]], int]


def refused(main: Main, argv: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a command that ends with 2."""
    assert main(argv.split()) == 2
    captured = capsys.readouterr()
    line: str = captured.err.splitlines()[-1]
    assert "Traceback" not in captured.err
    return line


@pytest.mark.parametrize("main", [train_localizer.main, evaluate.main, view_heatmaps.main])
def test_labels_of_no_images_are_refused(
    main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(main, f"--run-dir {tmp_path}/run --labels labels.csv", capsys)

    assert line == "error: --labels: of which images? (--images names their folder)"
    assert not (tmp_path / "run").exists()


def test_learning_without_labels_is_refused(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = f"--run-dir {tmp_path}/run --images {images} --classes [cat] --split all"
    line = refused(train_localizer.main, argv, capsys)

    assert line == "error: --images: nothing to learn from images alone (--labels names a CSV)"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("--images nowhere --labels labels.csv", "nowhere: no such folder of images"),
        ("--images photographs --labels no.csv", "no.csv: no such file of labels"),
        ("", "--voc-root: no data (name the folder that holds VOC2007, or set $VOC_ROOT)"),
    ],
)
def test_what_is_not_there_is_refused_before_a_run_folder_is_made(
    words: str, what: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert images.exists()

    assert refused(train_localizer.main, f"--run-dir {tmp_path}/run {words}", capsys) == (
        f"error: {what}"
    )
    assert not (tmp_path / "run").exists()


def test_an_unknown_split_is_refused_with_those_that_exist(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = f"--run-dir {tmp_path}/run --images {images} --labels labels.csv --split test"
    line = refused(train_localizer.main, argv, capsys)

    assert line == "error: labels.csv: no split 'test'; there are all, train, val, trainval"


def test_other_classes_than_those_of_the_run_are_refused_in_evaluation(
    copy: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "dragons.csv"
    labels.write_text("image,labels\n0.jpg,dragon\n")
    argv = f"--run-dir {copy} --images {images} --labels {labels} --split all"
    line = refused(evaluate.main, f"{argv} --amp off --device cpu", capsys)

    names = ", ".join(sorted(SYNTHETIC_CLASSES))
    assert line == f"error: {labels}: 0.jpg: class 'dragon' is not one of {names}"
    assert not (copy / "report.json").exists()


@pytest.mark.parametrize("extra", ["dragon", ""])
def test_other_classes_than_those_of_the_run_are_refused_when_it_is_resumed(
    extra: str, copy: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [*sorted(SYNTHETIC_CLASSES), extra] if extra else list(reversed(SYNTHETIC_CLASSES))
    before = snapshot(copy / "checkpoints")
    argv = f"--run-dir {copy} --images {images} --labels labels.csv --val-split val"
    argv += f" --resume auto --classes [{','.join(names)}] {SMALL}"

    assert "error: --classes: the run was started with [" in refused(
        train_localizer.main, argv, capsys
    )
    assert snapshot(copy / "checkpoints") == before


def test_an_image_in_another_folder_that_is_damaged_ends_an_evaluation_by_name(
    copy: Path, new_photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(new_photographs, tmp_path / "new"))
    (folder / "z.jpg").write_bytes(b"")
    argv = f"--run-dir {copy} --images {folder} --split all --amp off --device cpu"
    line = refused(evaluate.main, argv, capsys)

    assert line.startswith(f"error: {folder}/z.jpg: the image does not decode")
    assert not (copy / "report.json").exists()
