"""The images that a training and a report show: which ones, with what, without side effects."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from data.datasets.voc import VOCDataset
from data.synthetic.dataset import SYNTHETIC_CLASSES
from localizer.builders import build_localizer
from localizer.model import Localizer
from tools.inputs.samples import PixelSamples
from tools.loggers.backend import Backend
from tools.loggers.logger import Logger
from tools.models.device import Device
from tools.models.settings import BoxSettings
from tools.pages.heatmaps import HEIGHT, box_sheet, chosen_images, heatmap_row, log_heatmaps

CPU = Device("cpu", "off")


class Windows(Backend):
    """Remembers the images by tag and by window."""

    name = "windows"

    def __init__(self) -> None:
        self.tags: dict[str, Tensor] = {}
        self.windows: dict[str, Tensor] = {}

    def image(self, tag: str, image: Tensor, step: int, *, window: str) -> None:
        self.tags[tag] = self.windows[window] = image

    def tagged(self, start: str) -> Tensor:
        """The image whose tag begins so."""
        (found,) = [image for tag, image in self.tags.items() if tag.startswith(f"{start}_")]
        return found


@pytest.fixture
def dataset(tiny_voc: Path) -> VOCDataset:
    return VOCDataset(tiny_voc, "train", classes=SYNTHETIC_CLASSES)


@pytest.fixture
def model(rng: torch.Generator) -> Localizer:
    return build_localizer("squeezenet1_1", len(SYNTHETIC_CLASSES), robust=True)


def samples_of(dataset: VOCDataset, model: Localizer) -> list[PixelSamples]:
    return [PixelSamples(dataset, model.backbone, 64, "square")]


def log(windows: Windows, dataset: VOCDataset, model: Localizer, epoch: int) -> None:
    samples = samples_of(dataset, model)
    log_heatmaps(
        Logger([windows]), model, samples, dataset, CPU, epoch=epoch, step=7, is_first=epoch == 0
    )


def test_the_chosen_images_are_the_same_each_time_and_each_once(dataset: VOCDataset) -> None:
    chosen = chosen_images(dataset, 5)

    assert chosen == chosen_images(dataset, 5) == chosen_images(dataset, 100)[:5]
    assert len(set(chosen_images(dataset, 100))) == len(dataset)


def test_images_without_a_sure_class_are_not_chosen(dataset: VOCDataset) -> None:
    dataset.targets[3] = 0
    dataset.weights[4] = 0

    assert set(chosen_images(dataset, 100)) == set(range(len(dataset))) - {3, 4}


def test_without_any_labels_every_image_may_be_chosen(dataset: VOCDataset) -> None:
    dataset.targets[:] = dataset.weights[:] = 0

    assert sorted(chosen_images(dataset, 100)) == list(range(len(dataset)))


def test_images_are_logged_by_epoch_step_batch_and_place(
    dataset: VOCDataset, model: Localizer
) -> None:
    windows = Windows()
    log(windows, dataset, model, epoch=0)

    places = [f"ep0_iter7_batch{batch}_image{image}" for batch in range(3) for image in range(4)]
    assert [tag.rsplit("_", tag.count("_") - 3)[0] for tag in windows.tags] == places


def test_a_logged_image_is_found_by_each_of_its_classes(
    dataset: VOCDataset, model: Localizer
) -> None:
    windows = Windows()
    log(windows, dataset, model, epoch=0)

    for tag, index in zip(windows.tags, chosen_images(dataset, 16), strict=True):
        labels = dataset.targets[index].nonzero()[:, 0].tolist()
        names = [dataset.classes[label] for label in labels]
        assert tag.endswith("_".join(["", *names]))


def test_the_first_epoch_keeps_its_windows_and_later_ones_share_theirs(
    dataset: VOCDataset, model: Localizer
) -> None:
    windows = Windows()
    for epoch in range(3):
        log(windows, dataset, model, epoch)

    assert len(windows.tags) == 3 * 12
    assert len(windows.windows) == 2 * 12
    first, last = windows.windows["first_batch0_image0"], windows.windows["last_batch0_image0"]
    assert first is windows.tagged("ep0_iter7_batch0_image0")
    assert last is windows.tagged("ep2_iter7_batch0_image0")


def test_logging_images_of_a_model_in_training_changes_nothing_and_drops_nothing(
    dataset: VOCDataset, model: Localizer
) -> None:
    model.train()
    before = torch.get_rng_state()
    windows = Windows()
    log(windows, dataset, model, epoch=0)

    index = chosen_images(dataset, 1)[0]
    evaluated = heatmap_row(model.eval(), samples_of(dataset, model), dataset, index, CPU)
    assert windows.tagged("ep0_iter7_batch0_image0").equal(evaluated)
    assert torch.get_rng_state().equal(before)


def test_a_row_shows_the_image_and_the_heatmap_of_every_class_that_it_holds(
    dataset: VOCDataset, model: Localizer
) -> None:
    index = int(dataset.targets.sum(dim=1).argmax())
    height, width = dataset.annotations[index].image_size
    row = heatmap_row(model.eval(), samples_of(dataset, model), dataset, index, CPU)

    images = 1 + int(dataset.targets[index].sum())
    cell = (row.shape[2] - 4 * (images - 1)) / images  # gaps of 4 between them
    assert images > 2
    assert cell == pytest.approx(width * (row.shape[1] - 22) / height, abs=1)  # under a bar of 22


def row_of(dataset: VOCDataset, model: Localizer, labels: list[int], weight: float) -> Tensor:
    """The first image's row when it holds these labels."""
    dataset.targets[0] = 0
    dataset.targets[0, labels] = 1
    dataset.weights[0] = weight
    return heatmap_row(model.eval(), samples_of(dataset, model), dataset, 0, CPU)


def let_see(model: Localizer, logits: dict[int, float]) -> None:
    """Make the model see the same in every image; -9 is for the other classes."""
    (convolution,) = (m for m in model.classifier if isinstance(m, nn.Conv2d))
    assert convolution.bias is not None
    with torch.no_grad():
        convolution.weight.zero_()
        convolution.bias.fill_(-9)
        for label, logit in logits.items():
            convolution.bias[label] = logit


def test_without_labels_the_classes_above_a_half_are_shown_the_likeliest_first(
    dataset: VOCDataset, model: Localizer
) -> None:
    let_see(model, {1: 1.0, 2: -0.1, 4: 2.0})

    third, first = row_of(dataset, model, [4], 1), row_of(dataset, model, [1], 1)
    width = (first.shape[2] - 4) // 2  # an image, a gap of 4, a heatmap
    row = row_of(dataset, model, [], 0)
    assert row.equal(torch.cat([third, first[:, :, width:]], dim=2))


def test_without_labels_and_anything_above_a_half_the_likeliest_class_is_shown(
    dataset: VOCDataset, model: Localizer
) -> None:
    let_see(model, {2: -0.1, 3: -0.2})

    assert row_of(dataset, model, [], 0).equal(row_of(dataset, model, [2], 1))


def test_a_labeled_image_of_no_class_is_shown_without_heatmap(
    dataset: VOCDataset, model: Localizer
) -> None:
    let_see(model, {1: 3.0})

    with_one, alone = row_of(dataset, model, [1], 1), row_of(dataset, model, [], 1)
    assert alone.shape[2] == (with_one.shape[2] - 4) // 2


def test_images_without_labels_stand_on_a_sheet_with_what_is_seen(
    dataset: VOCDataset, model: Localizer
) -> None:
    let_see(model, {1: 3.0})
    named = [("m", model.eval(), samples_of(dataset, model), BoxSettings())]
    for index, annotation in enumerate(dataset.annotations):  # no true boxes
        dataset.annotations[index] = replace(
            annotation, boxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64)
        )

    dataset.targets[:] = dataset.weights[:] = 0
    unlabeled = box_sheet(named, dataset, CPU, count=2)
    dataset.targets[:, 1] = dataset.weights[:] = 1
    assert unlabeled.equal(box_sheet(named, dataset, CPU, count=2))


@pytest.mark.parametrize(("models", "columns"), [(1, 4), (2, 2)])
def test_a_sheet_stands_models_side_by_side(
    models: int, columns: int, dataset: VOCDataset, model: Localizer
) -> None:
    samples = samples_of(dataset, model)
    named = [(f"model {k}", model.eval(), samples, BoxSettings()) for k in range(models)]
    page = box_sheet(named, dataset, CPU, count=columns + 1)

    assert page.shape[0] == 3
    assert 2 * HEIGHT <= page.shape[1] < 2 * (HEIGHT + 50)
    assert page[:, HEIGHT + 60 :, page.shape[2] // columns + 12 :].eq(255).all()  # one in line 2


def test_an_image_of_difficult_objects_only_can_be_shown(
    tiny_voc: Path, tmp_path: Path, model: Localizer
) -> None:
    root = Path(shutil.copytree(tiny_voc, tmp_path / "voc"))
    for path in (root / "VOC2007" / "Annotations").iterdir():
        text = path.read_text()
        path.write_text(text.replace("<difficult>0<", "<difficult>1<"))
    dataset = VOCDataset(root, "val", classes=SYNTHETIC_CLASSES, difficult="positive")
    samples = samples_of(dataset, model)

    page = box_sheet([("m", model.eval(), samples, BoxSettings())], dataset, CPU, count=2)
    assert page.shape[1] >= HEIGHT
