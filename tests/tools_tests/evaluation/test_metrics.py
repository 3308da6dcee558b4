"""Numbers of a split from image scores and detections."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from data.datasets.image_set import ImageSet
from data.types import Detections, no_detections
from tests.worlds import annotate, detect, image_set
from tools.evaluation.metrics import Evaluation, summarize

LEFT, RIGHT = [0.0, 0.0, 40.0, 100.0], [60.0, 0.0, 100.0, 100.0]


def dataset_of(*objects: Sequence[tuple[int, list[float]]]) -> ImageSet:
    """Cats (0) and dogs (1) in images ``0``, ``1`` ..."""
    annotations = [
        annotate([box for _, box in one], [label for label, _ in one], image_id=f"{number}")
        for number, one in enumerate(objects)
    ]
    return image_set(annotations, ("cat", "dog"))


CAT_ON_THE_LEFT = dataset_of([(0, LEFT)])


def summary(
    dataset: ImageSet,
    *detections: Detections,
    top_scoring: Detections | None = None,
    **others: Any,
) -> Evaluation:
    by_image = {f"{number}": of_image for number, of_image in enumerate(detections)}
    best = by_image if top_scoring is None else {"0": top_scoring}
    return summarize(dataset, np.full((len(dataset), 2), 0.5), by_image, best, **others)


def test_recall_of_boxes_is_the_fraction_of_objects_that_some_detection_hits() -> None:
    dataset = dataset_of([(0, LEFT), (0, RIGHT), (1, LEFT)], [(0, LEFT)])

    result = summary(
        dataset, detect([RIGHT, LEFT], [0.9, 1e-3], [0, 1]), detect([RIGHT], [0.5], [0])
    )

    assert result.per_class["cat"]["box_recall"] == 1 / 3
    assert result.per_class["dog"]["box_recall"] == 1
    assert result.metrics["box_recall"] == (1 / 3 + 1) / 2


def test_an_object_that_is_hit_twice_counts_once() -> None:
    result = summary(dataset_of([(0, LEFT), (0, RIGHT)]), detect([LEFT, LEFT], [0.9, 0.8], [0, 0]))

    assert result.metrics["box_recall"] == 1 / 2
    assert result.metrics["errors_hit"] == result.metrics["errors_duplicate"] == 1 / 2


def test_every_kind_of_error_is_a_number_of_each_class_and_a_mean() -> None:
    part = [0.0, 0.0, 20.0, 40.0]

    result = summary(
        dataset_of([(0, LEFT), (1, LEFT)]),
        detect([LEFT, part], [0.9, 0.8], [0, 1]),
    )

    names = ("hit", "duplicate", "part", "group", "localization", "background")
    assert [result.per_class["cat"][f"errors_{name}"] for name in names] == [1, 0, 0, 0, 0, 0]
    assert [result.per_class["dog"][f"errors_{name}"] for name in names] == [0, 0, 1, 0, 0, 0]
    assert [result.metrics[f"errors_{name}"] for name in names] == [1 / 2, 0, 1 / 2, 0, 0, 0]


def test_corloc_is_that_of_the_top_scoring_boxes_and_ap_that_of_the_detections() -> None:
    result = summary(CAT_ON_THE_LEFT, no_detections(), top_scoring=detect([LEFT], [1e-9]))

    assert result.metrics["corloc"] == 1
    assert result.metrics["box_map_area"] == 0


def test_an_absent_class_has_no_numbers() -> None:
    result = summary(CAT_ON_THE_LEFT, detect([LEFT], [0.5]))

    for name in ("corloc", "box_recall", "errors_hit"):
        assert result.per_class["dog"][name] is None
    assert result.metrics["corloc"] == 1


def test_numbers_of_heatmaps_and_the_curve_are_in_the_evaluation_of_a_model_that_has_them() -> None:
    heatmaps = {"point_accuracy": np.array([0.25, math.nan])}

    result = summary(
        CAT_ON_THE_LEFT, no_detections(), heatmaps=heatmaps, threshold_curve={0.5: 0.75}
    )

    assert result.metrics["point_accuracy"] == 0.25
    assert result.per_class["dog"]["point_accuracy"] is None
    assert result.threshold_curve == {0.5: 0.75}
    assert "heatmap_coverage" not in result.metrics
    assert "point_accuracy" not in summary(CAT_ON_THE_LEFT, no_detections()).metrics


def test_detections_on_images_whose_boxes_are_unknown_have_no_numbers() -> None:
    result = summary(dataset_of([]), detect([LEFT], [0.5]))

    assert math.isnan(result.metrics["box_map_area"])
    assert result.per_class["cat"]["errors_hit"] is None


def test_the_loss_of_the_image_scores_is_a_number_of_each_class() -> None:
    result = summary(CAT_ON_THE_LEFT, no_detections())

    assert [result.per_class[name]["image_loss"] for name in ("cat", "dog")] == [math.log(2), None]
    assert result.metrics["image_loss"] == math.log(2)


def test_accuracy_and_its_curve_among_the_highest_scores_are_numbers_of_each_class() -> None:
    scores = np.array([[0.75, 0.25], [0.25, 0.25]])

    result = summarize(dataset_of([(0, LEFT)], [(1, LEFT)]), scores, {}, {})

    assert [result.per_class[name]["accuracy"] for name in ("cat", "dog")] == [1, 1 / 2]
    assert [result.per_class[name]["tail_accuracy"] for name in ("cat", "dog")] == [1, None]
    assert result.metrics["tail_accuracy"] == 1
    assert list(result.tail_accuracy_curve) == ["cat"]
    assert result.tail_accuracy_curve["cat"]["above"] == [1] * 9 + [0]


def test_images_with_one_object_and_with_several_have_numbers_of_their_own() -> None:
    dataset = dataset_of([(0, LEFT)], [(0, LEFT), (0, RIGHT)], [(1, LEFT)])

    result = summary(
        dataset,
        detect([RIGHT], [0.9], [0]),
        detect([LEFT], [0.8], [0]),
        detect([RIGHT, LEFT], [0.1, 0.2], [0, 1]),
    )

    cat, dog = result.per_class["cat"], result.per_class["dog"]
    assert [cat[f"{name}_one"] for name in ("box_map_area", "corloc")] == [0, 0]
    assert [cat[f"{name}_several"] for name in ("box_map_area", "corloc")] == [1 / 2, 1]
    assert [dog[f"{name}_one"] for name in ("box_map_area", "corloc")] == [1, 1]
    assert [dog[f"{name}_several"] for name in ("box_map_area", "corloc")] == [None, None]
    assert result.metrics["box_map_area_one"] == result.metrics["corloc_one"] == 1 / 2
    assert result.metrics["corloc_several"] == 1
