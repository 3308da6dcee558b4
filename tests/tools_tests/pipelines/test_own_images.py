"""Own images from end to end: a folder and a CSV to a trained run, reports, heatmaps, a gallery."""

import importlib
import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import yaml

from data.datasets.voc import VOCSource
from data.images import read_image
from data.synthetic.dataset import SYNTHETIC_CLASSES
from tests.tools_tests.conftest import process_as_before
from tests.worlds import digest_of, files_of
from tools import evaluate, gallery, train_localizer, view_heatmaps
from tools.inputs.settings import IMAGE_STATES

SMALL = "--model.backbone squeezenet1_1 --image-sizes [64] --amp off --device cpu"
SMALL += " --loop.epochs 1 --loop.batch-size 4 --loop.log-every 1"
CPU = "--amp off --device cpu"
OF_LABELS = ("image_map", "f2", "recall")
OF_BOXES = ("box_map_11point", "box_map_area", "corloc", "point_accuracy", "heatmap_coverage")
NAMES = [f"für später/图 {k}.jpg" if k % 2 else f"{k}.jpg" for k in range(18)]


def report_of(run_dir: Path, name: str) -> dict[str, Any]:
    path = run_dir / "evaluations" / name / "report.json"
    content: dict[str, Any] = json.loads(path.read_text())["localizer"]
    return content


def detections_of(run_dir: Path, name: str) -> dict[str, Any]:
    path = run_dir / "evaluations" / name / "detections.json"
    content: dict[str, Any] = json.loads(path.read_text())
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
    dataset = VOCSource(tiny_voc, classes=SYNTHETIC_CLASSES).open("trainval")
    lines = ["image,labels,split"]
    for number, (name, path) in enumerate(zip(NAMES, dataset.paths, strict=True)):
        target = elsewhere / "photographs" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        present = dataset.targets[number].nonzero().flatten().tolist()
        labels = "|".join(SYNTHETIC_CLASSES[label] for label in present)
        lines.append(f"{name},{labels},{'train' if number < 12 else 'val'}")
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
    own = "--run-dir own --images photographs --labels labels.csv"
    with process_as_before():
        assert train_localizer.main([*own.split(), *SMALL.split()]) == 0
    return elsewhere / "own"


@pytest.fixture(scope="module")
def evaluated(
    own_run: Path, new_photographs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A copy of the run, evaluated on ``val``, which is copied to ``before``, then on ``new``."""
    folder = tmp_path_factory.mktemp("evaluated") / "own"
    shutil.copytree(own_run, folder)
    with process_as_before():
        assert evaluate.main(f"--run-dir {folder} {CPU} --split val".split()) == 0
        shutil.copytree(folder / "evaluations" / "val", folder / "before")
        new = f"--run-dir {folder} {CPU} --images {new_photographs} --name new"
        assert evaluate.main(new.split()) == 0
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
    log = (own_run / "log.txt").read_text().splitlines()
    form = "labels.csv: one row an image, | between its labels"
    first, second, third = [line.split(" ", 2)[2] for line in log[:3]]
    assert (first, second) == (f"train: 12 images; {form}", f"val: 6 images; {form}")
    assert re.match(r"epoch 1: loss .* s; image mAP ", third)


def test_given_classes_are_the_order_of_the_labels(
    images: Path, tmp_path: Path, own_run: Path
) -> None:
    classes = f"--classes=[{','.join(reversed(SYNTHETIC_CLASSES))}]"
    own = f"--run-dir {tmp_path}/run --images photographs --labels labels.csv {classes}"

    assert train_localizer.main([*own.split(), *SMALL.split()]) == 0
    settings = yaml.safe_load((tmp_path / "run" / "settings.yaml").read_text())
    assert settings["classes"] == list(reversed(SYNTHETIC_CLASSES))
    assert digest_of(tmp_path / "run") != digest_of(own_run)


def test_images_are_never_written_to(
    evaluated: Path, images: Path, new_photographs: Path, tiny_voc: Path
) -> None:
    originals = sorted((tiny_voc / "VOC2007" / "JPEGImages").iterdir())
    given = dict(zip(NAMES, (path.read_bytes() for path in originals), strict=False))

    assert evaluated.exists()
    assert files_of(images) == given
    assert list(files_of(new_photographs).values()) == [p.read_bytes() for p in originals[-3:]]


# Evaluation


def test_numbers_of_labels_are_there_and_those_of_boxes_are_null(evaluated: Path) -> None:
    report = report_of(evaluated, "val")

    assert all(0 <= report[name] <= 1 for name in OF_LABELS)
    for row in (report, *report["per_class"].values()):
        assert [row[name] for name in OF_BOXES] == [None] * len(OF_BOXES)
    assert set(report["threshold_curve"].values()) == {None}


def test_boxes_are_found_in_every_image_under_its_path(evaluated: Path, images: Path) -> None:
    content = detections_of(evaluated, "val")

    assert list(content["images"]) == NAMES[12:]
    for name, of_image in content["images"].items():
        height, width = of_image["size"]
        assert (height, width) == tuple(read_image(images / name).shape[1:])
        boxes = np.array(of_image["boxes"])
        assert len(boxes) > 0
        assert (boxes >= 0).all()
        assert (boxes <= [width, height, width, height]).all()


def test_images_without_labels_get_detections_and_scores_and_no_numbers(
    evaluated: Path, new_photographs: Path
) -> None:
    content, folder = detections_of(evaluated, "new"), evaluated / "evaluations" / "new"
    with np.load(folder / "scores.npz", allow_pickle=False) as scores:
        ids, values, weights = (scores[name] for name in ("ids", "scores", "weights"))

    assert content["classes"] == sorted(SYNTHETIC_CLASSES)
    names = sorted(path.name for path in new_photographs.iterdir())
    assert list(content["images"]) == ids.tolist() == names
    assert all(of_image["scores"] for of_image in content["images"].values())
    assert values.shape == (3, len(SYNTHETIC_CLASSES))
    assert ((values > 0) & (values < 1)).all()
    assert (weights == 0).all()
    report = report_of(evaluated, "new")
    assert [report[name] for name in (*OF_LABELS, *OF_BOXES)] == [None] * 8
    assert {value for row in report["per_class"].values() for value in row.values()} == {None}
    page = re.sub(
        r'src="data:image/jpeg;base64,[^"]+"', "an image", (folder / "report.html").read_text()
    )
    assert "an image" in page
    printed = (evaluated / "log.txt").read_text().partition("all: 3 images\n")[2]
    assert "n/a" not in page
    assert not [line for line in printed.splitlines() if "model" in line]  # no number, no table
    for text in (page, printed):
        assert "nan" not in text
    assert "warning" not in printed


def test_an_evaluation_of_new_images_leaves_that_of_val_and_its_gallery(
    evaluated: Path, tmp_path: Path
) -> None:
    assert files_of(evaluated / "evaluations" / "val") == files_of(evaluated / "before")

    argv = f"--run-dir {evaluated} --split val --processes 1 --out {tmp_path / 'gallery'}"
    assert gallery.main(argv.split()) == 0
    assert (tmp_path / "gallery" / "index.html").is_file()


# Heatmaps


def test_heatmaps_of_the_runs_own_images_are_files_named_by_their_paths(copy: Path) -> None:
    assert view_heatmaps.main(f"--run-dir {copy} --split val {CPU} --count 100".split()) == 0

    assert {path.name for path in (copy / "evaluations" / "val" / "heatmaps").iterdir()} == {
        f"val_{quote(name, safe='')}{ending}" for name in NAMES[12:] for ending in (".jpg", ".npz")
    }


def test_heatmaps_of_images_without_labels_show_what_the_model_sees(
    copy: Path, new_photographs: Path
) -> None:
    argv = f"--run-dir {copy} --images {new_photographs} --split all --name new {CPU}"

    assert view_heatmaps.main(argv.split()) == 0
    shown = sorted((copy / "evaluations" / "new" / "heatmaps").glob("*.jpg"))
    for path, original in zip(shown, sorted(new_photographs.iterdir()), strict=True):
        row, image = read_image(path), read_image(original)
        width = image.shape[2] * 240 / image.shape[1]  # images in a row are 240 high
        assert row.shape[2] > 2 * width  # at least one heatmap beside the image


# The next command


def follow(capsys: pytest.CaptureFixture[str]) -> str:
    """Type the command that the last line suggests; its name."""
    *_, last = capsys.readouterr().out.splitlines()
    python, _, module, *words = shlex.split(last.removeprefix("next: "))
    assert python == "python"
    main: Callable[[list[str]], int] = importlib.import_module(module).main
    assert main(words) == 0
    return module


def test_each_command_suggests_the_next_one_as_it_can_be_typed(
    own_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = Path(shutil.copytree(own_run, tmp_path / "a run's copy"))
    again = ["--images", "photographs", "--labels", "labels.csv", "--val-split", "val"]
    again += ["--run-dir", str(run_dir), "--resume", "auto", *SMALL.split()]

    assert train_localizer.main(again) == 0
    assert follow(capsys) == "tools.evaluate"
    assert follow(capsys) == "tools.gallery"
    new = run_dir / "evaluations" / "new set"
    argv = ["--run-dir", str(run_dir), "--images", "photographs", "--split", "all"]
    assert evaluate.main([*argv, "--name", "new set"]) == 0
    assert follow(capsys) == "tools.gallery"
    assert (new / "gallery" / "index.html").is_file()


def test_where_nothing_is_left_to_evaluate_on_images_are_boxed(
    damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "run"

    assert train_damaged(damaged, run_dir, "--split", "all", "--on-bad", "skip") == 0
    assert follow(capsys) == "tools.detect"
    assert (run_dir / "boxes" / "detections.json").is_file()


# Bad images


BAD = ("2.jpg", "für später/图 5.jpg", "8.jpg")


@pytest.fixture(scope="module")
def damaged(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images once more: one breaks off, one is a page of HTML, one is gone."""
    folder = tmp_path_factory.mktemp("damaged") / "photographs"
    shutil.copytree(images, folder)
    broken, html, gone = (folder / name for name in BAD)
    broken.write_bytes(broken.read_bytes()[:-2000])
    html.write_text("<html>404</html>")
    gone.unlink()
    return folder


def repaired(damaged: Path, folder: Path, *names: str) -> Path:
    """A copy in which these images are whole."""
    shutil.copytree(damaged, folder)
    for name in names:
        shutil.copyfile(Path("photographs") / name, folder / name)
    return folder


def train_damaged(damaged: Path, run_dir: Path, *others: str) -> int:
    own = f"--run-dir {run_dir} --images {damaged} --labels labels.csv --split train {SMALL}"
    return train_localizer.main([*own.split(), "--loop.checkpoint-every", "1", *others])


@pytest.fixture(scope="module")
def skipped_run(damaged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on what is left; not to be written to."""
    run_dir, before = tmp_path_factory.mktemp("skipped") / "run", files_of(damaged)
    with process_as_before():
        assert train_damaged(damaged, run_dir, "--on-bad", "skip") == 0
    assert files_of(damaged) == before
    return run_dir


def test_bad_images_are_left_out_by_name_and_counted(skipped_run: Path, damaged: Path) -> None:
    log = (skipped_run / "log.txt").read_text().splitlines()
    *warnings, count = [line.split(" ", 2)[2] for line in log][:4]

    assert count.startswith("train: 9 images, 3 bad ones left out; labels.csv: one row an image")
    assert [line.split(": left out: ")[0] for line in warnings] == [
        f"warning: {damaged / name}" for name in BAD
    ]
    assert not (damaged.parent / "runs").exists()
    assert IMAGE_STATES.is_file()  # in the working folder


@pytest.mark.parametrize("is_known", [True, False])
def test_a_resumed_run_that_skips_is_the_same_run(
    is_known: bool, skipped_run: Path, damaged: Path, tmp_path: Path
) -> None:
    checkpoint = skipped_run / "checkpoints" / "step-00000002.pt"  # of 3
    if not is_known:
        IMAGE_STATES.unlink()
    others = ("--on-bad", "skip", "--resume", str(checkpoint))

    assert train_damaged(damaged, tmp_path / "run", *others) == 0
    assert digest_of(tmp_path / "run") == digest_of(skipped_run)


def test_skipping_on_resuming_as_before_is_asked_for(
    skipped_run: Path, damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = Path(shutil.copytree(skipped_run, tmp_path / "run"))
    folder = repaired(damaged, tmp_path / "images", *BAD)

    assert train_damaged(folder, run_dir, "--resume", "auto") == 2
    assert "--on-bad: the run was started with skip" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "refusal"),
    [
        ((), "no such image: 8.jpg"),
        (("8.jpg",), "图 5.jpg: the image does not decode"),
        (("8.jpg", "für später/图 5.jpg"), "2.jpg: the image does not decode"),
    ],
)
def test_by_default_a_bad_image_ends_the_run_by_its_name(
    names: tuple[str, ...],
    refusal: str,
    damaged: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = repaired(damaged, tmp_path / "images", *names)

    assert train_damaged(folder, tmp_path / "run") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error: {folder}")
    assert refusal in last
    assert not (tmp_path / "run" / "training.json").exists()


def test_a_run_that_skips_skips_in_evaluation_too(
    skipped_run: Path, damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = Path(shutil.copytree(skipped_run, tmp_path / "run"))

    assert evaluate.main(f"--run-dir {run_dir} --split train {CPU}".split()) == 0
    captured = capsys.readouterr()
    assert "train: 9 images, 3 bad ones left out; " in captured.out
    assert f"warning: {damaged / '2.jpg'}: left out: " in captured.err
    assert len(detections_of(run_dir, "train")["images"]) == 9


# Refusals


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        ("", "--voc-root: "),
        ("--labels labels.csv", "--labels: of which images"),
        ("--images photographs --classes [cat]", "photographs: no split 'train'"),
        ("--images nowhere --labels labels.csv", "nowhere: no such image or folder of images"),
        ("--images photographs --labels no.csv", "no.csv: no such file or folder of labels"),
        (
            "--images photographs --labels labels.csv --split test",
            "labels.csv: no split 'test'; there are all, train, val, trainval",
        ),
    ],
)
def test_what_is_not_there_is_refused_before_a_run_is_begun(
    words: str, refusal: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert images.exists()

    assert train_localizer.main(f"--run-dir {tmp_path}/run {words}".split()) == 2
    assert capsys.readouterr().err.startswith(f"error: {refusal}")
    assert not (tmp_path / "run" / "settings.yaml").exists()


@pytest.mark.parametrize("extra", ["dragon", ""])
def test_other_classes_than_those_of_the_run_are_refused_when_it_is_resumed(
    extra: str, copy: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [*sorted(SYNTHETIC_CLASSES), extra] if extra else list(reversed(SYNTHETIC_CLASSES))
    before = files_of(copy / "checkpoints")
    argv = f"--run-dir {copy} --images {images} --labels labels.csv --val-split val"
    argv += f" --resume auto --classes [{','.join(names)}] {SMALL}"

    assert train_localizer.main(argv.split()) == 2
    assert "error: --classes: the run was started with [" in capsys.readouterr().err
    assert files_of(copy / "checkpoints") == before


def test_other_classes_and_damaged_images_end_an_evaluation_by_their_names(
    copy: Path,
    images: Path,
    new_photographs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    labels = tmp_path / "dragons.csv"
    labels.write_text("image,labels\n0.jpg,dragon\n")
    damaged = Path(shutil.copytree(new_photographs, tmp_path / "new"))
    (damaged / "z.jpg").write_bytes(b"")

    for words, refusal in (
        (f"--images {images} --labels {labels}", f"{labels}: 0.jpg: class 'dragon' is not one of "),
        (f"--images {damaged}", f"{damaged}/z.jpg: the image does not decode"),
    ):
        assert evaluate.main(f"--run-dir {copy} {words} --split all {CPU}".split()) == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {refusal}")
    assert not (copy / "evaluations").exists()
