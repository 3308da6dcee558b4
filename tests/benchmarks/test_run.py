"""The benchmark's numbers: what they are named and that they were measured in one run."""

import json
from pathlib import Path

import pytest

from data.datasets.voc_layout import image_ids, image_path
from tests.benchmarks.run import main
from tests.benchmarks.steps import measure_detector_step


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
    tiny_voc: Path,
) -> None:
    path = image_path(tiny_voc, image_ids(tiny_voc, "test")[0])

    numbers = measure_detector_step([path], size=128, most=20, width=64, rounds=1)

    for kind in ("our proposals", "selective search", "rois that all differ"):
        plain, ours = (numbers[f"{kind}: CPU seconds of {who} step"] for who in ("a plain", "our"))
        assert numbers[f"{kind}: plain beside ours"] == pytest.approx(plain / ours)
        assert 0 < numbers[f"{kind}: fraction with cells of their own"] <= 1
    assert numbers["rois that all differ: fraction with cells of their own"] == 1


def test_fewer_than_no_images_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--count", "-1"]) == 2
    assert "--count" in capsys.readouterr().err
