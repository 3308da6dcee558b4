"""A disk that is full: the file, its bytes, "no space left", and nothing that looks finished.

A small file system is mounted, which takes root; without, these tests are skipped.
"""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torchvision import models

from data.datasets.voc_layout import image_ids
from data.synthetic.dataset import SYNTHETIC_CLASSES
from tests.conftest import snapshot
from tests.tools_tests.conftest import Words
from tools import (
    check_data,
    compare_runs,
    detect,
    evaluate,
    export,
    gallery,
    make_proposals,
    train_localizer,
    train_wsddn,
    view_heatmaps,
)

pytestmark = pytest.mark.slow
Main = Callable[[list[str]], int]
SIZE = 40_000_000


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of its own."""
    folder = tmp_path_factory.mktemp("disk")
    if shutil.which("mount") is None:
        pytest.skip("there is no mount")
    words = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    mount = subprocess.run(words, capture_output=True, text=True, check=False)
    if mount.returncode:
        pytest.skip(f"no file system can be mounted ({mount.stderr.strip()})")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def disk(mounted: Path) -> Iterator[Path]:
    """It, empty."""
    yield mounted
    for path in mounted.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def fill(disk: Path, leave: int) -> None:
    """Leave that many bytes, about."""
    with (disk / "filler").open("wb") as file:
        file.write(bytes(max(0, shutil.disk_usage(disk).free - leave)))


def fails(
    main: Main, words: list[str], disk: Path, capsys: pytest.CaptureFixture[str], *, leave: int = 0
) -> str:
    """Run it on the full disk; returns its last line, after checking everything but its file."""
    fill(disk, leave)
    before = {path: content for path, (_, content) in snapshot(disk).items() if path.is_file()}
    capsys.readouterr()

    assert main(words) in (1, 2)

    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    assert "o space left" in line
    assert str(disk) in line
    left = {path for path in disk.rglob("*") if "tmp" in path.name or "unfinished" in path.name}
    assert left == set()
    for path, content in before.items():
        assert path.name in ("log.txt", "metrics.jsonl") or path.read_bytes() == content
    return line


def test_a_checkpoint_that_does_not_fit(
    words: Words, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = words(disk / "run", "--loop.checkpoint-every=1")
    line = fails(train_localizer.main, argv, disk, capsys, leave=1_000_000)
    assert "/checkpoints/step-00000001.pt: could not be written after " in line
    (disk / "filler").unlink()
    assert train_localizer.main([*argv, "--resume=auto"]) == 0


def test_a_second_checkpoint_that_does_not_fit_leaves_the_first(
    words: Words, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = words(disk / "run", "--loop.checkpoint-every=1", "--optim.name=sgd")
    line = fails(train_localizer.main, argv, disk, capsys, leave=8_000_000)
    step = int(line.partition("step-")[2][:8])
    assert step > 1
    listed = sorted(path.name for path in (disk / "run/checkpoints").glob("*.pt"))
    assert listed[-1] == f"step-{step - 1:08d}.pt"


def test_a_run_that_cannot_even_begin(
    words: Words, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(train_localizer.main, words(disk / "run"), disk, capsys)
    assert "settings.yaml: " in line


def test_features_that_do_not_fit(
    words: Words, disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(models.squeezenet1_1(weights=None).state_dict(), tmp_path / "squeezenet.pth")
    options = ["--frozen-backbone=true", f"--weights={tmp_path / 'squeezenet.pth'}"]
    argv = words(tmp_path / "run", *options, f"--feature-cache={disk / 'cache'}")
    fails(train_localizer.main, argv, disk, capsys, leave=60_000)
    assert not (tmp_path / "run/training.json").exists()


def test_scores_of_proposals_that_do_not_fit(
    small_run: Path,
    detector_words: Words,
    disk: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = [f"--from-localizer={small_run}", "--model.backbone=squeezenet1_1"]
    options += ["--frozen-backbone=true", f"--feature-cache={disk}"]
    argv = detector_words(tmp_path / "run", *options)
    fails(train_wsddn.main, argv, disk, capsys, leave=20_000)


@pytest.mark.parametrize("is_published", [False, True])
def test_proposals_that_do_not_fit(
    is_published: bool,
    tiny_voc: Path,
    disk: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [f"--voc-root={tiny_voc}", "--split=val", f"--out={disk / 'p.npz'}"]
    if is_published:
        ids = image_ids(tiny_voc, "val")
        names, boxes = np.empty(len(ids), dtype=object), np.empty(len(ids), dtype=object)
        names[:], boxes[:] = ids, [np.array([[1, 1, 20, 20]])] * len(ids)
        savemat(tmp_path / "m.mat", {"images": names, "boxes": boxes})
        words += [f"--from-mat={tmp_path / 'm.mat'}"]
    fails(make_proposals.main, words, disk, capsys)
    assert not (disk / "p.npz").exists()


@pytest.mark.parametrize("leave", [0, 50_000, 200_000])
def test_detections_that_do_not_fit(
    leave: int,
    small_run: Path,
    tiny_voc: Path,
    disk: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [
        f"--run-dir={small_run}",
        f"--voc-root={tiny_voc}",
        "--split=val",
        f"--out={disk / 'out'}",
        "--device=cpu",
    ]
    formats = ["--formats", "coco", "voc", "yolo", "labelme", "label_studio"]
    fails(detect.main, [*words, *formats], disk, capsys, leave=leave)
    assert not (disk / "out").exists()


@pytest.mark.parametrize("leave", [0, 30_000, 120_000])
def test_an_evaluation_that_does_not_fit(
    leave: int, small_run: Path, tiny_voc: Path, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = Path(shutil.copytree(small_run, disk / "run"))
    words = [
        f"--run-dir={run_dir}",
        f"--voc-root={tiny_voc}",
        "--split=val",
        "--amp=off",
        "--device=cpu",
    ]
    fails(evaluate.main, [*words, "--amp=off", "--corloc-split="], disk, capsys, leave=leave)
    assert not list(run_dir.rglob("report.json"))


@pytest.mark.parametrize("format_", ["safetensors", "torch_export", "onnx"])
def test_a_model_that_does_not_fit(
    format_: str, small_run: Path, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"--run-dir={small_run}", f"--out={disk / 'model'}", "--format", format_]
    fails(export.main, words, disk, capsys, leave=100_000)
    assert not (disk / "model").exists()


def test_heatmaps_that_do_not_fit(
    small_run: Path, tiny_voc: Path, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = Path(shutil.copytree(small_run, disk / "run"))
    words = [
        f"--run-dir={run_dir}",
        f"--voc-root={tiny_voc}",
        "--split=val",
        "--count=4",
        "--device=cpu",
    ]
    fails(view_heatmaps.main, words, disk, capsys, leave=10_000)


@pytest.mark.parametrize("main", [gallery.main, compare_runs.main])
def test_pages_that_do_not_fit(
    main: Main,
    small_run: Path,
    tiny_voc: Path,
    disk: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_dir = Path(shutil.copytree(small_run, tmp_path / "run"))
    words = [
        f"--run-dir={run_dir}",
        f"--voc-root={tiny_voc}",
        "--split=val",
        "--amp=off",
        "--device=cpu",
    ]
    assert evaluate.main([*words, "--amp=off", "--corloc-split="]) == 0
    if main is gallery.main:
        words = [*words[:3], f"--out={disk / 'pages'}"]
    else:
        words = ["--runs", str(run_dir), "--split=val", f"--out={disk / 'pages'}"]
    fails(main, words, disk, capsys)


def test_what_is_known_of_images_costs_one_warning_alone(
    tiny_voc: Path, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(disk, 0)
    classes = f"--classes=[{','.join(SYNTHETIC_CLASSES)}]"
    assert check_data.main([f"--voc-root={tiny_voc}", classes, f"--cache={disk / 'c.json'}"]) == 0
    (warning,) = capsys.readouterr().err.splitlines()
    assert f"{disk / 'c.json'}: " in warning
    assert "no space left on device" in warning
    assert not (disk / "c.json").exists()
