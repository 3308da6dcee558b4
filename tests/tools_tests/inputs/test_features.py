"""Cached features: what they are, when they are computed anew, the room that they take."""

import re
import shutil
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from data.datasets.image_set import ImageSet
from data.datasets.voc import VOCSource
from data.datasets.voc_layout import image_path
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import ImageSample
from localizer.builders import build_localizer
from localizer.model import Localizer
from localizer.settings import LocalizerSettings
from tests.worlds import training_batches
from tools import feature_cache
from tools.cli.signals import Interrupted, install_signal_handlers
from tools.inputs.cache import list_features
from tools.inputs.features import FeatureCache, FeatureSamples
from tools.inputs.samples import PixelSamples
from tools.models.device import Device

CPU = Device("cpu", "off")


@pytest.fixture
def dataset(tiny_voc: Path) -> ImageSet:
    return VOCSource(tiny_voc, classes=SYNTHETIC_CLASSES).open("val")


@pytest.fixture
def model() -> Localizer:
    torch.manual_seed(0)
    return build_localizer(LocalizerSettings("squeezenet1_1"), len(SYNTHETIC_CLASSES)).eval()


@pytest.fixture
def images(dataset: ImageSet, model: Localizer) -> PixelSamples:
    return PixelSamples(dataset, model.backbone, 64, "square")


def cached(
    images: PixelSamples, model: Localizer, folder: Path, limit: float | None = None
) -> FeatureSamples:
    return FeatureSamples(images, model.features, FeatureCache(folder, limit), CPU)


def files_of(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.npz")}


@torch.no_grad()
def image_logits(model: Localizer, samples: PixelSamples | FeatureSamples) -> Tensor:
    module = model if isinstance(samples, PixelSamples) else model.head().eval()
    logits = []
    for batch in training_batches(
        [samples], seed=0, epoch=0, first=0, batch_size=2, flip=True, workers=0
    ):
        prepared = samples.prepare(batch, CPU)
        logits.append(module.pool(module(prepared.images), prepared.sizes))
    return torch.cat(logits)


# What they are


def test_features_give_what_images_give_but_for_rounding(
    images: PixelSamples, model: Localizer, tmp_path: Path
) -> None:
    from_features = image_logits(model, cached(images, model, tmp_path))

    expected = image_logits(model, images)
    # float16 keeps 11 bits
    torch.testing.assert_close(from_features, expected, rtol=2**-10, atol=2**-10)
    assert expected.std() > 0.01


def test_a_sample_of_features_has_the_labels_and_size_of_its_image(
    images: PixelSamples, model: Localizer, tmp_path: Path
) -> None:
    features = cached(images, model, tmp_path).sample(2, flipped=False)

    image = images.sample(2, flipped=False)
    assert features.image.dtype == torch.float16
    assert (features.image_id, features.network_size) == (image.image_id, image.network_size)
    assert features.targets.equal(image.targets)
    assert features.weights.equal(image.weights)


def test_a_damaged_file_of_features_is_refused_by_name(
    images: PixelSamples, model: Localizer, tmp_path: Path
) -> None:
    samples = cached(images, model, tmp_path)
    samples.files[0].write_bytes(samples.files[0].read_bytes()[:-100])

    with pytest.raises(ValueError, match=re.escape(str(samples.files[0]))):
        samples.sample(0, flipped=False)


# When they are computed


def test_features_are_computed_once(images: PixelSamples, model: Localizer, tmp_path: Path) -> None:
    cached(images, model, tmp_path)
    before = files_of(tmp_path)
    cached(images, model, tmp_path)

    assert len(before) == len(images)
    assert files_of(tmp_path) == before


def test_a_changed_image_is_computed_anew(tiny_voc: Path, model: Localizer, tmp_path: Path) -> None:
    shutil.copytree(tiny_voc, tmp_path / "voc")
    dataset = VOCSource(tmp_path / "voc", classes=SYNTHETIC_CLASSES).open("val")
    images = PixelSamples(dataset, model.backbone, 64, "square")
    before = cached(images, model, tmp_path / "cache").sample(0, flipped=False)
    path = image_path(tmp_path / "voc", dataset.ids[0])
    path.write_bytes(path.read_bytes() + b"\x00")  # the pixels stay, the file is another
    files = files_of(tmp_path / "cache")

    after = cached(images, model, tmp_path / "cache").sample(0, flipped=False)

    assert after.image.equal(before.image)
    assert len(files_of(tmp_path / "cache")) == len(files) + 1
    assert files.items() <= files_of(tmp_path / "cache").items()


def test_features_are_shared_only_when_everything_they_depend_on_is_the_same(
    images: PixelSamples, model: Localizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = images.backbone
    torch.manual_seed(1)
    others = [
        (replace(images, image_size=48), model),
        (replace(images, resize="longest_side"), model),
        (replace(images, backbone=replace(backbone, mean=(0.5, 0.5, 0.5))), model),
        (replace(images, backbone=replace(backbone, std=(0.5, 0.5, 0.5))), model),
        (images, build_localizer(LocalizerSettings("squeezenet1_1"), len(SYNTHETIC_CLASSES))),
    ]

    folder = cached(images, model, tmp_path).folder
    folders = {cached(samples, owner, tmp_path).folder for samples, owner in others}
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.0")
    folders.add(cached(images, model, tmp_path).folder)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    folders.add(cached(images, model, tmp_path).folder)

    assert len(folders) == len(others) + 2
    assert folder not in folders


def test_features_are_the_same_in_every_number_format(
    images: PixelSamples, model: Localizer, tmp_path: Path
) -> None:
    full, half = (
        FeatureSamples(images, model.features, FeatureCache(tmp_path / amp), Device("cpu", amp))
        for amp in ("off", "bf16")
    )

    assert full.folder.name == half.folder.name
    assert full.sample(0, flipped=True).image.equal(half.sample(0, flipped=True).image)


@dataclass(frozen=True, slots=True)
class StoppedAtTheFourth(PixelSamples):
    """A signal comes while the fourth image is read."""

    def sample(self, index: int, *, flipped: bool) -> ImageSample:
        if index == 3 and not flipped:
            signal.raise_signal(signal.SIGTERM)
        return super(StoppedAtTheFourth, self).sample(index, flipped=flipped)


def test_a_stopped_computation_keeps_what_it_has_and_continues(
    images: PixelSamples, model: Localizer, tmp_path: Path
) -> None:
    install_signal_handlers()
    stopped = StoppedAtTheFourth(images.dataset, images.backbone, 64, "square")
    with pytest.raises(Interrupted):
        cached(stopped, model, tmp_path)
    before = files_of(tmp_path)
    install_signal_handlers()
    cached(images, model, tmp_path)

    assert len(before) == 4
    assert before.items() <= files_of(tmp_path).items()
    assert len(files_of(tmp_path)) == len(images)


# The room that they take


def test_the_size_is_said_before_the_cache_is_filled(
    images: PixelSamples, model: Localizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cached(images, model, tmp_path)

    first = capsys.readouterr().out.splitlines()[0]
    assert f"{len(images)} images" in first
    assert "GB" in first
    assert str(tmp_path) in first


def test_more_features_than_the_limit_are_refused_and_not_computed(
    images: PixelSamples, model: Localizer, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=rf"{tmp_path}: .*--feature-cache-limit 1e-06"):
        cached(images, model, tmp_path, limit=1e-6)

    assert len(files_of(tmp_path)) == 1


def test_features_for_which_the_disk_has_no_room_are_not_computed(
    images: PixelSamples, model: Localizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))

    with pytest.raises(OSError, match="no space left") as refused:
        cached(images, model, tmp_path)

    assert refused.value.filename == str(tmp_path)
    assert len(files_of(tmp_path)) == 1


def test_the_command_lists_what_there_is_and_removes_what_is_named(
    images: PixelSamples, model: Localizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = [
        cached(images, model, tmp_path),
        cached(replace(images, image_size=48), model, tmp_path),
    ]
    (tmp_path / "notes").mkdir()
    argv = ["--feature-cache", str(tmp_path)]
    capsys.readouterr()

    assert feature_cache.main(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    for sample, size in zip(samples, ("64 px", "48 px"), strict=True):
        (line,) = [line for line in lines if line.startswith(sample.folder.name)]
        assert size in line
        assert f" {len(images)} " in line
    assert feature_cache.main([*argv, "--clear", samples[0].folder.name]) == 0
    assert [features.folder for features in list_features(tmp_path)] == [samples[1].folder]
    assert feature_cache.main([*argv, "--clear", "all"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_features_that_are_not_there_cannot_be_cleared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert feature_cache.main(["--feature-cache", str(tmp_path), "--clear", "0"]) == 2
    assert str(tmp_path / "0") in capsys.readouterr().err


def test_a_folder_of_an_earlier_version_is_listed_as_such(tmp_path: Path) -> None:
    (tmp_path / "0123456789abcdef").mkdir()

    (features,) = list_features(tmp_path)
    assert features.images == 0
    assert "earlier version" in features.source
