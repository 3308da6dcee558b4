"""Runs of MLflow in a folder; skipped where the package is not installed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tools.loggers.logger import image_tag, open_logger
from tools.loggers.settings import VisdomSettings

mlflow = pytest.importorskip("mlflow", reason="no mlflow (pip install 'wsddn-localizer[mlflow]')")

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where runs are kept, as a person names it."""
    address = (tmp_path / "kept").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow asks for databases by now
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "boxes")
    return address


def log(run_dir: Path, steps: range, resume_step: int | None = None) -> None:
    with open_logger(run_dir, VisdomSettings(), resume_step=resume_step) as logger:
        for step in steps:
            logger.scalar("train/loss", 1 / step, step)
            logger.scalar("validation/ap/<b>cat</b>", step / 8, step)
            logger.scalar("validation/corloc", float("nan"), step)
            image = torch.full((3, 6, 8), step, dtype=torch.uint8)
            logger.image(image_tag(step, step, 0, 0, "cat"), image, step)
        logger.settings({"optim.lr": 0.1, "boxes.thresholds": [0.4]}, {"best_image_map": 0.5})


def runs(uri: str) -> tuple[Any, list[Any]]:
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("boxes")
    return client, client.search_runs([experiment.experiment_id])


def test_a_training_is_a_run_named_after_its_folder_with_curves_images_and_settings(
    uri: str, tmp_path: Path
) -> None:
    log(tmp_path / "lite0", range(1, 4))

    client, (run,) = runs(uri)
    assert (run.info.run_name, run.info.status) == ("lite0", "FINISHED")
    points = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in points] == [(1, 1), (2, 1 / 2), (3, 1 / 3)]
    assert set(run.data.metrics) == {
        *("train/loss", "validation/ap/_b_cat_/b_", "final/best_image_map"),
    }
    assert run.data.params == {"optim.lr": "0.1", "boxes.thresholds": "[0.4]"}
    images = [Path(file.path).name for file in client.list_artifacts(run.info.run_id, "images")]
    assert len([name for name in images if name.endswith(".png")]) == 3


def test_a_resumed_training_continues_its_run_and_another_one_has_its_own(
    uri: str, tmp_path: Path
) -> None:
    log(tmp_path / "lite0", range(1, 3))
    log(tmp_path / "lite0", range(3, 5), resume_step=2)
    log(tmp_path / "other", range(1, 2))

    client, found = runs(uri)
    assert sorted(run.info.run_name for run in found) == ["lite0", "other"]
    (first,) = (run for run in found if run.info.run_name == "lite0")
    points = client.get_metric_history(first.info.run_id, "train/loss")
    assert [point.step for point in points] == [1, 2, 3, 4]


def test_a_server_that_is_not_there_costs_one_warning(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")

    log(tmp_path / "lite0", range(1, 4))

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: MLflow is switched off, the run continues without it: ")
    lines = (tmp_path / "lite0" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["tag"] == "train/loss"


def test_without_its_variable_no_run_is_made(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")

    log(tmp_path / "lite0", range(1, 2))
    assert not (tmp_path / "kept").exists()
