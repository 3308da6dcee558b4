"""Models in words: layers, frozen or not, where their cells lie and how large their maps are."""

import re
import shutil
from pathlib import Path

import pytest
from torch import nn

from localizer.alexnet import localizer_alexnet
from localizer.settings import LocalizerSettings
from tools.describe import main
from tools.pages.layers import Described, layer_table, output_shapes


def described(capsys: pytest.CaptureFixture[str], *words: str) -> list[list[str]]:
    """The printed lines, each in words."""
    assert main(list(words)) == 0
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_a_backbone_has_its_cells_maps_and_layers(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--backbone=alexnet", "--image-sizes=[224,512]"]
    lines = described(capsys, *words)

    assert [" ".join(line) for line in lines[:3]] == [
        "backbone: 256 channels, stride 16, offset 15 pixels",
        "image 224x224: features 13x13",
        "image 512x512: features 31x31",
    ]
    assert lines[5] == ["0", "Conv2d", "64x55x55", f"{(11 * 11 * 3 + 1) * 64:,}"]
    assert lines[6] == ["1", "ReLU", "64x55x55", "0"]
    assert lines[-1] == ["2,469,696", "parameters,", "2,469,696", "of", "them", "learn"]


def test_the_parameters_of_the_lines_are_all(capsys: pytest.CaptureFixture[str]) -> None:
    """Those of no layer, such as the positions of a ViT, too."""
    lines = described(capsys, "--backbone=timm:test_vit", "--image-sizes=[64]")

    assert " ".join(lines[0]).endswith("offset 7.5 pixels, sides padded to multiples of 16")
    counts = [int(line[3].replace(",", "")) for line in lines[4:-1]]
    assert f"{sum(counts):,}" == lines[-1][0]
    assert lines[4][:3] == ["network", "VisionTransformer", "-"]


def test_the_heatmaps_of_the_report_have_29_cells_in_a_row() -> None:
    model = localizer_alexnet(LocalizerSettings())
    assert output_shapes(Described(model, model.backbone, (512,)), 512)[""] == (1, 20, 29, 29)


def test_a_localizer_has_heatmaps_and_the_sizes_of_its_run(
    small_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = described(capsys, f"--run-dir={small_run}")

    assert " ".join(lines[1]) == "heatmaps: stride 16, offset 15 pixels"
    assert " ".join(lines[2]) == "image 96x96: features 5x5, heatmaps 5x5"
    assert lines[5][0] == "features.0"
    assert lines[-2] == ["classifier.0", "Conv2d", "6x5x5", f"{(512 + 1) * 6:,}"]


def test_a_frozen_backbone_does_not_learn(
    detector_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = shutil.copytree(detector_run, tmp_path / "run")
    text = (run_dir / "settings.yaml").read_text()
    text = text.replace("pretrained: false", "pretrained: true")
    text = text.replace("frozen_backbone: false", "frozen_backbone: true")
    (run_dir / "settings.yaml").write_text(text)

    lines = described(capsys, f"--run-dir={run_dir}")

    assert " ".join(lines[1]) == "proposals are pooled as if with stride 16, offset 7.25 pixels"
    weights = [line for line in lines[5:-1] if line[3] != "0"]
    assert {line[0].split(".")[0] for line in weights if line[-1] == "frozen"} == {"features"}
    learning = [int(line[3].replace(",", "")) for line in weights if line[-1] != "frozen"]
    assert lines[-1][2] == f"{sum(learning):,}"


def test_a_frozen_layer_is_marked() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)).eval()
    model[0].requires_grad_(False)

    lines = layer_table(model, {"0": (1, 3), "1": (1, 1)})

    assert lines[2].split() == ["0", "Linear", "3", "9", "frozen"]
    assert lines[3].split() == ["1", "Linear", "1", "4"]
    assert lines[4] == "13 parameters, 4 of them learn"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "one of --run-dir and --backbone"),
        (["--backbone=alexnet", "--run-dir=runs/a"], "one of --run-dir and --backbone"),
        (["--backbone=alexnet", "--image-sizes=[0]"], "--image-sizes are 1 or more"),
        (["--backbone=alexnet", "--image-sizes=[3]"], "--image-sizes 3: .*Kernel size"),
        (["--backbone=lenet"], "got 'lenet'"),
        (["--run-dir=nowhere"], "nowhere/settings.yaml: no run in this folder"),
    ],
)
def test_what_cannot_be_described_is_refused(
    words: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(problem, error)
