"""Trainings on models of timm, from their weights to what a saved run predicts."""

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from tests.tools_tests.conftest import Train, Words
from tools import train_localizer, train_wsddn
from tools.loggers.metrics_file import read_metrics
from tools.prediction.predictor import Predictor
from tools.runs.saved import load_run

SHORT = ["--image-sizes=[64]", "--loop.epochs=1", "--split=val"]


@pytest.fixture(scope="module")
def localizer_run(train: Train, words: Words, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """On the weights of a file."""
    file = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), file)
    backbone = ["--model.backbone=timm:test_vit", f"--weights={file}"]
    return train(train_localizer.main, words, "localizer", *SHORT, *backbone)


@pytest.fixture(scope="module")
def from_localizer_run(train: Train, detector_words: Words, localizer_run: Path) -> Path:
    """Its backbone frozen, with features from the cache."""
    backbone = ["--model.backbone=timm:test_vit", f"--from-localizer={localizer_run}"]
    frozen = ["--frozen-backbone=true", f"--feature-cache={localizer_run.parent / 'features'}"]
    return train(
        train_wsddn.main, detector_words, "frozen", *SHORT, "--model.width=8", *backbone, *frozen
    )


@pytest.fixture(scope="module")
def detector_run(train: Train, detector_words: Words) -> Path:
    """From random weights."""
    backbone = ["--model.backbone=timm:test_efficientnet", "--model.width=8"]
    return train(train_wsddn.main, detector_words, "detector", *SHORT, *backbone)


@pytest.mark.parametrize("name", ["localizer_run", "from_localizer_run", "detector_run"])
def test_a_run_is_trained_evaluated_and_opened_again(
    name: str, request: pytest.FixtureRequest
) -> None:
    run_dir = request.getfixturevalue(name)
    curves = read_metrics(run_dir / "metrics.jsonl")
    assert len(curves["validation/image_map"]) == 1
    assert json.loads((run_dir / "training.json").read_text())["epochs"] == 1

    image = torch.randint(256, (3, 90, 120), dtype=torch.uint8)
    prediction = Predictor.from_run(run_dir, device="cpu").predict(image)

    assert prediction.image_scores.isfinite().all()
    assert (prediction.heatmaps is not None) == (name == "localizer_run")


def test_a_detector_has_the_backbone_of_the_localizer_that_it_starts_from(
    localizer_run: Path, from_localizer_run: Path
) -> None:
    localizer, detector = load_run(localizer_run).model, load_run(from_localizer_run).model
    assert detector.backbone is localizer.backbone
    for key, tensor in localizer.features.state_dict().items():
        assert torch.equal(detector.features.state_dict()[key], tensor)


def test_an_unknown_name_and_other_weights_are_refused_before_anything_is_written(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file({"conv9.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    run = words(tmp_path / "run", *SHORT)
    other = ["--model.backbone=timm:test_vit", f"--weights={tmp_path / 'other.safetensors'}"]

    assert train_localizer.main([*run, "--model.backbone=timm:test_vitt"]) == 2
    assert "did you mean test_vit" in capsys.readouterr().err
    assert train_localizer.main([*run, *other]) == 2
    assert "other.safetensors: the state dictionary: lacks" in capsys.readouterr().err

    assert not (tmp_path / "run" / "settings.yaml").exists()
