"""The pictures that a training and a report show: which ones, with what, without side effects."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from data.synthetic import SYNTHETIC_CLASSES
from data.voc import VOCDataset
from localizer.builders import build_localizer
from localizer.model import Localizer
from tools.engine.device import Device
from tools.engine.heat_pictures import (
    HEIGHT,
    box_sheet,
    chosen_pictures,
    heat_row,
    log_heat_pictures,
)
from tools.engine.log_backend import Backend
from tools.engine.logger import Logger
from tools.engine.samples import PictureSamples
from tools.engine.settings import BoxSettings

CPU = Device("cpu", "off")


class Windows(Backend):
    """Remembers the pictures by tag and by window."""

    name = "windows"

    def __init__(self) -> None:
        self.tags: dict[str, Tensor] = {}
        self.windows: dict[str, Tensor] = {}

    def image(self, tag: str, image: Tensor, step: int, *, window: str) -> None:
        self.tags[tag] = self.windows[window] = image

    def tagged(self, start: str) -> Tensor:
        """The picture whose tag begins so."""
        (found,) = [image for tag, image in self.tags.items() if tag.startswith(f"{start}_")]
        return found


@pytest.fixture
def dataset(tiny_voc: Path) -> VOCDataset:
    return VOCDataset(tiny_voc, "train", classes=SYNTHETIC_CLASSES)


@pytest.fixture
def model(rng: torch.Generator) -> Localizer:
    return build_localizer("squeezenet1_1", len(SYNTHETIC_CLASSES), robust=True)


def samples_of(dataset: VOCDataset, model: Localizer) -> list[PictureSamples]:
    return [PictureSamples(dataset, model.trunk, 64, "square")]


def log(windows: Windows, dataset: VOCDataset, model: Localizer, epoch: int) -> None:
    samples = samples_of(dataset, model)
    log_heat_pictures(
        Logger([windows]), model, samples, dataset, CPU, epoch=epoch, step=7, is_first=epoch == 0
    )


def test_the_chosen_pictures_are_the_same_each_time_and_each_once(dataset: VOCDataset) -> None:
    chosen = chosen_pictures(dataset, 5)

    assert chosen == chosen_pictures(dataset, 5) == chosen_pictures(dataset, 100)[:5]
    assert len(set(chosen_pictures(dataset, 100))) == len(dataset)


def test_pictures_without_a_sure_class_are_not_chosen(dataset: VOCDataset) -> None:
    dataset.targets[3] = 0
    dataset.weights[4] = 0

    assert set(chosen_pictures(dataset, 100)) == set(range(len(dataset))) - {3, 4}


def test_pictures_are_logged_by_epoch_step_batch_and_place(
    dataset: VOCDataset, model: Localizer
) -> None:
    windows = Windows()
    log(windows, dataset, model, epoch=0)

    places = [f"ep0_iter7_batch{batch}_image{image}" for batch in range(3) for image in range(4)]
    assert [tag.rsplit("_", tag.count("_") - 3)[0] for tag in windows.tags] == places


def test_a_logged_picture_is_found_by_each_of_its_classes(
    dataset: VOCDataset, model: Localizer
) -> None:
    windows = Windows()
    log(windows, dataset, model, epoch=0)

    for tag, index in zip(windows.tags, chosen_pictures(dataset, 16), strict=True):
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


def test_logging_pictures_of_a_model_in_training_changes_nothing_and_drops_nothing(
    dataset: VOCDataset, model: Localizer
) -> None:
    model.train()
    before = torch.get_rng_state()
    windows = Windows()
    log(windows, dataset, model, epoch=0)

    index = chosen_pictures(dataset, 1)[0]
    evaluated = heat_row(model.eval(), samples_of(dataset, model), dataset, index, CPU)
    assert windows.tagged("ep0_iter7_batch0_image0").equal(evaluated)
    assert torch.get_rng_state().equal(before)


def test_a_row_shows_the_picture_and_the_heat_of_every_class_that_it_holds(
    dataset: VOCDataset, model: Localizer
) -> None:
    index = int(dataset.targets.sum(dim=1).argmax())
    height, width = dataset.annotations[index].image_size
    row = heat_row(model.eval(), samples_of(dataset, model), dataset, index, CPU)

    pictures = 1 + int(dataset.targets[index].sum())
    cell = (row.shape[2] - 4 * (pictures - 1)) / pictures  # gaps of 4 between them
    assert pictures > 2
    assert cell == pytest.approx(width * (row.shape[1] - 22) / height, abs=1)  # under a bar of 22


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


def test_a_picture_of_difficult_objects_only_can_be_shown(
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
