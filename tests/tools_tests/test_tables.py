"""Every table on the terminal fits into 80 columns, with many classes and with a long name."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from data.datasets.folder import FolderSource
from data.datasets.voc import VOC_CLASSES
from data.types import Proposals
from tests.tools_tests.conftest import process_as_before
from tests.worlds import write_proposals
from tools import check_data, compare_runs, describe, evaluate, feature_cache, train_wsddn
from tools.inputs.features import KEY

LONG = "flowering_plants_in_the_front_garden_of_a_house_by_the_river"  # 60 characters
CLASSES = (*VOC_CLASSES, LONG)
SMALL = "--model.backbone alexnet --model.width 16 --model.pool-size 2 --pretrained false"
SMALL += " --frozen-backbone false --image-sizes [64] --eval-image-sizes [] --amp off"
SMALL += " --device cpu --loop.epochs 1 --loop.log-every 1 --min-size 1"


@pytest.fixture(scope="module", autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder, where no path that is printed is long."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.chdir(folder)
        patch.delenv("VOC_ROOT", raising=False)
        yield folder


@pytest.fixture(scope="module")
def labeled(elsewhere: Path, tiny_voc: Path) -> str:
    """Words for three images with 21 classes."""
    (elsewhere / "images").mkdir()
    lines = ["image,labels,split"]
    for number, path in enumerate(sorted((tiny_voc / "VOC2007" / "JPEGImages").iterdir())[:3]):
        shutil.copy(path, elsewhere / "images" / f"{number}.jpg")
        lines.append(f"{number}.jpg,{'|'.join(CLASSES[number::3])},train")
    (elsewhere / "labels.csv").write_text("\n".join(lines))
    return "--images images --labels labels.csv"


@pytest.fixture(scope="module")
def detector(labeled: str, elsewhere: Path) -> str:
    """The folder of a run with these classes, evaluated."""
    corners = torch.tensor([[0.0, 0.0, 30.0, 30.0], [10.0, 10.0, 50.0, 40.0]])
    boxes = {
        name: Proposals(corners, torch.ones(2)) for name in FolderSource(Path("images")).ids("all")
    }
    write_proposals(elsewhere / "proposals.npz", boxes)
    words = f"{labeled} --split train --run-dir run --proposals proposals.npz {SMALL}"
    with process_as_before():
        assert train_wsddn.main(words.split()) == 0
    return "run"


@pytest.fixture(scope="module")
def cache(elsewhere: Path) -> str:
    """A folder of features with a long description."""
    content = {"image_size": 1200, "resize": "longest_side", "weights_sha256": "0" * 64}
    folder = elsewhere / "features" / "0123456789abcdef"
    folder.mkdir(parents=True)
    (folder / KEY).write_text(json.dumps(content | {"device": "cuda"}))
    return "features"


def check_lines(out: str, *expected: str) -> None:
    """None is too long, and what is expected is shown whole, maybe on several lines."""
    lines = [line for line in out.splitlines() if ": " not in line]  # those are sentences
    assert max(map(len, lines)) <= 80
    joined = "".join(line.split("  ")[0] for line in lines)
    assert [text for text in expected if text not in out and text not in joined] == []


def test_of_a_data_set(labeled: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_data.main([*labeled.split(), "--cache", "states.json"]) == 0
    check_lines(capsys.readouterr().out, *CLASSES)


def test_of_an_evaluation_and_of_runs_side_by_side(
    detector: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"--run-dir {detector} --split train --device cpu --amp off"
    capsys.readouterr()
    assert evaluate.main(words.split()) == 0
    out = capsys.readouterr().out
    check_lines(out, *CLASSES, "image mAP")
    assert "n/a" not in out  # of boxes, which nobody knows here

    copies = [f"{name}_{LONG}" for name in "abcdefghi"]
    for name in copies:
        shutil.copytree(detector, name)
    words = f"--runs [{','.join(copies)}] --split train --out compared"
    assert compare_runs.main(words.split()) == 0
    check_lines(capsys.readouterr().out, "box mAP 11-point")


@pytest.mark.parametrize("backbone", ["alexnet", "efficientnet_lite0", "timm:test_vit"])
def test_of_layers(backbone: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert describe.main(["--backbone", backbone, "--image-sizes", "[64]"]) == 0
    check_lines(capsys.readouterr().out, "parameters")


def test_of_cached_features(cache: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert feature_cache.main(["--feature-cache", cache]) == 0
    check_lines(capsys.readouterr().out, "0123456789abcdef")
