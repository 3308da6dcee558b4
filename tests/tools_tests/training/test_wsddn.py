"""Training a detector from the command line: what it logs, resumes, leaves out and never sees."""

import contextlib
import json
import math
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.nn.modules.module import register_module_forward_hook

from data.datasets.voc_layout import image_ids
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import Proposals
from tests.tools_tests.conftest import Words
from tests.tools_tests.training.conftest import Start, wait_for
from tests.worlds import (
    assert_same_run,
    digest_of,
    files_of,
    random_boxes,
    read_events,
    with_other_boxes,
    write_proposals,
)
from tools import evaluate
from tools.cli.command import parse_settings
from tools.loggers.metrics_file import read_metrics
from tools.runs.checkpoint import load_checkpoint
from tools.runs.kinds import TrainWsddnSettings
from tools.runs.saved import load_run
from tools.train_wsddn import main
from wsddn.model import WSDDN

ONE_EPOCH = ("--loop.epochs", "1", "--val-split", "")
SHORT = ("--split", "val", *ONE_EPOCH)  # six images are enough


@pytest.fixture
def copy(detector_run: Path, tmp_path: Path) -> Path:
    """A finished run that a test may spoil."""
    return Path(shutil.copytree(detector_run, tmp_path / "copy"))


# The run folder


def test_a_run_leaves_every_file_of_its_folder(detector_run: Path, proposals_file: Path) -> None:
    assert {path.name for path in detector_run.iterdir() if not path.name.startswith(".")} == {
        *("checkpoints", "events", "environment.json", "log.txt", "metrics.jsonl"),
        *("settings.yaml", "training.json"),
    }
    for which in ("last", "best"):
        loaded = load_checkpoint(detector_run / "checkpoints", which)
        assert loaded is not None
        assert loaded["builder"]["width"] == 16
    summary = json.loads((detector_run / "training.json").read_text())
    assert (summary["step"], summary["epochs"]) == (24, 2)
    assert len(summary["weights_sha256"]) == 64
    assert summary["seconds"] > 0
    settings = yaml.safe_load((detector_run / "settings.yaml").read_text())
    assert settings["proposals"] == [str(proposals_file.absolute())]
    assert (settings["min_size"], settings["max_proposals"]) == (20, 2000)
    assert settings["classes"] == list(SYNTHETIC_CLASSES)


def test_both_losses_are_logged_at_every_step_and_the_validation_after_every_epoch(
    detector_run: Path,
) -> None:
    curves = read_metrics(detector_run / "metrics.jsonl")

    names = ("image_label", "spatial", "loss", "metric1", "metric2", "learning_rate")
    for name in names:
        assert [step for step, _ in curves[f"train/{name}"]] == list(range(1, 25)), name
    parts = [[value for _, value in curves[f"train/{name}"]] for name in names[:3]]
    sums = [sum(both) for both in zip(*parts[:2], strict=True)]
    assert parts[2] == pytest.approx(sums, rel=1e-6)
    assert max(parts[1]) > 0
    for name in ("box_map_11point", "box_map_area", "corloc", "image_map", "errors_part"):
        assert [step for step, _ in curves[f"validation/{name}"]] == [12, 24], name


def test_ap_of_each_class_is_logged_and_their_mean_is_the_map(detector_run: Path) -> None:
    curves = read_metrics(detector_run / "metrics.jsonl")

    start = "validation/box_ap/"
    of_classes = {tag.removeprefix(start): curves[tag] for tag in curves if tag.startswith(start)}
    assert set(of_classes) <= set(SYNTHETIC_CLASSES)
    assert len(of_classes) > 3
    for epoch in range(2):
        values = [points[epoch][1] for points in of_classes.values()]
        mean = sum(values) / len(values)
        assert curves["validation/box_map_11point"][epoch][1] == pytest.approx(mean, abs=1e-12)


def test_the_checkpoint_that_is_best_on_the_validation_split_is_named(detector_run: Path) -> None:
    best = load_checkpoint(detector_run / "checkpoints", "best")
    quality = read_metrics(detector_run / "metrics.jsonl")["validation/box_map_11point"]

    assert best is not None
    assert (best["step"], best["best"]) == max(quality, key=lambda point: point[1])


def test_tensorboard_has_histograms_curves_and_the_boxes_of_every_image_and_epoch(
    detector_run: Path,
) -> None:
    events = read_events(detector_run / "events")
    tags = events.Tags()

    layers = ("conv1 (features.0)", "conv2 (features.3)", "fc7 (head.fc7)")
    kinds = ("weights", "gradients")
    assert set(tags["histograms"]) == {f"{kind}/{layer}" for kind in kinds for layer in layers}
    for of_what in ("image labels", "boxes"):
        curves = [tag for tag in tags["tensors"] if tag.startswith(f"{of_what}/")]
        assert len(curves) > 3  # precision and recall of each class
    assert "custom_scalars__config__" in tags["tensors"]
    assert len(tags["images"]) == 6
    for number, tag in enumerate(tags["images"]):
        batch, image, boxes, *classes = tag.removeprefix("images/").split("_")
        assert (batch, image, boxes) == (f"batch{number // 4}", f"image{number % 4}", "boxes")
        assert classes
        assert set(classes) <= set(SYNTHETIC_CLASSES)
        assert [shown.step for shown in events.Images(tag)] == [12, 24]


# Resuming


@contextlib.contextmanager
def stopped_at(step: int) -> Iterator[None]:
    """A signal comes in the middle of that step, counted from 1."""
    steps = iter(range(1, step))

    def interrupt(module: torch.nn.Module, *_: Any) -> None:
        is_step = isinstance(module, WSDDN) and module.training
        if is_step and next(steps, None) is None:
            signal.raise_signal(signal.SIGTERM)

    with register_module_forward_hook(interrupt):
        yield


def test_a_run_stopped_in_the_middle_of_an_epoch_continues_bit_by_bit(
    detector_run: Path,
    detector_words: Words,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_dir = tmp_path / "run"
    with stopped_at(17):
        assert main(detector_words(run_dir)) == 143
    assert not (run_dir / "training.json").exists()

    assert main(detector_words(run_dir, "--resume", "auto")) == 0
    assert "from step 17 (epoch 2, batch 5)" in capsys.readouterr().out
    assert_same_run(run_dir, detector_run)


def test_a_killed_run_continues_bit_by_bit(
    start: Start, detector_run: Path, detector_words: Words, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    argv = detector_words(run_dir, "--loop.checkpoint-every", "3", "--resume", "auto")
    process = start("train_wsddn", argv)
    wait_for(run_dir / "metrics.jsonl", lambda text: '"step": 4,' in text, process)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL

    assert main(argv) == 0
    assert_same_run(run_dir, detector_run)


def test_a_run_that_drops_proposals_continues_bit_by_bit(
    detector_words: Words, tmp_path: Path
) -> None:
    words = ("--drop-proposals", "0.5", *SHORT)
    whole, run_dir = tmp_path / "whole", tmp_path / "run"
    assert main(detector_words(whole, *words)) == 0
    with stopped_at(3):
        assert main(detector_words(run_dir, *words)) == 143

    assert main(detector_words(run_dir, *words, "--resume", "auto")) == 0
    assert_same_run(run_dir, whole)


def test_a_finished_run_takes_moved_proposals_and_other_settings_of_its_evaluation(
    copy: Path, detector_words: Words, proposals_file: Path, tmp_path: Path
) -> None:
    before = files_of(copy)
    moved = shutil.copy(proposals_file, tmp_path / "moved.npz")
    others = ("--eval-image-sizes", "[64,96]", "--support-iou", "0.5", "--proposals", str(moved))

    assert main(detector_words(copy, "--resume", "auto", *others)) == 0
    settings = yaml.safe_load((copy / "settings.yaml").read_text())
    assert (settings["eval_image_sizes"], settings["support_iou"]) == ([64, 96], 0.5)
    for name, data in files_of(copy).items():
        assert data == before[name] or name in ("log.txt", "settings.yaml"), name


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        ("", "{copy}: holds a run already"),
        ("--resume auto --proposals {others}", "--proposals: "),
        ("--resume auto --max-proposals 30", "--max-proposals: the run was started with 2000"),
        ("--resume auto --model.width 8", "--model.width: the run was started with 16, now 8"),
    ],
)
def test_another_training_in_the_folder_of_a_run_is_refused(
    words: str,
    refusal: str,
    copy: Path,
    detector_words: Words,
    some_proposals: dict[str, Proposals],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fewer = {name: proposals[1:] for name, proposals in some_proposals.items()}
    others = write_proposals(tmp_path / "others.npz", fewer)

    assert main(detector_words(copy, *words.format(others=others).split())) == 2
    assert f"error: {refusal.format(copy=copy)}" in capsys.readouterr().err


# What it learns from


def test_the_boxes_of_the_annotations_are_never_seen(
    detector_run: Path, detector_words: Words, tiny_voc: Path, tmp_path: Path
) -> None:
    other = with_other_boxes(tiny_voc, tmp_path / "voc")

    words = detector_words(tmp_path / "run", "--voc-root", str(other), "--val-split", "")
    assert main(words) == 0
    assert digest_of(tmp_path / "run") == digest_of(detector_run)


def test_other_labels_give_other_weights(
    detector_words: Words, tiny_voc: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_voc, tmp_path / "voc")
    for path in (tmp_path / "voc" / "VOC2007" / "Annotations").iterdir():
        path.write_text(path.read_text().replace("<name>rocket<", "<name>snail<"))

    assert main(detector_words(tmp_path / "one", *SHORT)) == 0
    assert main(detector_words(tmp_path / "two", *SHORT, "--voc-root", str(tmp_path / "voc"))) == 0
    assert digest_of(tmp_path / "one") != digest_of(tmp_path / "two")


def test_images_without_proposals_are_left_out_with_their_number_and_validated(
    detector_words: Words,
    some_proposals: dict[str, Proposals],
    tiny_voc: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ids = image_ids(tiny_voc, "val")
    nothing = Proposals(torch.zeros(0, 4), None)
    small = Proposals(torch.tensor([[0.0, 0.0, 19.0, 60.0]]), None)  # below --min-size
    path = write_proposals(tmp_path / "p.npz", {**some_proposals, ids[1]: nothing, ids[4]: small})

    words = ("--split", "val", "--loop.epochs", "1", "--proposals", str(path))
    assert main(detector_words(tmp_path / "run", *words)) == 0
    warning = f"images without proposals are left out, 2: {ids[1]}, {ids[4]}\n"
    assert f"warning: {warning}" in capsys.readouterr().err
    curves = read_metrics(tmp_path / "run" / "metrics.jsonl")
    ((step, value),) = curves["validation/box_map_11point"]
    assert step == 4
    assert 0 <= value <= 1


def test_images_without_boxes_have_no_mean_of_boxes_and_choose_by_their_labels(
    detector_words: Words, some_proposals: dict[str, Proposals], tiny_voc: Path, tmp_path: Path
) -> None:
    ids = image_ids(tiny_voc, "val")
    lines = [f"{name}.jpg,{SYNTHETIC_CLASSES[k % 2]},val" for k, name in enumerate(ids)]
    (tmp_path / "labels.csv").write_text("\n".join(["image,labels,split", *lines]))
    path = write_proposals(tmp_path / "p.npz", {f"{n}.jpg": some_proposals[n] for n in ids})
    own = f"--images {tiny_voc}/VOC2007/JPEGImages --labels {tmp_path}/labels.csv"
    words = f"--split val --loop.epochs 1 --classes=[] --proposals {path} {own}"

    assert main(detector_words(tmp_path / "run", *words.split())) == 0
    assert "nan" not in (tmp_path / "run" / "log.txt").read_text()
    curves = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert not any(math.isnan(value) for points in curves.values() for _, value in points)
    best = load_checkpoint(tmp_path / "run" / "checkpoints", "best")
    assert best is not None
    assert best["best"] == curves["validation/image_map"][0][1]


def test_scores_above_1_are_warned_of_once_where_the_detector_takes_them(
    detector_words: Words,
    detector_run: Path,
    some_proposals: dict[str, Proposals],
    tiny_voc: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scores = {
        image_id: Proposals(of_image.boxes, torch.full((len(of_image.boxes),), 4.0))
        for image_id, of_image in some_proposals.items()
    }
    path = write_proposals(tmp_path / "high.npz", scores)
    named = f"warning: {path}: scores of proposals multiply features "
    given = ("--proposals", str(path))

    for count, factor in ((1, "10"), (0, "0")):
        others = (*given, *SHORT, "--val-split", "val", "--model.box-score", factor)
        assert main(detector_words(tmp_path / factor, *others)) == 0
        assert capsys.readouterr().err.count(named) == count
    copy = shutil.copytree(detector_run, tmp_path / "copy")
    small = f"--run-dir {copy} --voc-root {tiny_voc} --device cpu --amp off"
    small += " --split test --corloc-split val"
    for count, options in ((1, given), (0, ())):
        assert evaluate.main([*small.split(), *options]) == 0
        assert capsys.readouterr().err.count(named) == count


def test_a_run_without_any_proposal_is_refused(
    detector_words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(detector_words(tmp_path / "run", "--min-size", "1000")) == 2

    assert capsys.readouterr().err.endswith("error: train: no image is left\n")
    assert not (tmp_path / "run" / "settings.yaml").exists()


@pytest.mark.parametrize("count", [1, 4000])
def test_one_proposal_and_thousands_of_them_have_finite_losses(
    count: int,
    detector_words: Words,
    some_proposals: dict[str, Proposals],
    tiny_voc: Path,
    tmp_path: Path,
    rng: torch.Generator,
) -> None:
    ids = image_ids(tiny_voc, "val")
    proposals = dict(some_proposals)
    for image_id in ids if count == 1 else ids[:1]:
        scores = torch.rand(count, generator=rng)
        proposals[image_id] = Proposals(random_boxes(count, rng), scores)
    path = write_proposals(tmp_path / "p.npz", proposals)

    words = (*SHORT, "--proposals", str(path), "--max-proposals", "5000")
    assert main(detector_words(tmp_path / "run", *words)) == 0
    curves = read_metrics(tmp_path / "run" / "metrics.jsonl")
    for name in ("image_label", "spatial"):
        assert len(curves[f"train/{name}"]) == 6
        assert all(math.isfinite(value) for _, value in curves[f"train/{name}"])


def test_a_regularizer_of_weight_zero_is_no_loss(detector_words: Words, tmp_path: Path) -> None:
    assert main(detector_words(tmp_path / "run", *SHORT, "--spatial-weight", "0")) == 0

    curves = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert "train/spatial" not in curves
    assert curves["train/loss"] == curves["train/image_label"]


def test_without_a_validation_it_shows_boxes_of_the_images_that_it_learns_from(
    detector_words: Words, tmp_path: Path
) -> None:
    assert main(detector_words(tmp_path / "run", *SHORT)) == 0

    tags = read_events(tmp_path / "run" / "events").Tags()
    assert len(tags["images"]) == 6
    assert not [tag for tag in tags["scalars"] if tag.startswith("validation/")]


# The backbone


@pytest.mark.parametrize("is_frozen", [False, True])
def test_a_backbone_starts_from_that_of_a_localizer_and_keeps_it_when_it_is_frozen(
    is_frozen: bool, small_run: Path, detector_words: Words, tmp_path: Path
) -> None:
    words = ["--model.backbone=squeezenet1_1", f"--from-localizer={small_run}", *SHORT]
    words += [f"--frozen-backbone={str(is_frozen).lower()}"]
    words += [f"--feature-cache={tmp_path / 'features'}"]
    words += ["--optim.lr", "1e-4" if is_frozen else "1e-12"]  # where nothing moves by a digit

    assert main(detector_words(tmp_path / "run", *words)) == 0
    backbone = load_run(tmp_path / "run").model.features.state_dict()
    given = load_run(small_run).model.features.state_dict()
    assert backbone.keys() == given.keys()
    for name, tensor in backbone.items():
        torch.testing.assert_close(tensor, given[name], rtol=0, atol=0 if is_frozen else 1e-6)
    assert len(list((tmp_path / "features").rglob("*.npz"))) == (6 if is_frozen else 0)


@pytest.mark.parametrize(
    ("run", "refusal"),
    [
        ("small_run", "the localizer stands on another backbone"),
        ("detector_run", "holds a detector"),
    ],
)
def test_a_run_without_that_backbone_is_refused_to_start_from(
    run: str,
    refusal: str,
    request: pytest.FixtureRequest,
    detector_words: Words,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other: Path = request.getfixturevalue(run)

    assert main(detector_words(tmp_path / "run", "--from-localizer", str(other))) == 2
    assert f"{other}: {refusal}" in capsys.readouterr().err
    assert not (tmp_path / "run" / "settings.yaml").exists()


# Refusals


@pytest.mark.parametrize("split", ["", "val", "train"])
def test_proposals_of_other_images_or_none_are_refused_before_the_first_step(
    split: str,
    detector_words: Words,
    some_proposals: dict[str, Proposals],
    tiny_voc: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "p.npz"
    refusal = f"error: {path}: "
    if split:
        ids = image_ids(tiny_voc, split)
        write_proposals(path, {image_id: some_proposals[image_id] for image_id in ids})
        missing = image_ids(tiny_voc, {"val": "train", "train": "val"}[split])
        refusal += f"no proposals of {', '.join(missing[:5])} and {len(missing) - 5} more ("

    assert main(detector_words(tmp_path / "run", "--proposals", str(path))) == 2
    assert refusal in capsys.readouterr().err
    left = {path.name for path in (tmp_path / "run").rglob("*")}
    assert not left & {"training.json", "checkpoints", "metrics.jsonl"}


def test_features_are_computed_in_parts_and_no_run_is_begun(
    detector_words: Words, small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frozen = f"--from-localizer={small_run} --model.backbone=squeezenet1_1 --frozen-backbone=true"
    others = [*frozen.split(), f"--feature-cache={tmp_path / 'features'}"]
    for part in ("1/2", "2/2"):
        assert main(detector_words(tmp_path / "run", *others, "--only-features", part)) == 0
    assert not (tmp_path / "run").exists()
    capsys.readouterr()

    assert main(detector_words(tmp_path / "run", *others)) == 0
    said = capsys.readouterr().out
    assert "features of 12 images found" in said
    assert "features of 6 images found" in said


@pytest.mark.parametrize(
    ("option", "others"),
    [
        ("--max-proposals=0", ""),
        ("--spatial-weight=-0.1", ""),
        ("--min-size=-1", ""),
        ("--model.width=0", ""),
        ("--model.dropout=1", ""),
        ("--model.frozen-layers=-1", ""),
        ("--drop-proposals=1", ""),
        ("--support-iou=1.1", ""),
        ("--frozen-backbone=true", "--pretrained=false"),
        ("--from-localizer=runs/a", "--weights=a.pth"),
        ("--only-features=3", ""),
        ("--only-features=1/2", "--frozen-backbone=false"),
    ],
)
def test_settings_without_sense_are_refused_by_their_names(option: str, others: str) -> None:
    argv = ["--run-dir", "x", "--proposals", "p.npz", option, *others.split()]

    with pytest.raises(ValueError, match=option.partition("=")[0].rpartition(".")[2]):
        parse_settings(TrainWsddnSettings, "train_wsddn", argv)


def test_one_class_alone_is_refused_before_proposals_are_read(
    tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tiny_voc / "VOC2007" / "JPEGImages"
    (tmp_path / "labels.csv").write_text("image,labels\n000001.jpg,cat\n000002.jpg,")
    own = f"--images {images} --labels {tmp_path}/labels.csv --split trainval"

    assert main(f"{own} --proposals no.npz --run-dir {tmp_path}/run --device cpu".split()) == 2
    assert "error: --classes: cat alone; a detector learns which of" in capsys.readouterr().err


def test_proposals_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--run-dir", "x"]) == 2
    assert "proposals" in capsys.readouterr().err
