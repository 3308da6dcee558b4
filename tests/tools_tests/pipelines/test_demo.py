"""The demo in miniature: a data set, two localizers, proposals, a detector, one report."""

import json
from pathlib import Path

import pytest

from data.images import read_image
from tests.tools_tests.conftest import process_as_before
from tools.demo import main
from tools.runs.checkpoint import load_checkpoint, weights_sha256


def small_demo(folder: Path) -> list[str]:
    return f"--run-dir {folder} --num-train 2 --num-test 1 --epochs 1".split()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    with process_as_before():
        assert main(small_demo(folder)) == 0
    return folder


def test_the_report_holds_both_localizers_and_the_detector(demo: Path) -> None:
    folder = demo / "localizer" / "evaluations" / "test"
    report, page = json.loads((folder / "report.json").read_text()), folder / "report.html"
    for name in ("localizer", "localizer_robust", "detector"):
        assert 0 <= report[name]["image_map"] <= 1
        assert 0 <= report[name]["box_map_11point"] <= 1
        assert len(report[name]["weights_sha256"]) == 64
        assert report[name]["split"] == report[name]["corloc_split"] == "test"
    for text in ("localizer_robust", "Heatmap and best box", "Detections: ", "data:image/jpeg;"):
        assert text in page.read_text()


def test_a_sheet_shows_what_the_localizer_and_the_detector_see(demo: Path) -> None:
    sheet = read_image(demo / "sheet.jpg").float()
    assert sheet.shape[1] > 200
    heatmap, boxes = sheet.chunk(2, dim=2)
    assert (heatmap - boxes).abs().mean() > 5  # one has a heatmap over it


def test_the_detector_stands_on_the_localizers_backbone(demo: Path) -> None:
    backbones = []
    for name in ("localizer", "detector"):
        content = load_checkpoint(demo / name / "checkpoints")
        assert content is not None
        weights = {k: v for k, v in content["model"].items() if k.startswith("features.")}
        backbones.append(weights_sha256(weights))
    assert backbones[0] == backbones[1]


def test_a_demo_that_is_repeated_trains_nothing_again(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted((demo / "localizer" / "checkpoints").iterdir())
    stamps = [path.stat().st_mtime_ns for path in before]
    assert main(small_demo(demo)) == 0
    assert [path.stat().st_mtime_ns for path in before] == stamps
    assert "epoch 1: " not in capsys.readouterr().out


def test_a_demo_of_other_images_in_its_folder_or_of_none_is_refused(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*small_demo(demo), "--num-train", "3"]) == 2
    assert f"error: {demo / 'data'}: 2 train images, 3 are asked for" in capsys.readouterr().err
    assert main(["--run-dir", str(tmp_path / "demo"), "--num-train", "0"]) == 2
    assert "error: --num-train is above 0, got 0" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()
