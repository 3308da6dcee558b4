"""Which of an image's detections are kept; labels that are known decide before scores do."""

import torch
from torch import Tensor

from data.types import Detections, no_detections
from tools.prediction.predictions import Prediction


def keep_detections(
    prediction: Prediction,
    targets: Tensor,
    weights: Tensor,
    image_size: tuple[int, int],
    *,
    min_image_score: float,
    relative_score: float,
    max_detections: int,
) -> Detections:
    """None of a class known to be absent, at least one of each class known to be present.

    A present class keeps its best box whatever the score; without any box, the whole image is its
    box, with score 0. A class that is not known counts as present where its image score says so;
    without any box it has none. Other boxes are kept from ``relative_score`` of the best score of
    their class in this image.

    Args:
        prediction: of one image; maybe without boxes.
        targets: ``[C]`` in {0, 1}, whether the image holds each class.
        weights: ``[C]``, 0 = not known.
        image_size: (height, width) in pixels of the original.
        min_image_score: from which a class that is not known counts as present, in 0 .. 1.
        relative_score: fraction of the best score, in 0 .. 1.
        max_detections: of all classes together; the best of each present class are among them,
            however many those are.

    Returns:
        Detections in pixels of the original, highest score first; maybe none.
    """
    candidates = prediction.detections.best_first()
    likely = (weights == 0) & (prediction.image_scores >= min_image_score)
    known = (weights > 0) & (targets > 0)
    sure, others = [no_detections()], [no_detections()]
    for label in torch.nonzero(known | likely).flatten().tolist():
        of_class = candidates[candidates.labels == label]
        if known[label] and not len(of_class.boxes):
            of_class = _best_of(prediction.top1, label, image_size)
        of_class = of_class[of_class.scores >= relative_score * of_class.scores[:1].sum()]
        first = int(known[label])  # which of its boxes may be more than are kept of an image
        sure.append(of_class[:first])
        others.append(of_class[first:])
    left = max(0, max_detections - len(_joined(sure).boxes))
    return _joined([*sure, _joined(others).best_first()[:left]]).best_first()


def _best_of(top1: Detections, label: int, image_size: tuple[int, int]) -> Detections:
    """The best box of a class; the whole image where it has none."""
    of_class = top1[top1.labels == label].best_first()[:1]
    if len(of_class.boxes):
        return of_class
    height, width = image_size
    whole = torch.tensor([[0.0, 0.0, width, height]])
    return Detections(whole, torch.tensor([label]), torch.zeros(1))


def _joined(parts: list[Detections]) -> Detections:
    return Detections(
        torch.cat([part.boxes for part in parts]),
        torch.cat([part.labels for part in parts]),
        torch.cat([part.scores for part in parts]),
    )
