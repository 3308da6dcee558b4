"""A stored evaluation made once more: 0.0 on the same machine, and what is found otherwise."""

import json
import re
import shutil
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision import models

from data.datasets.image_set import ImageSet
from data.datasets.sources import SOURCES
from data.datasets.voc import VOCSource
from data.types import ImageSample
from tests.tools_tests.conftest import Train, Words, process_as_before
from tests.worlds import files_of
from tools import check_reproduction, evaluate, train_localizer
from tools.files.atomic import pack_arrays, write_scores
from tools.files.scores import read_scores
from tools.runs.checkpoint import load_checkpoint, save_checkpoint

Check = Callable[..., list[str]]


class RandomCrops(ImageSet):
    """Images of which a random quarter is seen each time, as if by a transform of training."""

    def read(self, index: int, *, channels: int = 3) -> ImageSample:
        sample = super().read(index, channels=channels)
        height, width = (side // 2 for side in sample.image.shape[1:])
        top, left = (int(torch.randint(side, ())) for side in (height, width))
        crop = sample.image[:, top : top + height, left : left + width]
        return replace(sample, image=F.interpolate(crop[None], sample.image.shape[1:])[0])


class CroppedSource(VOCSource):
    """VOC, seen like that."""

    def open(self, split: str, *, leave_out: Collection[Path] = ()) -> ImageSet:
        whole = super().open(split, leave_out=leave_out)
        labels = list(zip(whole.targets, whole.weights, strict=True))
        return RandomCrops(split, whole.classes, whole.paths, whole.annotations, labels)


def run_evaluate(run_dir: Path, tiny_voc: Path, *others: str) -> None:
    small = f"--run-dir={run_dir} --voc-root={tiny_voc} --device=cpu --amp=off --corloc-split="
    with process_as_before():
        assert evaluate.main([*small.split(), "--split=test", *others]) == 0


@pytest.fixture(scope="module")
def stored(
    tiny_voc: Path, small_run: Path, detector_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of copies of a localizer and a detector, evaluated in several ways; only read."""
    folder = tmp_path_factory.mktemp("stored")
    small, detector = (
        Path(shutil.copytree(run, folder / run.name)) for run in (small_run, detector_run)
    )
    run_evaluate(small, tiny_voc, f"--beside={detector}")
    run_evaluate(small, tiny_voc, "--name=a size", "--image-sizes=[64,96]", "--checkpoint=best")
    run_evaluate(small, tiny_voc, "--name=two", "--boxes.thresholds=[0.3,0.8]", "--split=val")
    options = ("--name=rescored", "--support-iou=0.5", f"--rescore-from={small}")
    run_evaluate(detector, tiny_voc, *options)
    run_evaluate(detector, tiny_voc, "--name=several", f"--also-runs={detector_run}")
    return folder


@pytest.fixture
def copy(stored: Path, tmp_path: Path) -> Path:
    """A copy of the localizer's evaluations for a test that writes to it."""
    return Path(shutil.copytree(stored / "small", tmp_path / "copy"))


@pytest.fixture
def check(tiny_voc: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Check an evaluation; gives the lines of both streams."""

    def run(code: int, run_dir: Path, *words: str) -> list[str]:
        capsys.readouterr()
        place = [f"--run-dir={run_dir}", f"--voc-root={tiny_voc}", "--device=cpu", "--split=test"]
        assert check_reproduction.main([*place, *words]) == code
        output = capsys.readouterr()
        return [*output.out.splitlines(), *output.err.splitlines()]

    return run


def change(path: Path, **changes: Any) -> None:
    """Arrays of a file of scores become others."""
    with np.load(path) as arrays:
        content = {name: arrays[name] for name in arrays.files}
    write_scores(path, **content | changes)


def change_report(run_dir: Path, **changes: Any) -> None:
    path = run_dir / "evaluations" / "test" / "report.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# The same again


@pytest.mark.parametrize(
    ("run", "name"),
    [("small", "a size"), ("small", "two"), ("detector", "rescored"), ("detector", "several")],
)
def test_the_same_machine_gives_the_same_scores_with_the_settings_of_the_evaluation(
    run: str, name: str, stored: Path, check: Check
) -> None:
    before = files_of(stored)

    lines = check(0, stored / run, f"--name={name}")

    assert lines[-1] == "reproduced: scores differ by 0.0 at most"
    assert files_of(stored) == before


def test_runs_side_by_side_are_checked_together_with_their_ap(stored: Path, check: Check) -> None:
    lines = check(0, stored / "small")

    report = json.loads((stored / "small" / "evaluations" / "test" / "report.json").read_text())
    for model in ("localizer", "detector"):
        ap = f"{report[model]['image_map']:.6f}"
        assert f"{model}: image mAP {ap} stored, {ap} anew" in lines
        assert f"{model}: image scores differ by 0.0 on average, 0.0 at most" in lines
        assert f"{model}: scores of detections differ by 0.0 at most" in lines
        assert (report[model]["device"], report[model]["amp"]) == ("cpu", "off")


def test_the_order_of_the_stored_images_and_the_place_of_the_run_do_not_matter(
    copy: Path, check: Check
) -> None:
    path = copy / "evaluations" / "a size" / "scores.npz"
    saved = read_scores(path)
    arrays = {key: getattr(saved, key)[::-1] for key in ("scores", "targets", "weights")}
    change(path, ids=np.array(saved.ids[::-1]), **arrays)

    assert check(0, copy, "--name=a size")[-1] == "reproduced: scores differ by 0.0 at most"


def test_an_evaluation_of_scores_alone_is_checked(copy: Path, check: Check) -> None:
    (copy / "evaluations" / "two" / "detections.json").unlink()

    assert not [line for line in check(0, copy, "--name=two") if "detections" in line]


# Differences


def test_images_that_are_cropped_at_random_are_found_although_processes_begin_with_one_seed(
    copy: Path, check: Check, tiny_voc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SOURCES, "voc", CroppedSource.from_settings)
    torch.manual_seed(0)
    run_evaluate(copy, tiny_voc, "--name=cropped")
    torch.manual_seed(0)

    lines = check(1, copy, "--name=cropped")

    scores = read_scores(copy / "evaluations" / "cropped" / "scores.npz")
    named = re.search(r"image (\S+), class (\w+): (?:score (\S+) stored)?", lines[-1])
    assert named is not None
    assert lines[-1].startswith(f"error: {copy}/evaluations/cropped: scores differ by 0.")
    value = scores.scores[scores.ids.index(named[1]), scores.classes.index(named[2])]
    assert named[3] in (None, f"{value:.6g}")


def test_other_weights_are_found_with_the_image_and_class_that_differ_most(
    copy: Path, check: Check, tiny_voc: Path
) -> None:
    content = load_checkpoint(copy / "checkpoints")
    assert content is not None
    content["model"]["classifier.0.bias"][2] += 1
    save_checkpoint(copy / "checkpoints", content)
    (copy / "evaluations" / "test" / "detections.json").unlink()

    lines = check(1, copy)

    run_evaluate(copy, tiny_voc, "--name=again")
    before, now = (
        read_scores(copy / "evaluations" / name / "scores.npz") for name in ("test", "again")
    )
    gaps = np.abs(now.scores - before.scores)
    row, label = np.unravel_index(gaps.argmax(), gaps.shape)
    assert label == 2
    assert lines[-1].startswith(f"error: {copy}/evaluations/test: scores differ by 0.")
    named = f"localizer, image {now.ids[row]}, class {now.classes[label]}: score "
    assert named + f"{before.scores[row, label]:.6g} stored, " in lines[-1]
    assert lines[-1].endswith(f"{now.scores[row, label]:.6g} anew")
    assert any(line.startswith("localizer: weights_sha256 was ") for line in lines)


@pytest.mark.parametrize(
    ("moved", "options", "code"),
    [(5e-6, [], 0), (2e-5, [], 1), (2e-5, ["--tolerance=1e-4"], 0), (5e-6, ["--tolerance=0"], 1)],
)
def test_a_difference_counts_when_it_exceeds_the_tolerance(
    moved: float, options: list[str], code: int, copy: Path, check: Check
) -> None:
    path = copy / "evaluations" / "a size" / "scores.npz"
    scores = read_scores(path).scores
    scores[3, 4] += moved
    change(path, scores=scores)

    lines = check(code, copy, "--name=a size", *options)

    mean = moved / scores.size
    assert f"differ by {mean:.3g} on average, {moved:.0e} at most (image " in "\n".join(lines)
    assert f"scores differ by {moved:.0e}" in lines[-1]


def test_a_detection_that_is_gone_is_found(copy: Path, check: Check) -> None:
    path = copy / "evaluations" / "two" / "detections.json"
    content = json.loads(path.read_text())
    image_id = list(content["images"])[2]
    of_image = content["images"][image_id]
    removed = {key: of_image[key].pop(0) for key in ("boxes", "labels", "scores")}
    path.write_text(json.dumps(content))

    (*_, line) = check(1, copy, "--name=two")
    name = content["classes"][removed["labels"]]
    assert line.endswith(
        f"image {image_id}, class {name}: detection of score {removed['scores']:.6g} anew"
    )


def test_the_split_is_that_of_the_numbers_where_the_stored_command_names_none(
    copy: Path, check: Check
) -> None:
    report = json.loads((copy / "evaluations" / "test" / "report.json").read_text())
    assert " --split=test" in report["command"]
    change_report(copy, command=report["command"].replace(" --split=test", ""))

    assert check(0, copy)[-1] == "reproduced: scores differ by 0.0 at most"


def test_other_labels_are_told_and_change_no_score(copy: Path, check: Check) -> None:
    path = copy / "evaluations" / "two" / "scores.npz"
    change(path, targets=1 - read_scores(path).targets)

    lines = check(0, copy, "--name=two")
    assert "warning: localizer: the labels of val have changed since, and AP with them" in lines


def test_features_of_a_frozen_backbone_are_computed_anew(
    train: Train, words: Words, check: Check, tiny_voc: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    torch.save(models.squeezenet1_1(weights=None).state_dict(), tmp_path / "weights.pth")
    cache = tmp_path / "features"
    frozen = f"--frozen-backbone=true --weights={tmp_path / 'weights.pth'} --val-split="
    options = [*frozen.split(), f"--feature-cache={cache}", "--loop.epochs=1"]
    run_dir = train(train_localizer.main, words, "frozen", *options)
    run_evaluate(run_dir, tiny_voc)
    before = files_of(cache)

    assert check(0, run_dir)[-1] == "reproduced: scores differ by 0.0 at most"
    assert files_of(cache) == before
    for path in cache.rglob("*.npz"):  # as if the images had been cropped when it was filled
        with np.load(path) as arrays:
            content = {key: arrays[key] for key in arrays.files}
        content["upright"] = content["upright"][:, ::-1] * 2
        path.write_bytes(pack_arrays(**content))
    run_evaluate(run_dir, tiny_voc)
    check(1, run_dir)


# Refusals


def other_images(run_dir: Path) -> None:
    path = run_dir / "evaluations" / "test" / "scores.npz"
    change(path, ids=np.array([f"{image_id}x" for image_id in read_scores(path).ids]))


def other_classes(run_dir: Path) -> None:
    path = run_dir / "evaluations" / "test" / "scores.npz"
    change(path, classes=np.array([f"{name}x" for name in read_scores(path).classes]))


def other_classes_of_detections(run_dir: Path) -> None:
    path = run_dir / "evaluations" / "test" / "detections.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"classes": list("abcdef")}))


@pytest.mark.parametrize(
    ("spoil", "refusal"),
    [
        (lambda run_dir: shutil.rmtree(run_dir / "evaluations"), "report.json: no such report"),
        (
            lambda run_dir: (run_dir / "evaluations" / "test" / "scores.npz").unlink(),
            "scores.npz: no such file of scores",
        ),
        (
            lambda run_dir: change_report(run_dir, command="python -m tools.other"),
            "report.json: holds no command of evaluate (tools.other)",
        ),
        (
            lambda run_dir: change_report(run_dir, command="python -m tools.evaluate --old=1"),
            "report.json: holds no command of evaluate (unknown setting --old",
        ),
        (lambda run_dir: change_report(run_dir, command=None), "report.json: holds no command"),
        (other_images, "scores.npz: of other images than test has now: "),
        (other_classes, "scores.npz: classes "),
        (other_classes_of_detections, "detections.json: classes a, b, c, d, e, f are not those"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    spoil: Callable[[Path], object], refusal: str, copy: Path, check: Check
) -> None:
    spoil(copy)

    (*_, line) = check(2, copy)
    assert line.startswith(f"error: {copy}/evaluations/test/{refusal}")


def test_a_folder_without_a_run_and_a_negative_tolerance_are_refused(
    tmp_path: Path, copy: Path, check: Check
) -> None:
    assert "no such report" in check(2, tmp_path / "typo")[-1]
    assert check(2, copy, "--tolerance=-1")[-1].startswith("error: --tolerance is 0 or more")
    (copy / "settings.yaml").unlink()
    assert "no run in this folder" in check(2, copy)[-1]
