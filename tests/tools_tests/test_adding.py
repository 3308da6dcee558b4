"""What one row adds: data set, backbone, pooling, loss, metric, place for events, format."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from data.datasets.folder import FolderSource
from data.datasets.settings import DataSettings
from data.datasets.source import Scan, Source
from data.datasets.sources import SOURCES
from data.evaluation.metrics import METRICS, Metric
from data.images import read_image_size
from data.types import Annotation, without_boxes
from localizer.backbones import BACKBONES, Backbone, Geometry
from localizer.pooling import POOLINGS, mean_pool_logits
from tests.tools_tests.conftest import process_as_before
from tools import check_data, detect, evaluate, make_proposals, train_localizer, train_wsddn
from tools.files.boxed_images import BoxedImages
from tools.files.formats import FORMATS, Format
from tools.loggers.backend import Backend
from tools.loggers.logger import BACKENDS
from tools.loggers.metrics_file import read_metrics
from wsddn.criterion import TERMS, ScoredImage

CLASSES = ("day", "night")
SPLITS = {"train": range(4), "test": range(4, 6)}


class ToySource(Source):
    """A file that names the folder of its images: a white figure means day, a black one night."""

    def __init__(self, path: Path) -> None:
        self.root = Path(path.read_text())

    @classmethod
    def from_settings(cls, settings: DataSettings) -> "ToySource | None":
        path = settings.images
        return cls(path) if path is not None and path.suffix == ".toy" else None

    @property
    def classes(self) -> tuple[str, ...]:
        return CLASSES

    @property
    def split_names(self) -> tuple[str, ...]:
        return ("all", *SPLITS)

    def ids(self, split: str) -> list[str]:
        every = [number for members in SPLITS.values() for number in members]
        return [str(number) for number in SPLITS.get(split, every)]

    def path(self, image_id: str) -> Path:
        return self.root / f"{image_id}.png"

    def labels(self, image_id: str) -> tuple[Tensor, Tensor]:
        return torch.eye(2)[int(image_id) % 2], torch.ones(2)

    def annotation(self, image_id: str) -> Annotation:
        return without_boxes(image_id, read_image_size(self.path(image_id)))

    def scan(self) -> Scan:
        return Scan(CLASSES, {split: self.ids(split) for split in SPLITS}, {}, {}, [])


class ToyBackend(Backend):
    """Keeps the tags of its curves."""

    name = "toy"
    tags: ClassVar[list[str]] = []

    def scalar(self, tag: str, value: float, step: int) -> None:
        self.tags.append(tag)


def toy_backbone() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 16, stride=16), nn.ReLU())


def toy_pooling(logits: Tensor, valid: Tensor, value: float) -> Tensor:
    return 2 * mean_pool_logits(logits, valid)


def toy_term(image: ScoredImage) -> Tensor:
    return image.output.fc7.square().mean()


def write_toy(out: Path, boxed: BoxedImages) -> None:
    counts = [f"{image.file} {len(image.detections.boxes)}" for image in boxed.images]
    (out / "toy.txt").write_text("\n".join(counts))


@pytest.fixture(scope="module")
def rows() -> Iterator[None]:
    """The rows while the tests of this module run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SOURCES, "toy", ToySource.from_settings)
        patch.setitem(BACKBONES, "toy", Backbone(toy_backbone, 8, Geometry(16, 7.5), multiple=16))
        patch.setitem(POOLINGS, "toy", toy_pooling)
        patch.setitem(TERMS, "toy", toy_term)
        patch.setitem(METRICS, "toy", Metric("toy metric", lambda split: split.scores.mean(axis=0)))
        patch.setitem(BACKENDS, "toy", lambda run: ToyBackend())
        patch.setitem(FORMATS, "toy", Format(write_toy, ("toy.txt",)))
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, rows: None) -> Path:
    """Six images, their proposals, a localizer and a detector."""
    home = tmp_path_factory.mktemp("toy")
    for number in range(6):
        image = Image.new("RGB", (80, 64 + 16 * number), "gray")
        image.paste(("white", "black")[number % 2], (20, 10, 60, 40))
        image.save(home / f"{number}.png")
    (home / "set.toy").write_text(str(home))
    model = ["--model.backbone=toy", "--image-sizes=[64]", "--loop.epochs=1", "--loop.log-every=1"]
    data = ["--split=train", *model, "--device=cpu", "--amp=off"]
    whole = "--pretrained=false --frozen-backbone=false --eval-image-sizes=[] --model.width=8"
    run(make_proposals.main, home, f"--out={home / 'p.npz'}", "--processes=1")
    localizer = [f"--run-dir={home / 'localizer'}", "--model.pooling=toy", *data]
    run(train_localizer.main, home, *localizer)
    detector = [f"--run-dir={home / 'detector'}", f"--proposals={home / 'p.npz'}", *whole.split()]
    run(train_wsddn.main, home, *detector, *data)
    return home


def run(main: Callable[[list[str]], int], home: Path, *words: str) -> None:
    with process_as_before():
        assert main([f"--images={home / 'set.toy'}", *words]) == 0


def test_a_data_set_is_checked_proposed_and_boxed(home: Path, tmp_path: Path) -> None:
    run(check_data.main, home, f"--cache={tmp_path / 'states.json'}")
    out = [f"--out={tmp_path / 'out'}", "--formats=[toy]"]
    run(detect.main, home, f"--run-dir={home / 'detector'}", *out)

    content = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert content["classes"] == list(CLASSES)
    assert list(content["images"]) == [str(number) for number in range(6)]
    counts = [len(image["boxes"]) for image in content["images"].values()]
    lines = (tmp_path / "out" / "toy.txt").read_text().splitlines()
    assert lines == [f"{number}.png {count}" for number, count in enumerate(counts)]
    labels = [set(image["labels"]) for image in content["images"].values()]
    assert labels == [{number % 2} for number in range(6)]  # the source knows them


def test_a_loss_is_trained_with_and_logged_everywhere(home: Path) -> None:
    curves = read_metrics(home / "detector" / "metrics.jsonl")

    parts = [curves[f"train/{name}"][0][1] for name in ("image_label", "toy")]
    assert parts[1] > 0
    assert curves["train/loss"][0][1] == pytest.approx(sum(parts), rel=1e-6)
    assert "train/toy" in ToyBackend.tags


def test_a_pooling_and_a_backbone_are_saved_by_name_and_a_metric_is_in_every_table(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("localizer", "detector"):
        run_dir, split = home / name, ["--split=test", "--corloc-split=", "--amp=off"]
        proposals = [f"--proposals={home / 'p.npz'}"] if name == "detector" else []
        run(evaluate.main, home, f"--run-dir={run_dir}", *split, *proposals)

        folder = run_dir / "evaluations" / "test"
        with np.load(folder / "scores.npz") as arrays:
            means = arrays["scores"].mean(axis=0)
        report = json.loads((folder / "report.json").read_text())[name]
        assert report["toy"] == pytest.approx(means.mean())
        assert [row["toy"] for row in report["per_class"].values()] == pytest.approx(means)
        assert "toy metric" in (folder / "report.html").read_text()
        assert "toy metric" in capsys.readouterr().out


def test_images_that_no_source_knows_are_refused(rows: None, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("")
    assert FolderSource.from_settings(DataSettings(images=tmp_path / "a.csv")) is None
    assert check_data.main(["--images", str(tmp_path / "a.csv")]) == 2
