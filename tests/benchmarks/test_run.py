"""The benchmark's numbers: what they are named and that they were measured in one run."""

import json
from pathlib import Path

import pytest

from tests.benchmarks.run import main


def test_the_speed_of_proposals_is_a_ratio_to_selective_search(
    tiny_voc: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "benchmark.json"
    words = ["--voc-root", str(tiny_voc), "--split", "test", "--count", "2"]

    assert main([*words, "--out", str(out)]) == 0

    numbers = json.loads(out.read_text())["proposals"]
    ours = numbers["CPU seconds an image"]
    reference = numbers["CPU seconds an image of full-size selective search"]
    assert numbers["ratio of CPU time"] == pytest.approx(ours / reference)
    assert numbers["speed of two processes beside one"] > 0


def test_a_step_of_the_detector_is_a_ratio_to_the_plain_way(
    tiny_voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("SIZE", 128), ("ROIS", 20), ("ROUNDS", 1)):
        monkeypatch.setattr(f"tests.benchmarks.steps.{name}", value)
    out = tmp_path / "benchmark.json"
    words = ["--voc-root", str(tiny_voc), "--split", "test", "--count", "1"]

    assert main([*words, "--what", "detector_step", "--out", str(out)]) == 0

    numbers = json.loads(out.read_text())["detector_step"]
    for kind in ("our proposals", "selective search", "rois that all differ"):
        plain, ours = (numbers[f"{kind}: CPU seconds of {who} step"] for who in ("a plain", "our"))
        assert numbers[f"{kind}: plain beside ours"] == pytest.approx(plain / ours)
        assert 0 < numbers[f"{kind}: fraction with cells of their own"] <= 1
    assert numbers["rois that all differ: fraction with cells of their own"] == 1


def test_fewer_than_no_images_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--count", "-1"]) == 2
    assert "--count" in capsys.readouterr().err
