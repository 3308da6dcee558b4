"""Models as files for other programs: written, proved equal, run without this project."""

import io
import json
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from localizer.backbones import BACKBONES
from localizer.builders import build_localizer
from localizer.settings import LocalizerSettings
from tests.conftest import snapshot
from tests.tools_tests.conftest import process_as_before
from tests.worlds import files_of, random_boxes
from tools.export import main
from tools.exports.graphs import graph_of, trace
from tools.exports.model import LIMIT, differences, load_exported
from tools.runs.checkpoint import load_checkpoint, save_checkpoint
from tools.runs.saved import load_run
from wsddn.builders import build_wsddn
from wsddn.settings import DetectorSettings

ALL = "[safetensors,torch_export,onnx]"
NAMES = {"safetensors": "model.safetensors", "torch_export": "model.pt2", "onnx": "model.onnx"}
Outputs = tuple[Tensor, ...]
Run = Callable[..., Outputs]


def export(run_dir: Path, out: Path, formats: str = "[safetensors]") -> int:
    return main(["--run-dir", str(run_dir), "--out", str(out), "--format", formats])


@dataclass(frozen=True)
class Exported:
    """A run, what the command prints, and writes into a folder; only read."""

    run_dir: Path
    printed: str
    folder: Path

    @property
    def about(self) -> dict[str, Any]:
        about: dict[str, Any] = json.loads((self.folder / "model.json").read_text())
        return about


def export_once(run_dir: Path, folder: Path, formats: str) -> Exported:
    before, text = snapshot(run_dir), io.StringIO()
    with process_as_before(), redirect_stdout(text):
        assert export(run_dir, folder, formats) == 0
    assert snapshot(run_dir) == before
    return Exported(run_dir, text.getvalue(), folder)


@pytest.fixture(scope="module")
def localizer(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_once(small_run, tmp_path_factory.mktemp("export") / "localizer", ALL)


@pytest.fixture(scope="module")
def detector(detector_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_once(detector_run, tmp_path_factory.mktemp("export") / "detector", "[onnx]")


def run_torch(folder: Path) -> Run:
    graph: Run = torch.export.load(folder / "model.pt2").module()
    return graph


def run_onnx(folder: Path) -> Run:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])

    def run(*inputs: Tensor) -> Outputs:
        names = (given.name for given in session.get_inputs())
        arrays = {name: given.numpy() for name, given in zip(names, inputs, strict=True)}
        return tuple(map(torch.from_numpy, session.run(None, arrays)))

    return run


def assert_close(given: Outputs, expected: Outputs) -> None:
    for one, other in zip(given, expected, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= LIMIT * other.abs().max()


# What is written


def test_the_folder_holds_the_files_and_what_one_must_know_to_use_them(localizer: Exported) -> None:
    assert list(files_of(localizer.folder)) == sorted([*NAMES.values(), "model.json"])
    about, saved = localizer.about, load_run(localizer.run_dir)
    backbone = BACKBONES["squeezenet1_1"]
    assert about["kind"] == "localizer"
    assert about["classes"] == list(saved.settings.classes)
    assert about["image"]["mean"] == list(backbone.mean)
    assert about["image"]["std"] == list(backbone.std)
    assert about["image"]["sizes"] == [96]
    assert about["geometry"] == {"stride": 16, "offset": 15}
    assert about["inputs"] == {"images": ["B", 3, "H", "W"], "sizes": ["B", 2]}
    assert str(localizer.run_dir.parent) not in json.dumps(about)  # others need no place of ours


def test_the_difference_of_every_file_is_printed_and_written(localizer: Exported) -> None:
    assert list(localizer.about["files"]) == list(NAMES)
    for name, file in localizer.about["files"].items():
        values = file["differences"]
        assert list(values) == list(localizer.about["outputs"])
        assert all(0 <= value <= LIMIT for value in values.values())
        words = ", ".join(f"{output} {value:.1e}" for output, value in values.items())
        assert f"{NAMES[name]}  {words}\n" in localizer.printed


@pytest.mark.parametrize("open_graph", [run_torch, run_onnx])
def test_one_graph_of_a_localizer_takes_any_number_of_images_of_any_size(
    open_graph: Callable[[Path], Run], localizer: Exported, rng: torch.Generator
) -> None:
    graph, model = open_graph(localizer.folder), load_run(localizer.run_dir).localizer()[0]
    for count, sides in ((1, (96, 128)), (4, (160, 97))):
        images, sizes = torch.randn(count, 3, *sides, generator=rng), torch.tensor([sides] * count)
        sizes[0, 1] -= 32  # padding has no part in the image's logits
        with torch.inference_mode():
            heatmaps = model(images)
            expected = heatmaps, model.pool(heatmaps, sizes)
        assert_close(graph(images, sizes), expected)


def test_one_graph_of_a_detector_takes_any_number_of_proposals(
    detector: Exported, rng: torch.Generator
) -> None:
    graph, model = run_onnx(detector.folder), load_run(detector.run_dir).detector()[0]
    image = torch.randn(1, 3, 128, 160, generator=rng)
    for count in (1, 300, 2000):
        rois, factors = random_boxes(count, rng), torch.rand(count, generator=rng)
        with torch.inference_mode():
            output = model(image, rois, factors)
        scores, *logits = graph(image, rois, factors)
        assert_close((logits[0], logits[1]), (output.class_logits, output.detection_logits))
        assert scores.sum(dim=0).max() <= 1 + 1e-5


def test_weights_and_settings_are_a_model_again(localizer: Exported) -> None:
    model = load_exported(localizer.folder)
    expected = load_run(localizer.run_dir).model.state_dict()
    assert not model.training
    assert model.state_dict().keys() == expected.keys()
    assert all(tensor.equal(expected[name]) for name, tensor in model.state_dict().items())


# Graphs of other models


@pytest.mark.parametrize(
    ("backbone", "pooling", "value"),
    [
        ("efficientnet_lite0", "top", 0.15),
        ("timm:test_vit", "log_sum_exp", 2.0),
        ("resnet18_two_branch", "mean", 0.0),
    ],
)
def test_a_graph_takes_any_size_whatever_the_pooling_and_the_kind_of_layers(
    backbone: str, pooling: str, value: float
) -> None:
    settings = LocalizerSettings(backbone, pooling=pooling, pooling_value=value)
    graph = graph_of(build_localizer(settings, 3).eval())
    found = differences(graph, trace(graph).module())
    assert max(found.values()) <= 1e-6


def test_only_a_detector_that_multiplies_by_scores_of_boxes_takes_them() -> None:
    for factor, others in ((0.0, []), (10.0, ["roi_scores"])):
        settings = DetectorSettings("alexnet", width=8, pool_size=2, box_score=factor)
        assert list(graph_of(build_wsddn(settings, 3)).inputs) == ["image", "rois", *others]


# Refusals


class Asking(nn.Sequential):
    """Looks at a value, which a graph cannot."""

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = super().forward(images)  # type: ignore[no-untyped-call]  # of torch
        return features + 1 if float(features.sum()) > 1e9 else features


def test_a_backbone_that_no_graph_can_hold_is_refused_with_the_reason(
    small_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = BACKBONES["squeezenet1_1"]
    asking = replace(row, build=lambda: Asking(*row.build().children()))
    monkeypatch.setitem(BACKBONES, "squeezenet1_1", asking)

    assert export(small_run, tmp_path / "out", "[safetensors,torch_export]") == 2

    refusal = (
        f"error: {small_run}: a localizer on squeezenet1_1 cannot be exported as torch_export ("
    )
    error = capsys.readouterr().err.splitlines()[-1]  # a slow machine says before what it does
    assert error.startswith(refusal)
    assert "data-dependent" in error
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_are_not_proved_equal_end_the_command_and_nothing_is_left(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = load_checkpoint(copy / "checkpoints")
    assert content is not None
    content["model"]["classifier.0.weight"].fill_(3e38)  # logits are then infinite
    save_checkpoint(copy / "checkpoints", content)

    assert export(copy, tmp_path / "new" / "out") == 1

    refusal = (
        f"error: {copy}: outputs of model.safetensors differ by nan of the largest, over 0.0001"
    )
    assert refusal in capsys.readouterr().err
    assert list((tmp_path / "new").iterdir()) == []


def test_a_folder_with_other_files_is_left_alone(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").touch()
    assert export(small_run, tmp_path) == 2
    assert f"error: {tmp_path}: exists (--out is a new or empty folder)" in capsys.readouterr().err
    assert list(files_of(tmp_path)) == ["mine.txt"]


def test_a_package_that_is_missing_is_named_before_a_run_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert export(tmp_path / "typo", tmp_path / "out", "[onnx]") == 2
    refusal = "error: onnx needs onnxscript (the extra `onnx`: pip install '.[onnx]')"
    assert refusal in capsys.readouterr().err


def test_files_that_are_missing_damaged_or_of_another_model_are_refused(
    localizer: Exported, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match="no exported model in this folder"):
        load_exported(tmp_path)
    shutil.copyfile(localizer.folder / "model.json", tmp_path / "model.json")
    with pytest.raises(FileNotFoundError, match="no such weights"):
        load_exported(tmp_path)
    save_file({"classifier.0.bias": torch.zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"safetensors: not the weights that model\.json"):
        load_exported(tmp_path)
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(ValueError, match=r"model\.json: not a file of export"):
        load_exported(tmp_path)
