"""The benchmark's numbers: what they are named and that they were measured in one run."""

import json
from pathlib import Path

import pytest

from tools.benchmark import main


def test_the_speed_of_proposals_is_a_ratio_to_selective_search(
    tiny_voc: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "benchmark.json"
    words = ["--voc-root", str(tiny_voc), "--split", "test", "--pictures", "2"]

    assert main([*words, "--out", str(out)]) == 0

    numbers = json.loads(out.read_text())["proposals"]
    ours = numbers["CPU seconds a picture"]
    reference = numbers["CPU seconds a picture of full-size selective search"]
    assert numbers["ratio of CPU time"] == pytest.approx(ours / reference)
    assert numbers["speed of two processes beside one"] > 0


def test_no_pictures_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--pictures", "0"]) == 2
    assert "pictures" in capsys.readouterr().err
