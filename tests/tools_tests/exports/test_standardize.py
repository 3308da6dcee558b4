"""A trained run with divided filters, from the command line and back into Python."""

import io
import json
import shutil
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from localizer.weight_standardization import WeightStandardizedConv2d, standardize
from tests.conftest import snapshot
from tests.tools_tests.conftest import Train, Words, process_as_before
from tests.worlds import files_of
from tools import train_localizer
from tools.exports.standardize import (
    detector_logits,
    load_standardized,
    localizer_logits,
    prove,
    standardize_model,
)
from tools.runs.checkpoint import load_checkpoint, save_checkpoint
from tools.runs.folder import read_settings, write_settings
from tools.runs.saved import load_run
from tools.standardize import main
from wsddn.builders import build_wsddn
from wsddn.settings import DetectorSettings

SIDE = 64


@pytest.fixture(scope="module")
def resnet_run(train: Train, words: Words) -> Path:
    """A localizer on a ResNet; only read."""
    others = ("--model.backbone=resnet18", f"--image-sizes=[{SIDE}]", "--loop.epochs=1")
    return train(train_localizer.main, words, "resnet", *others)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class Converted:
    """What the command prints, and writes into a folder."""

    printed: str
    folder: Path


@pytest.fixture(scope="module")
def converted(resnet_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Converted]:
    """The run in each mode; only read."""
    before = snapshot(resnet_run)
    outputs = {}
    for mode in ("A", "B", "C"):
        folder, text = tmp_path_factory.mktemp(mode), io.StringIO()
        argv = ["--run-dir", str(resnet_run), "--out", str(folder), "--mode", mode]
        with process_as_before(), redirect_stdout(text):
            assert main(argv) == 0
        outputs[mode] = Converted(text.getvalue(), folder)
    assert snapshot(resnet_run) == before
    return outputs


@pytest.mark.parametrize("mode", ["A", "B", "C"])
def test_what_is_written_is_read_back_as_a_model_with_the_same_logits(
    mode: str, converted: dict[str, Converted], resnet_run: Path, images: Tensor
) -> None:
    folder = converted[mode].folder
    assert list(files_of(folder)) == ["standardized.json", "weights.pt"]
    assert json.loads((folder / "standardized.json").read_text())["mode"] == mode

    model, trained = load_standardized(folder), load_run(resnet_run).model

    assert not model.training
    divided = [isinstance(layer, WeightStandardizedConv2d) for layer in model.modules()]
    assert sum(divided) == 20
    expected = localizer_logits(trained, images)
    assert (localizer_logits(model, images) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_the_proof_of_every_mode_is_printed_and_written(converted: dict[str, Converted]) -> None:
    printed, folder = converted["C"].printed, converted["C"].folder
    proof = json.loads((folder / "standardized.json").read_text())["proof"]
    assert "20 of 21 convolutions have a batch norm and are divided" in printed  # the head has none
    assert "logits of 8 images of train, as a fraction of the largest logit:" in printed
    assert proof["images"] == "8 images of train"
    for mode, differences in proof["differences"].items():
        assert 0 < differences["float32"] <= proof["limits"]["float32"] == 1e-5
        assert 0 < differences["float64"] <= proof["limits"]["float64"] == 1e-10
        assert f"{mode}  float32 {differences['float32']:.1e}, float64 " in printed


def test_torch_alone_reads_the_weights_back(
    converted: dict[str, Converted], resnet_run: Path, images: Tensor
) -> None:
    weights = torch.load(converted["C"].folder / "weights.pt", weights_only=True)
    model = standardize(load_run(resnet_run).model, keep_others=True)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
    model.load_state_dict(weights)
    expected = localizer_logits(load_standardized(converted["C"].folder), images)
    assert localizer_logits(model, images).equal(expected)


def test_without_its_data_the_proof_takes_random_images(
    resnet_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = Path(shutil.copytree(resnet_run, tmp_path / "run"))
    write_settings(moved, replace(read_settings(moved), voc_root=tmp_path / "gone"))
    assert main(["--run-dir", str(moved), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert "logits of 8 random images, as a fraction" in printed.out
    assert f"warning: {tmp_path / 'gone'}" in printed.err


def test_a_detector_is_converted_and_proved_on_the_whole_image(rng: torch.Generator) -> None:
    model = build_wsddn(DetectorSettings("resnet18", width=8), 3).eval()
    model.features.train()(torch.randn(4, 3, SIDE, SIDE, generator=rng))  # running statistics
    images = torch.randn(1, 3, SIDE, SIDE, generator=rng)
    rois = torch.tensor([[0.0, 0.0, SIDE, SIDE]])

    proof = prove(model.eval(), images, detector_logits)

    for mode in ("A", "B", "C"):
        assert 0 < float(proof[mode]["float32"]) <= 1e-5
        assert 0 < float(proof[mode]["float64"]) <= 1e-10
    class_logits = standardize_model(model, "C")(images, rois).class_logits
    torch.testing.assert_close(
        class_logits, detector_logits(model, images)[:, :3], rtol=1e-4, atol=1e-5
    )


# Refusals


def test_logits_that_are_not_proved_equal_end_the_command_and_nothing_is_written(
    resnet_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Path(shutil.copytree(resnet_run, tmp_path / "run"))
    content = load_checkpoint(broken / "checkpoints")
    assert content is not None
    content["model"]["classifier.0.weight"].fill_(3e38)  # logits are then infinite
    save_checkpoint(broken / "checkpoints", content)

    assert main(["--run-dir", str(broken), "--out", str(tmp_path / "out")]) == 1
    refusal = f"error: {broken}: mode C changes the logits by nan of the largest in float32, over "
    assert refusal in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_backbone_without_batch_norms_is_refused_by_its_layer(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--run-dir", str(small_run), "--out", str(tmp_path / "out")]) == 2
    refusal = f"error: {small_run}: features: 0: its output goes to _1, which is no nn.BatchNorm2d"
    assert capsys.readouterr().err.startswith(refusal)
    assert not (tmp_path / "out").exists()


def test_full_standardization_is_refused_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--run-dir", str(tmp_path / "typo"), "--out", str(tmp_path / "out"), "--mode", "full"]
    assert main(argv) == 2
    assert "error: mode is one of A, B, C; got 'full' (" in capsys.readouterr().err


def test_a_mode_that_is_impossible_is_named_and_others_are_proved(rng: torch.Generator) -> None:
    model = build_wsddn(DetectorSettings("resnet18", width=8), 3).eval()
    norm = model.features.get_submodule("bn1")
    norm.get_buffer("running_var").fill_(0)
    nn.init.normal_(model.features.get_submodule("conv1").get_parameter("weight"), std=2)
    proof = prove(model, torch.randn(1, 3, SIDE, SIDE, generator=rng), detector_logits)
    assert str(proof["A"]["refused"]).startswith("features: bn1: channel ")
    assert list(proof["C"]) == ["float32", "float64"]


def test_files_that_are_missing_damaged_or_of_another_conversion_are_refused(
    converted: dict[str, Converted], tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match="no converted run in this folder"):
        load_standardized(tmp_path)
    shutil.copyfile(converted["A"].folder / "standardized.json", tmp_path / "standardized.json")
    with pytest.raises(FileNotFoundError, match="no such weights"):
        load_standardized(tmp_path)
    shutil.copyfile(converted["C"].folder / "weights.pt", tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"weights\.pt: not the weights that standardized\.json"):
        load_standardized(tmp_path)
    (tmp_path / "standardized.json").write_text("{}")
    with pytest.raises(ValueError, match=r"standardized\.json: not a file of standardize"):
        load_standardized(tmp_path)
