"""Scores of proposals and of the image."""

import math

import pytest
import torch

from wsddn.scores import combine_scores, image_scores, log_scores


def test_all_zero_logits_share_the_image_equally() -> None:
    scores = image_scores(combine_scores(torch.zeros(5, 4), torch.zeros(5, 4)))

    torch.testing.assert_close(scores, torch.full((4,), 1 / 4))


def test_one_proposal_takes_its_class_softmax() -> None:
    scores = combine_scores(torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([[7.0, -7.0]]))

    torch.testing.assert_close(scores, torch.tensor([[3 / 4, 1 / 4]]))


def test_the_class_stream_competes_between_classes_the_other_between_proposals() -> None:
    first = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])  # 3/4 1/4; 1/2 1/2
    second = torch.tensor([[math.log(4.0), 0.0], [0.0, 0.0]])  # 4/5 1/2; 1/5 1/2

    scores = combine_scores(first, second)

    torch.testing.assert_close(scores, torch.tensor([[3 / 5, 1 / 8], [1 / 10, 1 / 4]]))


def test_no_proposals_have_no_scores_and_make_an_image_of_zeros() -> None:
    scores = combine_scores(torch.zeros(0, 3), torch.zeros(0, 3))

    assert scores.shape == (0, 3)
    assert image_scores(scores).tolist() == [0.0, 0.0, 0.0]


def test_a_score_of_the_image_never_exceeds_one(rng: torch.Generator) -> None:
    for _ in range(50):
        logits = torch.full((1000, 2), -40.0)
        logits[:, 0] = 40.0
        scores = image_scores(combine_scores(logits, torch.randn(1000, 2, generator=rng)))
        assert scores[0] <= 1


def test_half_precision_logits_are_summed_in_float32() -> None:
    logits = torch.zeros(4000, 20, dtype=torch.bfloat16)

    assert log_scores(logits, logits).dtype == torch.float32
    torch.testing.assert_close(
        image_scores(combine_scores(logits, logits)), torch.full((20,), 1 / 20)
    )


def test_streams_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[R, C\]; got \[3, 2\] and \[2, 2\]"):
        combine_scores(torch.zeros(3, 2), torch.zeros(2, 2))
