"""The types that the packages exchange."""

from data.types import no_detections
from tests.worlds import detect


def test_detections_are_ordered_by_score_and_equal_ones_stay_in_their_order() -> None:
    detections = detect([[k, 0, 9, 9] for k in range(4)], [0.5, 0.75, 0.5, 0.25], [3, 2, 1, 0])

    best = detections.best_first()

    assert best.scores.tolist() == [0.75, 0.5, 0.5, 0.25]
    assert best.boxes[:, 0].tolist() == [1, 0, 2, 3]
    assert best.labels.tolist() == [2, 3, 1, 0]
    assert no_detections().best_first().boxes.shape == (0, 4)
