"""Two streams to scores: of every proposal, and of the image, whose labels training knows."""

from torch import Tensor


def combine_scores(class_logits: Tensor, detection_logits: Tensor) -> Tensor:
    """Scores of proposals: a softmax over classes times a softmax over proposals.

    The class stream is compared between classes, the detection stream between the proposals of one
    image.

    Args:
        class_logits: ``[R, C]``.
        detection_logits: ``[R, C]``, for the same proposals in the same order.

    Returns:
        ``[R, C]`` float32 in (0, 1); each column sums to at most 1. R may be 0.

    Raises:
        ValueError: the two shapes differ.

    Source: Bilen and Vedaldi, "Weakly Supervised Deep Detection Networks", 2016, section 3.
    """
    return log_scores(class_logits, detection_logits).exp()


def log_scores(class_logits: Tensor, detection_logits: Tensor) -> Tensor:
    """Logarithms of ``combine_scores``; both softmaxes are float32 whatever the logits are.

    Raises:
        ValueError: the two shapes differ.
    """
    if class_logits.ndim != 2 or class_logits.shape != detection_logits.shape:
        raise ValueError(
            f"both streams are [R, C]; got {list(class_logits.shape)} and "
            f"{list(detection_logits.shape)}"
        )
    return class_logits.float().log_softmax(dim=1) + detection_logits.float().log_softmax(dim=0)


def image_scores(scores: Tensor) -> Tensor:
    """Sum of the proposals' scores: the confidence that the image holds the class.

    Args:
        scores: ``[R, C]`` of ``combine_scores``.

    Returns:
        ``[C]`` in [0, 1]; 0 of no proposals. Rounding above 1 is cut off, which no loss sees:
        training works on logarithms.
    """
    return scores.sum(dim=0).clamp(max=1)
