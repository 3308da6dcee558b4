"""The images that a training and a report show: which ones, with which heatmaps."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from data.datasets.image_set import ImageSet
from data.datasets.voc import VOCSource
from data.synthetic.dataset import SYNTHETIC_CLASSES
from localizer.builders import build_localizer
from localizer.model import Localizer
from localizer.settings import BoxSettings, LocalizerSettings
from tests.tools_tests.pages.conftest import Windows
from tools.inputs.samples import PixelSamples
from tools.loggers.logger import Logger
from tools.models.device import Device
from tools.pages.predictions import HEIGHT, box_sheet, chosen_images, heatmap_row, log_images
from tools.prediction.predictions import LocalizerPredictions

CPU = Device("cpu", "off")


@pytest.fixture
def dataset(tiny_voc: Path) -> ImageSet:
    return VOCSource(tiny_voc, classes=SYNTHETIC_CLASSES).open("train")


@pytest.fixture
def model(rng: torch.Generator) -> Localizer:
    return build_localizer(LocalizerSettings("squeezenet1_1", robust=True), len(SYNTHETIC_CLASSES))


def predictions_of(dataset: ImageSet, model: Localizer) -> LocalizerPredictions:
    samples = PixelSamples(dataset, model.backbone, 64, "square")
    return LocalizerPredictions(model, [samples], dataset, CPU, BoxSettings())


def row_at(dataset: ImageSet, model: Localizer, index: int) -> Tensor:
    """The row of an image as the model sees it in evaluation mode."""
    heatmaps = predictions_of(dataset, model.eval()).heatmaps(index)
    return heatmap_row(dataset, index, heatmaps)


def log(windows: Windows, dataset: ImageSet, model: Localizer, epoch: int) -> None:
    predictions = predictions_of(dataset, model)
    log_images(Logger([windows]), predictions, epoch=epoch, step=7)


def test_chosen_images_have_a_class_and_are_the_same_each_time(dataset: ImageSet) -> None:
    chosen = chosen_images(dataset, 100)
    assert chosen_images(dataset, 5) == chosen_images(dataset, 5) == chosen[:5]
    assert sorted(chosen) == list(range(len(dataset)))

    dataset.targets[3] = 0
    dataset.weights[4] = 0
    assert set(chosen_images(dataset, 100)) == set(chosen) - {3, 4}

    dataset.targets[:] = dataset.weights[:] = 0
    assert sorted(chosen_images(dataset, 100)) == list(range(len(dataset)))


def test_images_are_logged_by_epoch_step_place_and_classes(
    dataset: ImageSet, model: Localizer
) -> None:
    windows = Windows()
    for epoch in range(3):
        log(windows, dataset, model, epoch)

    names = []
    for number, index in enumerate(chosen_images(dataset, 16)):
        labels = dataset.targets[index].nonzero().flatten().tolist()
        classes = "_".join(dataset.classes[label] for label in labels)
        names.append(f"iter7_batch{number // 4}_image{number % 4}_{classes}")
    assert list(windows.tags) == [f"ep{epoch}_{name}" for epoch in range(3) for name in names]
    assert len(windows.windows) == 2 * 12  # later epochs share theirs
    assert windows.windows["first_batch0_image0"] is windows.tags[f"ep0_{names[0]}"]
    assert windows.windows["last_batch0_image0"] is windows.tags[f"ep2_{names[0]}"]


def test_logging_images_of_a_model_in_training_changes_nothing_and_drops_nothing(
    dataset: ImageSet, model: Localizer
) -> None:
    model.train()
    before = torch.get_rng_state()
    windows = Windows()
    log(windows, dataset, model, epoch=0)

    evaluated = row_at(dataset, model, chosen_images(dataset, 1)[0])
    assert windows.windows["first_batch0_image0"].equal(evaluated)
    assert torch.get_rng_state().equal(before)


def test_a_row_shows_the_image_and_the_heatmap_of_every_class_that_it_holds(
    dataset: ImageSet, model: Localizer
) -> None:
    index = int(dataset.targets.sum(dim=1).argmax())
    height, width = dataset.annotations[index].image_size
    row = row_at(dataset, model, index)

    images = 1 + int(dataset.targets[index].sum())
    cell = (row.shape[2] - 4 * (images - 1)) / images  # gaps of 4 between them
    assert images > 2
    assert cell == pytest.approx(width * (row.shape[1] - 22) / height, abs=1)  # under a bar of 22


def row_of(dataset: ImageSet, model: Localizer, labels: list[int], weight: float) -> Tensor:
    """The first image's row when it holds these labels."""
    dataset.targets[0] = 0
    dataset.targets[0, labels] = 1
    dataset.weights[0] = weight
    return row_at(dataset, model, 0)


def let_see(model: Localizer, logits: dict[int, float]) -> None:
    """Make the model see the same in every image; -9 is for the other classes."""
    (convolution,) = (m for m in model.classifier if isinstance(m, nn.Conv2d))
    assert convolution.bias is not None
    with torch.no_grad():
        convolution.weight.zero_()
        convolution.bias.fill_(-9)
        for label, logit in logits.items():
            convolution.bias[label] = logit


def test_without_labels_the_classes_above_a_half_are_shown_the_most_probable_first(
    dataset: ImageSet, model: Localizer
) -> None:
    let_see(model, {1: 1.0, 2: -0.1, 4: 2.0})
    third, first = row_of(dataset, model, [4], 1), row_of(dataset, model, [1], 1)
    width = (first.shape[2] - 4) // 2  # an image, a gap of 4, a heatmap
    row = row_of(dataset, model, [], 0)
    assert row.equal(torch.cat([third, first[:, :, width:]], dim=2))
    assert row_of(dataset, model, [], 1).shape[2] == width  # labeled, and without any class

    let_see(model, {2: -0.1, 3: -0.2})
    assert row_of(dataset, model, [], 0).equal(row_of(dataset, model, [2], 1))


def test_a_sheet_shows_images_without_labels_with_what_the_model_predicts(
    dataset: ImageSet, model: Localizer
) -> None:
    let_see(model, {1: 3.0})
    named = {"m": predictions_of(dataset, model.eval())}
    dataset.annotations = [
        replace(one, boxes=one.boxes[:0], labels=one.labels[:0]) for one in dataset.annotations
    ]

    dataset.targets[:] = dataset.weights[:] = 0
    unlabeled = box_sheet(named, count=2)
    dataset.targets[:, 1] = dataset.weights[:] = 1
    assert unlabeled.equal(box_sheet(named, count=2))


@pytest.mark.parametrize(("models", "columns"), [(1, 4), (2, 2)])
def test_a_sheet_stands_models_side_by_side(
    models: int, columns: int, dataset: ImageSet, model: Localizer
) -> None:
    predictions = predictions_of(dataset, model.eval())
    named = {f"model {k}": predictions for k in range(models)}
    page = box_sheet(named, count=columns + 1)

    assert page.shape[0] == 3
    assert 2 * HEIGHT <= page.shape[1] < 2 * (HEIGHT + 50)
    assert page[:, HEIGHT + 60 :, page.shape[2] // columns + 12 :].eq(255).all()  # one in line 2
