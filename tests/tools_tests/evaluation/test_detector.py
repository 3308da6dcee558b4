"""A detector on a split, with a network that says what it was told; every number by hand."""

import math
import signal
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from data.datasets.image_set import ImageSet
from data.types import Detections, ImageBatch, ImageSample, Proposals
from localizer.backbones import Geometry
from tests.worlds import annotate, image_set
from tools.cli.signals import Interrupted, install_signal_handlers
from tools.evaluation import split
from tools.evaluation.metrics import Evaluation
from tools.inputs.rois import WithProposals
from tools.models.device import Device
from tools.prediction.predictions import Detector, DetectorPredictions, Rescoring
from wsddn.model import WSDDNHead, WSDDNOutput
from wsddn.settings import DetectorSettings

CPU = Device("cpu", "off")
SIZE = (100, 100)

LEFT, RIGHT = [0.0, 0.0, 40.0, 100.0], [60.0, 0.0, 100.0, 100.0]
LOW = -40.0  # a class logit whose probability is 4e-18
Row = tuple[float, float]


@dataclass(frozen=True)
class Image:
    """A cat on the left, proposals, and what the network will say of each proposal."""

    class_logits: list[Row]
    detection_logits: list[Row]
    proposals: tuple[list[float], ...] = (LEFT, RIGHT)
    flipped_logits: list[Row] | None = None


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
        return ImageSample(f"{index}", features, labels, labels, SIZE)

    def prepare(self, batch: ImageBatch, device: Device) -> ImageBatch:
        return batch


class Told(WSDDNHead):
    """Gives each image its own logits."""

    def __init__(self, images: list[Image]) -> None:
        super().__init__(1, Geometry(1, 0), 2, DetectorSettings(width=1, pool_size=1))
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
    annotations = [annotate([LEFT], image_id=f"{number}") for number in range(len(images))]
    proposals = {
        f"{number}": Proposals(torch.tensor(image.proposals).reshape(-1, 4), None)
        for number, image in enumerate(images)
    }
    samples = WithProposals(Numbered(images), proposals, [SIZE] * len(images))
    return [samples], image_set(annotations, ("cat", "dog"))


def evaluate_detector(
    model: WSDDNHead,
    inputs: Sequence[WithProposals],
    dataset: ImageSet,
    *,
    flip: bool = False,
    support_iou: float = 0.0,
    rescorings: Sequence[Rescoring] = (),
) -> Evaluation:
    detector = Detector(model, inputs, dataset, CPU, flip)
    return split.evaluate(DetectorPredictions([detector], support_iou, rescorings))


def evaluate(*images: Image, flip: bool = False, support_iou: float = 0.0) -> Evaluation:
    told = list(images)
    return evaluate_detector(Told(told), *opened(told), flip=flip, support_iou=support_iou)


def detections_on(image: Image) -> Detections:
    return evaluate(image).detections["0"]


UNDECIDED = Image([(0, 0), (0, 0)], [(0, 0), (0, 0)])
RIGHT_ANSWER = Image([(-LOW, 0), (-LOW, 0)], [(-LOW, 0), (0, 0)])  # a cat, and it is left
WRONG_PLACE = Image([(-LOW, 0), (-LOW, 0)], [(0, 0), (-LOW, 0)])  # a cat, and it is right
EMPTY = Image([], [], ())
THIRDS: list[Row] = [(math.log(3), 0.0), (0.0, 0.0)]


# Scores of images and proposals


def test_a_score_is_the_fraction_of_the_class_times_the_fraction_of_the_proposal() -> None:
    images = [Image(THIRDS, THIRDS)]

    scored = Detector(Told(images), *opened(images), CPU, flip=False).score(0)

    # cat is 3/4 and 1/2, and 3/4 and 1/4 of it; dog is 1/4 and 1/2, and half of it each
    torch.testing.assert_close(scored.scores, torch.tensor([[9 / 16, 1 / 8], [1 / 8, 1 / 4]]))


def test_an_images_score_is_the_sum_over_its_proposals() -> None:
    evaluation = evaluate(Image(THIRDS, THIRDS), UNDECIDED)

    expected = [[9 / 16 + 1 / 8, 1 / 8 + 1 / 4], [1 / 2, 1 / 2]]
    np.testing.assert_allclose(evaluation.scores, expected, rtol=1e-6)  # float32


def test_with_flip_both_views_are_averaged() -> None:
    zeros: list[Row] = [(0, 0), (0, 0)]
    one_sided = Image([(-LOW, 0), (-LOW, 0)], zeros, flipped_logits=zeros)

    upright, both = (evaluate(one_sided, flip=flip).scores[0] for flip in (False, True))

    np.testing.assert_allclose(upright, [1, 0], atol=1e-6)
    np.testing.assert_allclose(both, [3 / 4, 1 / 4], rtol=1e-6)


def test_several_sizes_are_averaged() -> None:
    (first,), dataset = opened([RIGHT_ANSWER])
    second = WithProposals(Numbered([UNDECIDED], first=1), first.proposals, [SIZE])
    model = Told([RIGHT_ANSWER, UNDECIDED])

    evaluation = evaluate_detector(model, [first, second], dataset, flip=False)

    np.testing.assert_allclose(evaluation.scores, [[3 / 4, 1 / 4]], rtol=1e-6)


# Detections


def test_a_detector_that_knows_reaches_1() -> None:
    evaluation = evaluate(RIGHT_ANSWER, RIGHT_ANSWER)

    first = evaluation.detections["0"]
    assert (first.boxes[0].tolist(), int(first.labels[0])) == (LEFT, 0)
    torch.testing.assert_close(first.scores[0], torch.tensor(1.0))
    for name in ("image_map", "f2", "recall", "box_map_area", "corloc", "box_recall", "errors_hit"):
        assert evaluation.metrics[name] == 1, name
    assert evaluation.metrics["box_map_11point"] == pytest.approx(1, abs=1e-15)  # 11 times 1 / 11


def test_a_detector_that_looks_away_knows_the_class_alone() -> None:
    metrics = evaluate(WRONG_PLACE).metrics

    assert metrics["image_map"] == 1
    assert metrics["corloc"] == metrics["box_map_area"] == metrics["box_recall"] == 0
    assert metrics["errors_background"] == 1


def test_scores_below_the_least_are_no_detections_and_corloc_takes_them() -> None:
    left, right = (
        evaluate(Image([(LOW, 0), (LOW, 0)], [(first, 0), (5 - first, 0)])) for first in (5, 0)
    )

    assert left.detections["0"].labels.tolist() == [1, 1]  # dogs, of 1/2 each
    assert left.metrics["box_map_area"] == 0
    assert (left.metrics["corloc"], right.metrics["corloc"]) == (1, 0)


def test_of_two_overlapping_proposals_of_a_class_the_better_is_kept() -> None:
    within = [0.0, 0.0, 40.0, 90.0]

    detections = detections_on(Image([(9, 0), (9, 0)], [(0, 0), (1, 0)], (within, LEFT)))

    assert detections.boxes[detections.labels == 0].tolist() == [LEFT]


def test_with_support_two_that_agree_outweigh_one_of_a_higher_score() -> None:
    near = [0.0, 0.0, 40.0, 90.0]
    logits = [(math.log(3), 0.0), (math.log(3), 0.0), (math.log(4), 0.0)]
    image = Image([(-LOW, 0)] * 3, logits, (LEFT, near, RIGHT))

    alone, together = (evaluate(image, support_iou=support_iou) for support_iou in (0.0, 0.5))

    assert (alone.metrics["corloc"], together.metrics["corloc"]) == (0, 1)
    first = together.detections["0"]
    torch.testing.assert_close(first.boxes[0], torch.tensor([0.0, 0.0, 40.0, 95.0]))  # their mean
    torch.testing.assert_close(first.scores[0], torch.tensor(0.3 + 0.9 * 0.3))


def weights_of(left: float, right: float) -> Rescoring:
    """A localizer that prefers one side."""

    def rescore(index: int, proposals: Proposals) -> tuple[Tensor, Tensor]:
        assert (index, proposals.boxes.tolist()) == (0, [LEFT, RIGHT])
        return torch.tensor([[left] * 2, [right] * 2]).float(), torch.zeros(2, 2)

    return rescore


@pytest.mark.parametrize(
    "rescorings",
    [[weights_of(1, 0)], [weights_of(1, 0), weights_of(0.5, 0)]],
    ids=["one localizer", "two"],
)
def test_weights_decide_between_equal_proposals(rescorings: list[Rescoring]) -> None:
    model, opened_images = Told([UNDECIDED]), opened([UNDECIDED])
    evaluation = evaluate_detector(model, *opened_images, rescorings=rescorings)

    assert evaluation.detections["0"].boxes.tolist() == [LEFT, LEFT]
    assert evaluation.metrics["corloc"] == 1
    without = evaluate(UNDECIDED)
    assert (evaluation.scores == without.scores).all()
    assert len(without.detections["0"].boxes) == 4


def test_several_detectors_and_several_localizers_are_averaged() -> None:
    images = ([UNDECIDED], [Image(THIRDS, THIRDS)])
    first, second = (Detector(Told(told), *opened(told), CPU, flip=False) for told in images)
    alone, other = first.score(0), second.score(0)

    both = DetectorPredictions([first, second], rescorings=[weights_of(1, 0), weights_of(0, 1)])

    mean = (alone.scores + other.scores) / 2
    torch.testing.assert_close(both.score(0).scores, mean)
    classes = (alone.class_probabilities + other.class_probabilities) / 2
    torch.testing.assert_close(both.score(0).class_probabilities, classes)
    # weights of 1/2 each on both proposals move nothing
    torch.testing.assert_close(both[0].top1.scores, mean.amax(dim=0))


def test_an_image_without_proposals_is_missed_and_leaves_no_gap_in_the_numbers() -> None:
    evaluation = evaluate(RIGHT_ANSWER, EMPTY, flip=True)

    assert evaluation.scores[1].tolist() == [0, 0]
    assert evaluation.detections["1"].boxes.shape == (0, 4)
    metrics = evaluation.metrics
    assert metrics["corloc"] == metrics["box_map_area"] == metrics["box_recall"] == 1 / 2
    unknown = {name for name, value in metrics.items() if math.isnan(value)}
    assert unknown == {"box_map_area_several", "corloc_several"}  # no image holds two of a class
    assert evaluate(EMPTY).metrics["corloc"] == 0


def test_a_score_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="score is not finite"):
        evaluate(Image([(math.nan, 0), (0, 0)], [(0, 0), (0, 0)]))


# Modes and stops


def test_every_module_gets_its_own_mode_back() -> None:
    model = Told([UNDECIDED]).train()
    model.fc7.eval()
    modes = []
    model.register_forward_pre_hook(lambda module, _: modes.append(module.training))

    evaluate_detector(model, *opened([UNDECIDED]), flip=False)

    assert modes == [False]
    assert (model.training, model.fc7.training, model.fc6.training) == (True, False, True)


def test_a_stopped_evaluation_gives_the_modes_back_too() -> None:
    model = Told([UNDECIDED]).train()
    install_signal_handlers()
    signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted):
        evaluate_detector(model, *opened([UNDECIDED]), flip=False)
    assert all(module.training for module in model.modules())


def test_an_evaluation_of_a_detector_in_training_drops_nothing(rng: torch.Generator) -> None:
    model = WSDDNHead(1, Geometry(1, 0), 2, DetectorSettings(width=8, pool_size=1)).train()
    before = rng.get_state()

    first, again = (evaluate_detector(model, *opened([RIGHT_ANSWER]), flip=True) for _ in range(2))

    assert first.scores.tolist() == again.scores.tolist()
    assert rng.get_state().equal(before)
