"""A detector on a split, with a network that says what it was told; every number by hand."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from data.datasets.image_set import ImageSet
from data.datasets.voc import image_level_labels
from data.types import Annotation, Detections, ImageBatch, ImageSample, Proposals, no_detections
from localizer.backbones import Geometry
from tools.cli.signals import Interrupted
from tools.evaluation.detector import evaluate_detector
from tools.evaluation.metrics import Evaluation, summarize
from tools.inputs.rois import WithProposals
from tools.models.device import Device
from tools.prediction.detector import scores_of
from wsddn.model import WSDDNHead, WSDDNOutput

CPU = Device("cpu", "off")
SIZE = (100, 100)
CLASSES = ("cat", "dog")

LEFT, RIGHT = [0.0, 0.0, 40.0, 100.0], [60.0, 0.0, 100.0, 100.0]
LOW = -40.0  # a class logit whose probability is 4e-18
Row = tuple[float, float]


@dataclass(frozen=True)
class Image:
    """Objects with their labels, proposals, and what the network will say of each proposal."""

    objects: list[tuple[int, list[float]]]
    proposals: list[list[float]]
    class_logits: list[Row]
    detection_logits: list[Row]
    flipped_logits: list[Row] | None = None

    def annotation(self, name: str) -> Annotation:
        boxes = torch.tensor([box for _, box in self.objects]).reshape(-1, 4)
        labels = torch.tensor([label for label, _ in self.objects], dtype=torch.int64)
        flags = torch.zeros(len(labels), dtype=torch.bool)
        return Annotation(name, SIZE, boxes, labels, flags, flags)


@dataclass(frozen=True)
class Numbered:
    """In place of images two values: their number from ``first`` on, and 1 if flipped."""

    images: list[Image]
    first: int = 0
    multiple: int = 1

    def __len__(self) -> int:
        return len(self.images)

    def sample(self, index: int, *, flipped: bool) -> ImageSample:
        features, labels = torch.tensor([[[self.first + index, flipped]]]).float(), torch.zeros(2)
        return ImageSample(f"{index:06d}", features, labels, labels, SIZE)

    def prepare(self, batch: ImageBatch, device: Device) -> ImageBatch:
        return batch


class Told(WSDDNHead):
    """Says of each image what stands in it."""

    def __init__(self, images: list[Image]) -> None:
        super().__init__(1, Geometry(1, 0), 2, width=1, pool_size=1)
        self.images = images

    def forward(
        self, features: Tensor, rois: Tensor, roi_scores: Tensor | None = None
    ) -> WSDDNOutput:
        index, is_flipped = features[0, 0, 0].int().tolist()
        image = self.images[index]
        told = image.class_logits
        if is_flipped and image.flipped_logits is not None:
            told = image.flipped_logits
        class_logits, detection_logits = (
            torch.tensor(rows).reshape(-1, 2) for rows in (told, image.detection_logits)
        )
        assert len(class_logits) == len(rois)
        return WSDDNOutput(class_logits, detection_logits, torch.zeros(len(rois), 1))


def opened(images: list[Image]) -> tuple[list[WithProposals], ImageSet]:
    annotations = [image.annotation(f"{k:06d}") for k, image in enumerate(images)]
    found = {
        annotation.image_id: Proposals(torch.tensor(image.proposals).reshape(-1, 4), None)
        for annotation, image in zip(annotations, images, strict=True)
    }
    dataset = ImageSet(
        "test",
        CLASSES,
        [Path(f"{annotation.image_id}.jpg") for annotation in annotations],
        annotations,
        [image_level_labels(annotation, 2) for annotation in annotations],
    )
    return [WithProposals(Numbered(images), found, [SIZE] * len(images))], dataset


def evaluate(images: list[Image], *, flip: bool = False) -> Evaluation:
    return evaluate_detector(Told(images), *opened(images), CPU, flip=flip)


def cat_on_the_left(class_logits: list[Row], detection_logits: list[Row]) -> Image:
    return Image([(0, LEFT)], [LEFT, RIGHT], class_logits, detection_logits)


UNDECIDED = cat_on_the_left([(0, 0), (0, 0)], [(0, 0), (0, 0)])
SURE = cat_on_the_left([(-LOW, 0), (-LOW, 0)], [(-LOW, 0), (0, 0)])  # a cat, and it is left
WRONG = cat_on_the_left([(-LOW, 0), (-LOW, 0)], [(0, 0), (-LOW, 0)])  # a cat, and it is right
EMPTY = Image([(0, LEFT)], [], [], [], [])


# Scores of images and proposals


def test_a_score_is_the_fraction_of_the_class_times_the_fraction_of_the_proposal() -> None:
    logits = [(math.log(3), 0.0), (0.0, 0.0)]
    images = [cat_on_the_left(logits, logits)]
    scales, _ = opened(images)

    scores = scores_of(Told(images), scales, 0, CPU, flip=False)

    # cat is 3/4 and 1/2, and 3/4 and 1/4 of it; dog is 1/4 and 1/2, and half of it each
    torch.testing.assert_close(scores, torch.tensor([[9 / 16, 1 / 8], [1 / 8, 1 / 4]]))


def test_an_images_score_is_the_sum_over_its_proposals() -> None:
    logits = [(math.log(3), 0.0), (0.0, 0.0)]

    found = evaluate([cat_on_the_left(logits, logits), UNDECIDED])

    expected = [[9 / 16 + 1 / 8, 1 / 8 + 1 / 4], [1 / 2, 1 / 2]]
    np.testing.assert_allclose(found.scores, expected, rtol=1e-6)  # float32


def test_with_flip_both_views_are_averaged() -> None:
    one_sided = Image(
        [(0, LEFT)],
        [LEFT, RIGHT],
        class_logits=[(-LOW, 0), (-LOW, 0)],
        detection_logits=[(0, 0), (0, 0)],
        flipped_logits=[(0, 0), (0, 0)],
    )

    upright, both = (evaluate([one_sided], flip=flip).scores[0] for flip in (False, True))

    np.testing.assert_allclose(upright, [1, 0], atol=1e-6)
    np.testing.assert_allclose(both, [3 / 4, 1 / 4], rtol=1e-6)


def test_several_sizes_are_averaged() -> None:
    (first,), dataset = opened([SURE])
    second = WithProposals(Numbered([UNDECIDED], first=1), first.proposals, [SIZE])

    found = evaluate_detector(Told([SURE, UNDECIDED]), [first, second], dataset, CPU, flip=False)

    np.testing.assert_allclose(found.scores, [[3 / 4, 1 / 4]], rtol=1e-6)


# Detections


def test_the_top_scoring_proposal_is_the_first_detection() -> None:
    found = evaluate([SURE]).detections["000000"]

    assert found.boxes[0].tolist() == LEFT
    assert found.labels[0] == 0
    torch.testing.assert_close(found.scores[0], torch.tensor(1.0))


def test_a_detector_that_knows_reaches_1() -> None:
    metrics = evaluate([SURE, SURE]).metrics

    for name in ("image_map", "f2", "recall", "box_map_area", "corloc", "box_recall", "errors_hit"):
        assert metrics[name] == 1, name
    assert metrics["box_map_11point"] == pytest.approx(1, abs=1e-15)  # eleven times 1 / 11


def test_a_detector_that_looks_away_knows_the_class_alone() -> None:
    metrics = evaluate([WRONG]).metrics

    assert metrics["image_map"] == 1
    assert metrics["corloc"] == metrics["box_map_area"] == metrics["box_recall"] == 0
    assert metrics["errors_background"] == 1


def test_scores_below_the_least_are_no_detections() -> None:
    unlikely = cat_on_the_left([(LOW, 0), (LOW, 0)], [(5, 0), (0, 0)])

    found = evaluate([unlikely])

    assert found.detections["000000"].labels.tolist() == [1, 1]  # dogs, of 1/2 each
    assert found.metrics["box_map_area"] == 0


def test_corloc_takes_the_top_scoring_proposal_whatever_its_score() -> None:
    left, right = (
        cat_on_the_left([(LOW, 0), (LOW, 0)], [(first, 0), (5 - first, 0)]) for first in (5, 0)
    )

    assert evaluate([left]).metrics["corloc"] == 1
    assert evaluate([right]).metrics["corloc"] == 0


def test_of_two_overlapping_proposals_of_a_class_the_better_stays() -> None:
    within = [0.0, 0.0, 40.0, 90.0]
    image = Image([(0, LEFT)], [within, LEFT], [(9, 0), (9, 0)], [(0, 0), (1, 0)])

    found = evaluate([image]).detections["000000"]

    assert found.boxes[found.labels == 0].tolist() == [LEFT]


def test_with_support_two_that_agree_outweigh_a_surer_one() -> None:
    near = [0.0, 0.0, 40.0, 90.0]
    logits = [(math.log(3), 0.0), (math.log(3), 0.0), (math.log(4), 0.0)]
    image = Image([(0, LEFT)], [LEFT, near, RIGHT], [(-LOW, 0)] * 3, logits)

    alone, together = (
        evaluate_detector(Told([image]), *opened([image]), CPU, flip=False, support_iou=support_iou)
        for support_iou in (0.0, 0.5)
    )

    assert (alone.metrics["corloc"], together.metrics["corloc"]) == (0, 1)
    first = together.detections["000000"]
    torch.testing.assert_close(first.boxes[0], torch.tensor([0.0, 0.0, 40.0, 95.0]))  # their mean
    torch.testing.assert_close(first.scores[0], torch.tensor(0.3 + 0.9 * 0.3))


def test_weights_decide_between_equal_proposals() -> None:
    def on_the_left(index: int, boxes: Tensor) -> Tensor:
        assert index == 0
        return (boxes == torch.tensor(LEFT)).all(dim=1).float()[:, None].expand(-1, 2)

    model, (scales, dataset) = Told([UNDECIDED]), opened([UNDECIDED])
    found = evaluate_detector(model, scales, dataset, CPU, flip=False, rescoring=on_the_left)
    assert found.detections["000000"].boxes.tolist() == [LEFT, LEFT]
    assert found.metrics["corloc"] == 1
    without = evaluate([UNDECIDED])
    assert (found.scores == without.scores).all()
    assert len(without.detections["000000"].boxes) == 4


# No proposals


def test_an_image_without_proposals_has_no_detections_and_scores_of_0() -> None:
    found = evaluate([SURE, EMPTY], flip=True)

    assert found.scores[1].tolist() == [0, 0]
    assert found.detections["000001"].boxes.shape == (0, 4)


def test_an_image_without_proposals_is_missed_and_leaves_no_gap_in_the_numbers() -> None:
    metrics = evaluate([SURE, EMPTY]).metrics

    assert metrics["corloc"] == metrics["box_map_area"] == metrics["box_recall"] == 1 / 2
    assert not any(math.isnan(value) for value in metrics.values())


def test_images_without_any_proposal_are_evaluated() -> None:
    found = evaluate([EMPTY])

    assert found.scores.tolist() == [[0, 0]]
    assert found.metrics["corloc"] == found.metrics["box_map_area"] == 0


# Modes and stops


def test_every_module_gets_its_own_mode_back() -> None:
    model = Told([UNDECIDED]).train()
    model.fc7.eval()
    modes = []
    model.register_forward_pre_hook(lambda module, _: modes.append(module.training))

    evaluate_detector(model, *opened([UNDECIDED]), CPU, flip=False)

    assert modes == [False]
    assert model.training
    assert not model.fc7.training
    assert model.fc6.training


def test_a_stopped_evaluation_gives_the_modes_back_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop() -> None:
        raise Interrupted(15)

    monkeypatch.setattr("tools.evaluation.detector.check_interrupted", stop)
    model = Told([UNDECIDED]).train()

    with pytest.raises(Interrupted):
        evaluate_detector(model, *opened([UNDECIDED]), CPU, flip=False)
    assert all(module.training for module in model.modules())


def test_an_evaluation_of_a_detector_in_training_drops_nothing(rng: torch.Generator) -> None:
    model = WSDDNHead(1, Geometry(1, 0), 2, width=8, pool_size=1).train()
    before = rng.get_state()

    first, again = (evaluate_detector(model, *opened([SURE]), CPU, flip=True) for _ in range(2))

    assert first.scores.tolist() == again.scores.tolist()
    assert rng.get_state().equal(before)


def test_a_score_that_is_not_finite_is_refused() -> None:
    broken = cat_on_the_left([(math.nan, 0), (0, 0)], [(0, 0), (0, 0)])

    with pytest.raises(ValueError, match="score is not finite"):
        evaluate([broken])


# Numbers of a split


def dataset_of(*objects: Sequence[tuple[int, list[float]]]) -> ImageSet:
    return opened([Image(list(of_image), [], [], []) for of_image in objects])[1]


def detect(boxes: list[list[float]], labels: list[int], scores: list[float]) -> Detections:
    return Detections(
        torch.tensor(boxes).reshape(-1, 4), torch.tensor(labels), torch.tensor(scores)
    )


def summary(
    dataset: ImageSet, found: dict[str, Detections], top_scoring: Any = None, **others: Any
) -> Evaluation:
    return summarize(
        dataset,
        np.full((len(dataset), 2), 0.5),
        found,
        found if top_scoring is None else top_scoring,
        **others,
    )


def test_recall_of_boxes_is_the_fraction_of_objects_that_some_detection_hits() -> None:
    dataset = dataset_of([(0, LEFT), (0, RIGHT), (1, LEFT)], [(0, LEFT)])
    found = {
        "000000": detect([RIGHT, LEFT], [0, 1], [0.9, 1e-3]),
        "000001": detect([RIGHT], [0], [0.5]),
    }

    result = summary(dataset, found)

    assert result.per_class["cat"]["box_recall"] == 1 / 3
    assert result.per_class["dog"]["box_recall"] == 1
    assert result.metrics["box_recall"] == (1 / 3 + 1) / 2


def test_an_object_that_is_hit_twice_counts_once() -> None:
    dataset = dataset_of([(0, LEFT), (0, RIGHT)])

    result = summary(dataset, {"000000": detect([LEFT, LEFT], [0, 0], [0.9, 0.8])})

    assert result.metrics["box_recall"] == 1 / 2
    assert result.metrics["errors_hit"] == result.metrics["errors_duplicate"] == 1 / 2


def test_every_kind_of_error_is_a_number_of_each_class_and_a_mean() -> None:
    dataset = dataset_of([(0, LEFT), (1, LEFT)])
    part = [0.0, 0.0, 20.0, 40.0]

    result = summary(dataset, {"000000": detect([LEFT, part], [0, 1], [0.9, 0.8])})

    names = ("hit", "duplicate", "part", "group", "localization", "background")
    assert [result.per_class["cat"][f"errors_{name}"] for name in names] == [1, 0, 0, 0, 0, 0]
    assert [result.per_class["dog"][f"errors_{name}"] for name in names] == [0, 0, 1, 0, 0, 0]
    assert [result.metrics[f"errors_{name}"] for name in names] == [1 / 2, 0, 1 / 2, 0, 0, 0]


def test_corloc_is_that_of_the_top_scoring_boxes_and_ap_that_of_the_detections() -> None:
    dataset = dataset_of([(0, LEFT)])
    top_scoring = {"000000": detect([LEFT], [0], [1e-9])}

    result = summary(dataset, {"000000": no_detections()}, top_scoring)

    assert result.metrics["corloc"] == 1
    assert result.metrics["box_map_area"] == 0


def test_an_absent_class_has_no_numbers() -> None:
    result = summary(dataset_of([(0, LEFT)]), {"000000": detect([LEFT], [0], [0.5])})

    assert all(result.per_class["dog"][name] is None for name in ("corloc", "box_recall"))
    assert result.per_class["dog"]["errors_hit"] is None
    assert result.metrics["corloc"] == 1


def test_further_numbers_and_the_curve_go_into_the_evaluation() -> None:
    result = summary(
        dataset_of([(0, LEFT)]),
        {"000000": no_detections()},
        further={"heatmap": np.array([0.25, math.nan])},
        threshold_curve={0.5: 0.75},
    )

    assert result.metrics["heatmap"] == 0.25
    assert result.per_class["dog"]["heatmap"] is None
    assert result.threshold_curve == {0.5: 0.75}


def test_detections_on_images_whose_boxes_are_unknown_have_no_numbers() -> None:
    result = summary(dataset_of([]), {"000000": detect([LEFT], [0], [0.5])})

    assert math.isnan(result.metrics["box_map_area"])
    assert result.per_class["cat"]["errors_hit"] is None
