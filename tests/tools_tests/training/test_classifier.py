"""A classifier: a localizer that averages its heatmaps, trained, evaluated and shown as one."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from data.synthetic.dataset import SYNTHETIC_CLASSES
from localizer.builders import build_localizer
from localizer.settings import LocalizerSettings
from tests.tools_tests.conftest import Train
from tests.worlds import free_port
from tools import detect, evaluate, train_classifier, view_heatmaps
from tools.files.scores import read_scores
from tools.loggers.metrics_file import read_metrics
from tools.runs.folder import read_settings
from tools.runs.kinds import TrainClassifierSettings


def trained(train: Train, tiny_voc: Path, name: str, *options: str) -> Path:
    """Two epochs of a whole small network with Adam."""
    words = [f"--voc-root={tiny_voc}", f"--classes=[{','.join(SYNTHETIC_CLASSES)}]"]
    words += ["--split=train", "--val-split=val", "--image-sizes=[96]", "--device=cpu", "--amp=off"]
    words += ["--model.backbone=squeezenet1_1", "--pretrained=false", "--frozen-backbone=false"]
    words += ["--optim.name=adam", "--optim.lr=1e-4", "--loop.epochs=2", "--loop.log-every=1"]
    return train(
        train_classifier.main,
        lambda run_dir, *others: [f"--run-dir={run_dir}", *words, *options, *others],
        name,
    )


@pytest.fixture(scope="module")
def run(train: Train, tiny_voc: Path) -> Path:
    return trained(train, tiny_voc, "classifier")


def scores_of(run: Path, tiny_voc: Path, *words: str) -> np.ndarray:
    common = [f"--run-dir={run}", f"--voc-root={tiny_voc}", "--split=test", "--amp=off"]
    assert evaluate.main([*common, "--corloc-split=", "--name=scores", *words]) == 0
    return read_scores(run / "evaluations" / "scores" / "scores.npz").scores


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


def test_five_crops_are_learned_from_and_may_be_left_out_in_evaluation(
    train: Train, tiny_voc: Path
) -> None:
    run = trained(train, tiny_voc, "five_crops", "--crop=64")

    crops, same, whole = (
        scores_of(run, tiny_voc, *words) for words in ((), ("--crop=64",), ("--crop=0",))
    )
    assert np.array_equal(crops, same)
    assert not np.allclose(crops, whole)


def test_an_image_that_is_one_crop_has_the_score_of_the_whole(run: Path, tiny_voc: Path) -> None:
    np.testing.assert_allclose(
        scores_of(run, tiny_voc, "--crop=96"), scores_of(run, tiny_voc), atol=1e-6
    )


def test_crops_of_kept_features_are_refused_before_anything_is_written(
    tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"--voc-root={tiny_voc}", f"--classes=[{','.join(SYNTHETIC_CLASSES)}]"]
    words += [f"--run-dir={tmp_path / 'run'}", "--split=train", "--crop=64"]
    assert train_classifier.main(words) == 2
    assert "--crop 64: the features of a frozen backbone" in capsys.readouterr().err
    assert not (tmp_path / "run" / "settings.yaml").exists()


@pytest.mark.parametrize(
    "name", ["classifier_resnet18_sgd", "classifier_resnet50_fivecrop", "rainforest_two_branch"]
)
def test_recipes_name_the_missing_weights_in_one_line(
    name: str,
    tiny_voc: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{free_port()}")  # nobody answers there
    config = Path(train_classifier.__file__).parent / "configs" / f"{name}.yaml"
    images = tiny_voc / "VOC2007" / "JPEGImages"
    names = sorted(path.name for path in images.iterdir())[:4]
    lines = [f"{image},{label}" for image, label in zip(names, "abab", strict=True)]
    (tmp_path / "labels.csv").write_text("\n".join(["image,labels", *lines]))
    words = [f"--config={config}", f"--images={images}", f"--labels={tmp_path / 'labels.csv'}"]
    assert train_classifier.main([*words, f"--run-dir={tmp_path / 'run'}"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "could not be downloaded" in line
    assert "--weights FILE" in line
