"""Scores of proposals that are kept: read again while nothing has changed, else computed anew."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from data.types import Proposals
from tests.worlds import write_proposals
from tools.evaluate import main
from tools.inputs.features import FeatureCache
from tools.inputs.proposal_scores import KeptScores
from wsddn.detect import ScoredProposals

Run = Callable[..., dict[str, object]]


@pytest.fixture
def kept(tmp_path: Path) -> Callable[..., KeptScores]:
    """Scores of two images, for a detector of a key."""
    paths = [tmp_path / name for name in ("a.jpg", "b.jpg")]
    for path in paths:
        path.write_bytes(path.name.encode())

    def open_kept(key: str = "one", boxes: float = 1.0) -> KeptScores:
        proposals = [Proposals(torch.full((count, 4), boxes), None) for count in (3, 0)]
        return KeptScores(FeatureCache(tmp_path / "cache"), {"of": key}, paths, proposals, 2)

    return open_kept


def random_scores(count: int) -> ScoredProposals:
    return ScoredProposals(torch.rand(count, 2) * 1e-9, torch.rand(count, 2))


def test_what_is_kept_comes_back_to_the_bit(kept: Callable[..., KeptScores]) -> None:
    assert kept().read(0) is None
    every = [random_scores(3), random_scores(0)]
    for index, scored in enumerate(every):
        kept().write(index, scored)
    for index, scored in enumerate(every):
        found = kept().read(index)
        assert found is not None
        assert found.scores.equal(scored.scores)
        assert found.class_probabilities.equal(scored.class_probabilities)


def test_other_proposals_and_another_detector_find_nothing(kept: Callable[..., KeptScores]) -> None:
    assert kept().missing_bytes == 3 * 2 * (4 + 4)
    kept().write(0, random_scores(3))
    assert kept().missing_bytes == 0
    assert kept("another").read(0) is None
    assert kept(boxes=2.0).read(0) is None


def test_a_damaged_file_is_refused_by_name(kept: Callable[..., KeptScores]) -> None:
    kept().write(0, random_scores(3))
    file = kept().files[0]
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(ValueError, match=file.name):
        kept().read(0)


@pytest.fixture
def evaluated(detector_run: Path, tiny_voc: Path, tmp_path: Path) -> Run:
    """Evaluates a copy of the detector that keeps its scores in a folder of this test."""
    run_dir = Path(shutil.copytree(detector_run, tmp_path / "run"))
    path = run_dir / "settings.yaml"
    settings = yaml.safe_load(path.read_text()) | {"feature_cache": str(tmp_path / "cache")}

    def evaluate(*words: str, **changed: object) -> dict[str, object]:
        path.write_text(yaml.safe_dump(settings | changed))
        split = f"--run-dir {run_dir} --voc-root {tiny_voc} --split val --corloc-split val"
        assert main([*split.split(), *words]) == 0
        report = json.loads((run_dir / "evaluations" / "val" / "report.json").read_text())
        return dict(report["detector"])

    return evaluate


def test_a_second_reading_scores_no_proposal_and_gives_the_same_numbers(
    evaluated: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = evaluated()
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npz")}
    assert len(files) == len(list((tmp_path / "cache").glob("*/*.npz"))) > 0
    assert "scores of the proposals" not in capsys.readouterr().out
    second = evaluated()
    assert "scores of the proposals" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert first["per_class"] == second["per_class"]

    supported = evaluated("--support-iou", "0.4")
    shutil.rmtree(tmp_path / "cache")
    assert evaluated("--support-iou", "0.4")["per_class"] == supported["per_class"]


def test_other_proposals_of_the_same_images_are_scored(
    evaluated: Run, some_proposals: dict[str, Proposals], tmp_path: Path
) -> None:
    first = evaluated()
    fewer = {name: of_image[:5] for name, of_image in some_proposals.items()}
    path = write_proposals(tmp_path / "fewer.npz", fewer)
    assert evaluated("--proposals", str(path))["per_class"] != first["per_class"]


def test_without_room_nothing_is_kept_and_the_evaluation_goes_on(
    evaluated: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluated(feature_cache_limit=1e-9)
    assert "scores of proposals are not kept: " in capsys.readouterr().err
    assert not list((tmp_path / "cache").rglob("*.npz"))
