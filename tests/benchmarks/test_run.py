"""The benchmark: every row runs, and what is compared is the same work."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.images import read_image
from tests.benchmarks import detector
from tests.benchmarks.measure import World, make_world
from tests.benchmarks.run import ROWS, main, measure


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), None, tiny=True)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_gives_finite_ratios(name: str, world: World) -> None:
    numbers, lines = measure(name, ROWS[name], world)

    assert len(lines) == len(numbers["ratios"]) == len(ROWS[name].goals)
    assert all(math.isfinite(ratio) and ratio > 0 for ratio in numbers["ratios"].values())


def test_numbers_and_the_table_are_written(tmp_path: Path) -> None:
    out = tmp_path / "new" / "benchmark.json"

    assert main(["--only", "G", "D", "--tiny", "--out", str(out)]) == 0

    rows = json.loads(out.read_text())["rows"]
    assert [*rows] == ["G", "D"]
    assert f"| {rows['D']['ratios']['PIL']:.3g} | ≥ 3.6 |" in out.with_suffix(".md").read_text()


def test_an_unknown_row_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "Z"]) == 2
    assert "no row 'Z'" in capsys.readouterr().err


def test_decoding_gives_the_bytes_of_pillow(world: World) -> None:
    for path in world.dataset("test").paths:
        pillow = np.asarray(Image.open(path).convert("RGB"))
        assert (read_image(path).permute(1, 2, 0).numpy() == pillow).all()


def test_a_detectors_scores_are_those_of_the_usual_way(world: World) -> None:
    ours = detector.predictions(world)
    usual = detector.usual(ours)
    torch.testing.assert_close(usual.score(0).scores, ours.score(0).scores, rtol=0.02, atol=1e-4)
