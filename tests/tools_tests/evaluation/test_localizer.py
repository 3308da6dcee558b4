"""Every number of the reports, on heatmap that is drawn by hand."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from data.datasets.voc import VOCDataset, image_level_labels
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import Annotation, ImageBatch, ImageSample
from localizer.backbones import Geometry
from localizer.builders import build_localizer
from localizer.model import Localizer, LocalizerHead
from tools.cli.signals import Interrupted
from tools.evaluation.localizer import CURVE_THRESHOLDS, evaluate_localizer
from tools.evaluation.metrics import Evaluation
from tools.inputs.samples import PixelSamples
from tools.models.device import Device, evaluation_mode
from tools.models.settings import BoxSettings
from tools.prediction.localizer import heatmaps_of

CPU = Device("cpu", "off")
SIZE = (40, 60)  # of every image; cells are its pixels
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Image:
    """Objects with their labels, and by label where the model will show heatmap."""

    objects: list[tuple[int, Box]]
    heatmap: dict[int, Box]
    difficult: list[tuple[int, Box]] = field(default_factory=list)
    warm: dict[int, Box] = field(default_factory=dict)

    def annotation(self, name: str) -> Annotation:
        every = [*self.objects, *self.difficult]
        boxes = torch.tensor([box for _, box in every], dtype=torch.float32).reshape(-1, 4)
        labels = torch.tensor([label for label, _ in every], dtype=torch.int64)
        flags = torch.arange(len(every)) >= len(self.objects)
        return Annotation(name, SIZE, boxes, labels, flags, torch.zeros_like(flags))

    def maps(self) -> Tensor:
        """``[2, 40, 60]`` logits: 4 where hot, -1 where warm (3/8 of the range), -4 elsewhere."""
        maps = torch.full((2, *SIZE), -4.0)
        for value, boxes in ((-1, self.warm), (4, self.heatmap)):
            for label, (x1, y1, x2, y2) in boxes.items():
                maps[label, y1:y2, x1:x2] = value
        return maps


@dataclass(frozen=True)
class Drawn:
    """Heatmap maps in place of images."""

    images: list[Image]
    multiple: int = 1

    def __len__(self) -> int:
        return len(self.images)

    def sample(self, index: int, *, flipped: bool) -> ImageSample:
        maps = self.images[index].maps()
        labels = torch.zeros(2)
        return ImageSample("", maps.flip(-1) if flipped else maps, labels, labels, SIZE)

    def prepare(self, batch: ImageBatch, device: Device) -> ImageBatch:
        return batch


def evaluate(images: list[Image], **boxes: Any) -> Evaluation:
    annotations = [image.annotation(f"{k:06d}") for k, image in enumerate(images)]
    labels = [image_level_labels(annotation, 2) for annotation in annotations]

    class Stub(SimpleNamespace):
        def __len__(self) -> int:
            return len(images)

    dataset: Any = Stub(
        ids=[annotation.image_id for annotation in annotations],
        classes=("cat", "dog"),
        annotations=annotations,
        targets=torch.stack([targets for targets, _ in labels]),
        weights=torch.stack([weights for _, weights in labels]),
    )
    model = LocalizerHead(nn.Identity(), nn.Sequential(), Geometry(1, 0))
    return evaluate_localizer(model, [Drawn(images)], dataset, BoxSettings(**boxes), CPU)


CAT: Box = (8, 4, 28, 24)
DOG: Box = (30, 10, 50, 30)


def test_heatmap_on_every_object_and_nowhere_else_reaches_1_everywhere() -> None:
    found = evaluate([Image([(0, CAT)], {0: CAT}), Image([(1, DOG)], {1: DOG})])

    expected = dict.fromkeys(
        [
            "image_map",
            "f2",
            "recall",
            "box_map_area",
            "corloc",
            "point_accuracy",
            "heatmap_coverage",
        ],
        1.0,
    )
    assert found.metrics.items() >= expected.items()
    assert found.metrics["box_map_11point"] == pytest.approx(1, abs=1e-12)  # eleven times 1/11
    assert found.threshold_curve == dict.fromkeys(CURVE_THRESHOLDS, 1.0)


def test_detections_lie_on_the_heatmap_with_the_probability_of_the_class() -> None:
    found = evaluate([Image([(0, CAT)], {0: CAT})]).detections["000000"]

    best = found.scores.argmax()
    assert found.boxes[best].tolist() == list(CAT)
    assert found.labels[best] == 0
    assert found.scores[best] == pytest.approx(1 / (1 + math.exp(-4)))


def test_scores_are_probabilities_in_the_order_of_the_images() -> None:
    high, low = 1 / (1 + math.exp(-4)), 1 / (1 + math.exp(4))
    found = evaluate([Image([(0, CAT)], {0: CAT}), Image([(1, DOG)], {1: DOG})])

    assert found.scores.tolist() == [
        [pytest.approx(high), pytest.approx(low)],
        [pytest.approx(low), pytest.approx(high)],
    ]


def test_heatmap_far_from_the_object_points_and_boxes_wrongly() -> None:
    found = evaluate([Image([(0, (0, 0, 10, 10))], {0: (40, 30, 60, 40)})])

    assert found.metrics["image_map"] == 1
    for name in ("corloc", "point_accuracy", "heatmap_coverage", "box_map_11point"):
        assert found.metrics[name] == 0


@pytest.mark.parametrize(("gap", "accuracy"), [(17, 1.0), (18, 0.0)])
def test_a_peak_may_miss_its_box_by_18_pixels(gap: int, accuracy: float) -> None:
    box = (4, 4, 14, 14)
    left = 14 + gap  # the peak is at the center of this column, half a pixel further
    found = evaluate([Image([(0, box)], {0: (left, 4, left + 9, 14)})])

    assert found.metrics["point_accuracy"] == accuracy


def test_heatmap_on_half_of_the_object_covers_half() -> None:
    found = evaluate([Image([(0, (10, 10, 30, 30))], {0: (10, 10, 20, 30)})])

    assert found.metrics["heatmap_coverage"] == 1 / 2


@pytest.mark.parametrize(("threshold", "coverage"), [(1 / 2, 1 / 4), (3 / 8, 3 / 4)])
def test_coverage_counts_cells_from_the_first_threshold_on(
    threshold: float, coverage: float
) -> None:
    image = Image([(0, (10, 10, 30, 30))], {0: (10, 10, 15, 30)}, warm={0: (10, 10, 25, 30)})
    found = evaluate([image], thresholds=(threshold, 1.0))

    assert found.metrics["heatmap_coverage"] == coverage


def test_two_objects_of_one_class_count_one_by_one_for_coverage_and_together_for_the_peak() -> None:
    found = evaluate([Image([(0, CAT), (0, (40, 20, 60, 40))], {0: CAT})])

    assert found.metrics["heatmap_coverage"] == 1 / 2
    assert found.metrics["point_accuracy"] == 1


def test_the_sharpness_of_heatmap_is_its_peak_over_its_mean() -> None:
    found = evaluate([Image([(0, CAT)], {0: CAT})])

    assert found.metrics["peak_mean_ratio"] == pytest.approx(40 * 60 / (20 * 20), rel=1e-6)


def test_a_difficult_object_counts_nowhere() -> None:
    alone = evaluate([Image([(0, CAT)], {0: CAT})])
    found = evaluate([Image([(0, CAT)], {0: CAT}, difficult=[(1, DOG)])])

    assert found.metrics == pytest.approx(alone.metrics)
    assert found.per_class["dog"] == dict.fromkeys(found.per_class["dog"])


def test_an_absent_class_has_no_numbers_and_is_out_of_the_means() -> None:
    found = evaluate([Image([(0, CAT)], {0: CAT})])

    assert set(found.per_class["dog"].values()) == {None}
    assert found.per_class["cat"]["corloc"] == found.metrics["corloc"] == 1


def test_without_any_object_every_mean_is_nan() -> None:
    found = evaluate([Image([], {0: CAT})])

    assert all(math.isnan(value) for value in found.metrics.values())
    assert all(math.isnan(value) for value in found.threshold_curve.values())


def test_constant_heatmap_gives_no_boxes_and_no_coverage() -> None:
    found = evaluate([Image([(0, CAT)], {})])

    assert len(found.detections["000000"].boxes) == 0
    assert (found.metrics["corloc"], found.metrics["heatmap_coverage"]) == (0, 0)
    assert math.isnan(found.metrics["peak_mean_ratio"])


def test_regions_below_the_least_size_are_no_boxes() -> None:
    found = evaluate([Image([(0, CAT)], {0: CAT})], min_cells=20 * 20 + 1)

    assert found.metrics["corloc"] == 0


# A model's own state


@pytest.fixture
def dataset(tiny_voc: Path) -> VOCDataset:
    return VOCDataset(tiny_voc, "val", classes=SYNTHETIC_CLASSES)


@pytest.fixture
def model(rng: torch.Generator) -> Localizer:
    """In training, but for one layer."""
    model = build_localizer("squeezenet1_1", len(SYNTHETIC_CLASSES), robust=True).train()
    next(model.features.children()).eval()
    return model


def modes(model: nn.Module) -> dict[str, bool]:
    return {name: module.training for name, module in model.named_modules()}


def images_of(dataset: VOCDataset, model: Localizer) -> list[PixelSamples]:
    return [PixelSamples(dataset, model.backbone, 64, "square")]


def test_every_module_gets_its_own_mode_back(dataset: VOCDataset, model: Localizer) -> None:
    before = modes(model)
    evaluate_localizer(model, images_of(dataset, model), dataset, BoxSettings(), CPU)

    assert modes(model) == before
    assert set(before.values()) == {True, False}


def test_a_stopped_evaluation_gives_the_modes_back_too(
    dataset: VOCDataset, model: Localizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop() -> None:
        raise Interrupted(15)

    before = modes(model)
    monkeypatch.setattr("tools.evaluation.localizer.check_interrupted", stop)
    with pytest.raises(Interrupted):
        evaluate_localizer(model, images_of(dataset, model), dataset, BoxSettings(), CPU)

    assert modes(model) == before


def test_in_evaluation_mode_every_module_evaluates(model: Localizer) -> None:
    with evaluation_mode(model):
        assert set(modes(model).values()) == {False}


def test_an_evaluation_draws_nothing_at_random(dataset: VOCDataset, model: Localizer) -> None:
    before = torch.get_rng_state()
    samples = images_of(dataset, model)
    first, second = (
        evaluate_localizer(model, samples, dataset, BoxSettings(), CPU).scores for _ in range(2)
    )

    assert (first == second).all()
    assert torch.get_rng_state().equal(before)


def test_every_image_is_evaluated_in_its_place(dataset: VOCDataset, model: Localizer) -> None:
    samples = images_of(dataset, model)
    found = evaluate_localizer(model, samples, dataset, BoxSettings(), CPU)

    assert list(found.detections) == dataset.ids
    assert found.scores.shape == (len(dataset), len(SYNTHETIC_CLASSES))
    assert len({tuple(row) for row in found.scores.tolist()}) == len(dataset)


def test_the_maps_are_of_the_first_size_and_the_scores_of_all(
    dataset: VOCDataset, model: Localizer
) -> None:
    model.eval()
    scales = [PixelSamples(dataset, model.backbone, size, "square") for size in (64, 96)]
    small, large, both = (
        heatmaps_of(model, part, dataset, 0, CPU) for part in (scales[:1], scales[1:], scales)
    )

    assert both.logits.equal(small.logits)
    assert both.network_size == (64, 64)
    torch.testing.assert_close(
        both.image_logits, (small.image_logits + large.image_logits) / 2, rtol=0, atol=1e-6
    )
    assert not small.image_logits.allclose(large.image_logits)
