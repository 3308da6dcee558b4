"""Networks of near infrared on tiles in whose other channels nothing is to be seen."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from data.datasets.rainforest import RAINFOREST_CLASSES
from data.evaluation.image_metrics import mean_over_present
from tests.tools_tests.conftest import Train
from tools import evaluate, train_classifier
from tools.files.scores import read_scores

COUNT, SIDE = 240, 32
TAGS = ("primary", "water")  # bright and dark halves of near infrared; tiles hold any of them


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiles whose red, green and blue are the same noise, equally bright, whatever they hold."""
    folder, draws = tmp_path_factory.mktemp("tiles"), np.random.default_rng(0)
    lines = ["image_name,tags"]
    for number in range(COUNT):
        held = draws.random(len(TAGS)) < 0.5
        tile = draws.normal(5000, 400, (SIDE, SIDE, 4))
        tile[:, :, 3] += 2000
        for row, is_held in enumerate(held):
            half = slice(row * SIDE // 2, (row + 1) * SIDE // 2)
            if is_held:  # stripes for the one, spots for the other
                tile[half, :: 8 if row == 0 else 1, 3] += 6000
        tifffile.imwrite(
            folder / f"train_{number}.tif", tile.clip(0, 65535).astype(np.uint16), photometric="rgb"
        )
        names = [tag for tag, is_held in zip(TAGS, held, strict=True) if is_held]
        lines.append(f"train_{number},{' '.join(names)}")
    (folder / "train_v2.csv").write_text("\n".join(lines))
    return folder


def trained(train: Train, tiles: Path, backbone: str, *others: str) -> Path:
    words = [f"--images={tiles}", f"--labels={tiles / 'train_v2.csv'}", f"--image-sizes=[{SIDE}]"]
    words += [f"--model.backbone={backbone}", "--model.pooling=mean", "--resize=square"]
    words += ["--pretrained=false", "--frozen-backbone=false", "--device=cpu", "--amp=off"]
    words += [
        "--val-split=none",
        "--optim.name=adamw",
        "--optim.lr=1e-3",
        "--loop.epochs=2",
        "--loop.batch-size=8",
    ]
    return train(
        train_classifier.main,
        lambda run_dir, *more: [f"--run-dir={run_dir}", *words, *others, *more],
        backbone,
    )


@pytest.mark.parametrize(
    ("backbone", "sees"),
    [("resnet18", False), ("resnet18_two_branch", True), ("resnet18_four_channel", True)],
)
def test_only_networks_of_near_infrared_see_what_is_in_it(
    train: Train, tiles: Path, backbone: str, sees: bool
) -> None:
    run = trained(train, tiles, backbone)
    assert evaluate.main([f"--run-dir={run}", "--split=test", "--corloc-split=", "--amp=off"]) == 0

    folder = run / "evaluations" / "test"
    report = json.loads((folder / "report.json").read_text())
    scores = read_scores(folder / "scores.npz")
    assert tuple(scores.classes) == RAINFOREST_CLASSES
    frequency = mean_over_present(
        np.where(scores.targets.any(axis=0), scores.targets.mean(axis=0), np.nan)
    )
    reached = report["classifier"]["image_map"]
    assert (folder / "report.html").is_file()
    if sees:
        assert reached >= 0.9
    else:
        assert reached == pytest.approx(frequency, abs=0.15)


def test_photographs_are_refused_before_anything_is_written(
    tiny_voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"--images={tiny_voc / 'VOC2007' / 'JPEGImages'}", f"--run-dir={tmp_path / 'run'}"]
    names = [path.name for path in (tiny_voc / "VOC2007" / "JPEGImages").iterdir()]
    (tmp_path / "labels.csv").write_text("\n".join(["image,labels", *(f"{n},a" for n in names)]))
    words += [f"--labels={tmp_path / 'labels.csv'}", "--pretrained=false", "--device=cpu"]
    words += ["--frozen-backbone=false", "--model.backbone=resnet18_four_channel", "--split=train"]
    assert train_classifier.main(words) == 2
    assert "has 3 channels of 4 that the backbone takes" in capsys.readouterr().err
    assert not (tmp_path / "run" / "settings.yaml").exists()
