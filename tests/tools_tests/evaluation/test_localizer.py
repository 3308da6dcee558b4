"""A localizer on a split, with heatmaps that are drawn by hand; every number by hand."""

import math
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from data.datasets.image_set import ImageSet
from data.datasets.voc import VOCSource
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import Annotation, ImageBatch, ImageSample, Proposals
from localizer.backbones import Geometry
from localizer.builders import build_localizer
from localizer.model import Localizer, LocalizerHead
from localizer.settings import BoxSettings, LocalizerSettings
from tests.worlds import annotate, image_set
from tools.cli.signals import Interrupted, install_signal_handlers
from tools.evaluation import split
from tools.evaluation.metrics import Evaluation
from tools.evaluation.split import CURVE_THRESHOLDS
from tools.inputs.samples import PixelSamples, Samples
from tools.models.device import Device, evaluation_mode
from tools.prediction.predictions import LocalizerPredictions

CPU = Device("cpu", "off")
SIZE = (40, 60)  # of every image; cells are its pixels
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Image:
    """Objects with their labels, and by label where the model will show heat."""

    objects: list[tuple[int, Box]]
    hot: dict[int, Box]
    difficult: list[tuple[int, Box]] = field(default_factory=list)
    warm: dict[int, Box] = field(default_factory=dict)

    def annotation(self, image_id: str) -> Annotation:
        every = [*self.objects, *self.difficult]
        labels, boxes = ([one[part] for one in every] for part in (0, 1))
        flags = [False] * len(self.objects) + [True] * len(self.difficult)
        annotation = annotate(boxes, labels, flags, image_id)  # type: ignore[arg-type]
        return replace(annotation, image_size=SIZE)

    def maps(self) -> Tensor:
        """``[2, 40, 60]`` logits: 4 where hot, -1 where warm (3/8 of the range), -4 elsewhere."""
        maps = torch.full((2, *SIZE), -4.0)
        for value, boxes in ((-1, self.warm), (4, self.hot)):
            for label, (x1, y1, x2, y2) in boxes.items():
                maps[label, y1:y2, x1:x2] = value
        return maps


@dataclass(frozen=True)
class Drawn:
    """Heatmaps in place of images."""

    images: tuple[Image, ...]
    multiple: int = 1

    def __len__(self) -> int:
        return len(self.images)

    def sample(self, index: int, *, flipped: bool) -> ImageSample:
        maps = self.images[index].maps()
        labels = torch.zeros(2)
        return ImageSample("", maps.flip(-1) if flipped else maps, labels, labels, SIZE)

    def prepare(self, batch: ImageBatch, device: Device) -> ImageBatch:
        return batch


def evaluate_localizer(
    model: LocalizerHead,
    inputs: Sequence[Samples],
    dataset: ImageSet,
    boxes: BoxSettings,
    **options: Any,
) -> Evaluation:
    return split.evaluate(LocalizerPredictions(model, inputs, dataset, CPU, boxes, **options))


def evaluate(
    *images: Image, proposals: Mapping[str, Proposals] | None = None, **boxes: Any
) -> Evaluation:
    annotations = [image.annotation(f"{number}") for number, image in enumerate(images)]
    dataset = image_set(annotations, ("cat", "dog"))
    model = LocalizerHead(nn.Identity(), nn.Sequential(), Geometry(1, 0), LocalizerSettings())
    settings = BoxSettings(**boxes)
    return evaluate_localizer(model, [Drawn(images)], dataset, settings, proposals=proposals)


CAT: Box = (8, 4, 28, 24)
DOG: Box = (30, 10, 50, 30)
ONE_CAT, ONE_DOG = Image([(0, CAT)], {0: CAT}), Image([(1, DOG)], {1: DOG})


def test_heat_on_every_object_and_nowhere_else_reaches_1_everywhere() -> None:
    evaluation = evaluate(ONE_CAT, ONE_DOG)

    names = ("image_map", "f2", "recall", "box_map_area", "corloc", "point_accuracy")
    for name in (*names, "heatmap_coverage"):
        assert evaluation.metrics[name] == 1, name
    assert evaluation.metrics["box_map_11point"] == pytest.approx(1, abs=1e-12)  # 11 times 1/11
    assert evaluation.threshold_curve == dict.fromkeys(CURVE_THRESHOLDS, 1.0)


def test_boxes_are_the_proposals_that_fit_the_heat_and_without_any_the_hot_region() -> None:
    near, far = (9, 4, 28, 24), (40, 30, 60, 40)
    none = Proposals(torch.zeros(0, 4), None)
    given = Proposals(torch.tensor([far, near]).float(), torch.tensor([0.9, 0.5]))

    evaluation = evaluate(ONE_CAT, ONE_DOG, proposals={"0": given, "1": none})

    alone = evaluate(ONE_CAT, ONE_DOG)
    cat, dog = evaluation.detections["0"], evaluation.detections["1"]
    assert cat.boxes[cat.scores.argmax()].tolist() == list(near)
    assert cat.scores.max() == alone.detections["0"].scores.max()  # the image's probability
    assert dog.boxes.equal(alone.detections["1"].boxes)
    for name in ("image_map", "point_accuracy", "heatmap_coverage"):
        assert evaluation.metrics[name] == alone.metrics[name]


def test_a_box_moves_to_the_mean_of_proposals_that_fit_the_heat_alike() -> None:
    around = torch.tensor([(8, 4, 27, 24), (8, 4, 29, 24), (7, 4, 28, 24), (9, 4, 28, 24)]).float()
    fitting = Proposals(around, torch.full((4,), 0.5))

    detections = evaluate(ONE_CAT, proposals={"0": fitting}).detections["0"]

    assert len(detections[detections.labels == 0].boxes) == 1
    best = detections.boxes[detections.labels == 0][0]
    torch.testing.assert_close(best, torch.tensor(CAT).float(), atol=0.1, rtol=0)


def test_scores_are_probabilities_and_detections_lie_on_the_heat_with_that_score() -> None:
    evaluation = evaluate(ONE_CAT, ONE_DOG)

    high, low = 1 / (1 + math.exp(-4)), 1 / (1 + math.exp(4))
    assert evaluation.scores.tolist() == [pytest.approx([high, low]), pytest.approx([low, high])]
    for image_id, label, box in (("0", 0, CAT), ("1", 1, DOG)):
        detections = evaluation.detections[image_id]
        best = detections.scores.argmax()
        assert (detections.boxes[best].tolist(), int(detections.labels[best])) == ([*box], label)
        assert detections.scores[best] == pytest.approx(high)


def test_heat_far_from_the_object_points_and_boxes_wrongly() -> None:
    metrics = evaluate(Image([(0, (0, 0, 10, 10))], {0: (40, 30, 60, 40)})).metrics

    assert metrics["image_map"] == 1
    for name in ("corloc", "point_accuracy", "heatmap_coverage", "box_map_11point"):
        assert metrics[name] == 0


@pytest.mark.parametrize(("gap", "accuracy"), [(17, 1.0), (18, 0.0)])
def test_a_peak_may_miss_its_box_by_18_pixels(gap: int, accuracy: float) -> None:
    left = 14 + gap  # the peak is at the center of this column, half a pixel further
    evaluation = evaluate(Image([(0, (4, 4, 14, 14))], {0: (left, 4, left + 9, 14)}))

    assert evaluation.metrics["point_accuracy"] == accuracy


def test_heat_on_half_of_the_object_covers_half() -> None:
    evaluation = evaluate(Image([(0, (10, 10, 30, 30))], {0: (10, 10, 20, 30)}))

    assert evaluation.metrics["heatmap_coverage"] == 1 / 2


@pytest.mark.parametrize(("threshold", "coverage"), [(1 / 2, 1 / 4), (3 / 8, 3 / 4)])
def test_coverage_counts_cells_from_the_first_threshold_on(
    threshold: float, coverage: float
) -> None:
    image = Image([(0, (10, 10, 30, 30))], {0: (10, 10, 15, 30)}, warm={0: (10, 10, 25, 30)})

    evaluation = evaluate(image, thresholds=(threshold, 1.0))
    assert evaluation.metrics["heatmap_coverage"] == coverage


def test_two_objects_of_one_class_count_one_by_one_for_coverage_and_together_for_the_peak() -> None:
    metrics = evaluate(Image([(0, CAT), (0, (40, 20, 60, 40))], {0: CAT})).metrics

    assert metrics["heatmap_coverage"] == 1 / 2
    assert metrics["point_accuracy"] == 1


def test_the_sharpness_of_a_heatmap_is_its_peak_over_its_mean() -> None:
    ratio = evaluate(ONE_CAT).metrics["peak_mean_ratio"]

    assert ratio == pytest.approx(40 * 60 / (20 * 20), rel=1e-6)


def test_difficult_objects_and_absent_classes_count_nowhere() -> None:
    alone = evaluate(ONE_CAT)
    evaluation = evaluate(replace(ONE_CAT, difficult=[(1, DOG)]))

    assert alone.metrics == pytest.approx(evaluation.metrics, nan_ok=True)
    for per_class in (alone.per_class, evaluation.per_class):
        assert set(per_class["dog"].values()) == {None}
        assert per_class["cat"]["corloc"] == 1


def test_without_any_object_every_mean_is_nan() -> None:
    evaluation = evaluate(Image([], {0: CAT}))

    means = [*evaluation.metrics.values(), *evaluation.threshold_curve.values()]
    assert all(math.isnan(value) for value in means)


def test_a_constant_heatmap_gives_no_boxes_and_no_coverage() -> None:
    evaluation = evaluate(Image([(0, CAT)], {}))

    assert len(evaluation.detections["0"].boxes) == 0
    assert (evaluation.metrics["corloc"], evaluation.metrics["heatmap_coverage"]) == (0, 0)
    assert math.isnan(evaluation.metrics["peak_mean_ratio"])


def test_regions_below_the_least_size_are_no_boxes() -> None:
    assert evaluate(ONE_CAT, min_cells=20 * 20 + 1).metrics["corloc"] == 0


# A model's own state


@pytest.fixture
def dataset(tiny_voc: Path) -> ImageSet:
    return VOCSource(tiny_voc, classes=SYNTHETIC_CLASSES).open("val")


@pytest.fixture
def model(rng: torch.Generator) -> Localizer:
    """In training, but for one layer."""
    model = build_localizer(
        LocalizerSettings("squeezenet1_1", robust=True), len(SYNTHETIC_CLASSES)
    ).train()
    next(model.features.children()).eval()
    return model


def modes(model: nn.Module) -> dict[str, bool]:
    return {name: module.training for name, module in model.named_modules()}


def test_an_evaluation_draws_nothing_and_gives_every_module_its_own_mode_back(
    dataset: ImageSet, model: Localizer
) -> None:
    before, state = modes(model), torch.get_rng_state()
    samples = [PixelSamples(dataset, model.backbone, 64, "square")]
    first, second = (evaluate_localizer(model, samples, dataset, BoxSettings()) for _ in range(2))

    assert torch.get_rng_state().equal(state)
    assert (first.scores == second.scores).all()
    assert modes(model) == before
    assert set(before.values()) == {True, False}
    with evaluation_mode(model):
        assert set(modes(model).values()) == {False}
    assert list(first.detections) == dataset.ids  # every image is in its place
    assert first.scores.shape == (len(dataset), len(SYNTHETIC_CLASSES))
    assert len({tuple(row) for row in first.scores.tolist()}) == len(dataset)


def test_a_stopped_evaluation_gives_the_modes_back_too(dataset: ImageSet, model: Localizer) -> None:
    before = modes(model)
    install_signal_handlers()
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(Interrupted):
        evaluate_localizer(model, [], dataset, BoxSettings())

    assert modes(model) == before


def test_the_maps_are_of_the_first_size_and_the_scores_of_all(
    dataset: ImageSet, model: Localizer
) -> None:
    model.eval()
    scales = [PixelSamples(dataset, model.backbone, size, "square") for size in (64, 96)]
    small, large, both = (
        LocalizerPredictions(model, part, dataset, CPU, BoxSettings()).heatmaps(0)
        for part in (scales[:1], scales[1:], scales)
    )

    assert both.logits.equal(small.logits)
    assert both.network_size == (64, 64)
    torch.testing.assert_close(
        both.image_logits, (small.image_logits + large.image_logits) / 2, rtol=0, atol=1e-6
    )
    assert not small.image_logits.allclose(large.image_logits)
