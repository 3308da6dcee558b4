"""A classifier: a localizer that averages its heatmaps, trained, evaluated and shown as one."""

import json
from pathlib import Path

import pytest
import torch

from data.synthetic.dataset import SYNTHETIC_CLASSES
from localizer.builders import build_localizer
from localizer.settings import LocalizerSettings
from tests.tools_tests.conftest import Train
from tools import detect, evaluate, train_classifier, view_heatmaps
from tools.loggers.metrics_file import read_metrics
from tools.runs.folder import read_settings
from tools.runs.kinds import TrainClassifierSettings


@pytest.fixture(scope="module")
def run(train: Train, tiny_voc: Path) -> Path:
    """Two epochs of a whole small network with Adam."""
    words = [f"--voc-root={tiny_voc}", f"--classes=[{','.join(SYNTHETIC_CLASSES)}]"]
    words += ["--split=train", "--val-split=val", "--image-sizes=[96]", "--device=cpu", "--amp=off"]
    words += ["--model.backbone=squeezenet1_1", "--pretrained=false", "--frozen-backbone=false"]
    words += ["--optim.name=adam", "--optim.lr=1e-4", "--loop.epochs=2", "--loop.log-every=1"]
    return train(
        train_classifier.main,
        lambda run_dir, *others: [f"--run-dir={run_dir}", *words, *others],
        "classifier",
    )


def test_average_pooling_of_heatmaps_is_a_linear_layer_after_average_pooling() -> None:
    settings = LocalizerSettings("resnet18", pooling="mean")
    model = build_localizer(settings, 3).eval()
    images = torch.randn(2, 3, 96, 64)

    with torch.inference_mode():
        logits = model.pool(model(images), torch.tensor([[96, 64], [96, 64]]))
        averaged = model.normalize(model.features(images)).mean(dim=(2, 3))
        weight, bias = (model.classifier.get_parameter(f"0.{name}") for name in ("weight", "bias"))
        linear = averaged @ weight[:, :, 0, 0].T + bias

    torch.testing.assert_close(logits, linear)


def test_its_settings_are_read_back_and_every_epoch_has_class_wise_ap(run: Path) -> None:
    assert isinstance(read_settings(run), TrainClassifierSettings)
    curves = read_metrics(run / "metrics.jsonl")
    assert len(curves["validation/image_map"]) == 2
    assert sum(tag.startswith("validation/ap/") for tag in curves) > 3


def test_it_is_evaluated_boxed_and_shown_like_a_localizer(
    run: Path, tiny_voc: Path, tmp_path: Path
) -> None:
    common = [f"--run-dir={run}", f"--voc-root={tiny_voc}", "--split=test", "--amp=off"]
    assert evaluate.main([*common, "--corloc-split="]) == 0
    assert view_heatmaps.main(common) == 0
    images = tiny_voc / "VOC2007" / "JPEGImages"
    words = [f"--run-dir={run}", f"--images={images}", f"--out={tmp_path}", "--draw=false"]
    assert detect.main(words) == 0

    report = json.loads((run / "evaluations" / "test" / "report.json").read_text())
    assert 0 < report["classifier"]["image_map"] <= 1
    assert report["classifier"]["corloc"] is not None
    assert (tmp_path / "coco.json").is_file()
