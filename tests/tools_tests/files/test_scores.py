"""Scores ranked class by class; that reading checks them is tested with the gallery."""

import numpy as np

from tools.files.scores import rank_scores


def test_each_class_has_its_images_from_the_highest_to_the_lowest_score() -> None:
    names, scores = rank_scores(["a", "b", "c"], np.array([[0.5, 0.1], [0.25, 0.3], [0.75, 0.2]]))

    assert names.tolist() == [["c", "a", "b"], ["b", "c", "a"]]
    assert scores.tolist() == [[0.75, 0.5, 0.25], [0.3, 0.2, 0.1]]


def test_images_of_equal_score_keep_their_order() -> None:
    names, _ = rank_scores(["b", "a", "c"], np.array([[0.5], [0.5], [0.75]]))

    assert names.tolist() == [["c", "b", "a"]]


def test_no_images_and_no_classes_have_an_empty_rank() -> None:
    for count, classes in ((0, 2), (2, 0)):
        names, scores = rank_scores(["a", "b"][:count], np.zeros((count, classes)))
        assert names.shape == scores.shape == (classes, count)
