"""Whether the top-scoring box of a class is right, image by image."""

import numpy as np

from data.evaluation.matching import MatchTable

RIGHT, WRONG, DIFFICULT, NO_BOX = "r", "w", "d", "."


def verdicts(matches: MatchTable) -> list[str]:
    """Whether each class's top-scoring detection is right, in each image; of equals the first.

    It is right if it overlaps an object of its class enough. One on a difficult object is neither
    right nor wrong.

    Returns:
        For each class one letter per image: ``RIGHT``, ``WRONG``, ``DIFFICULT`` or ``NO_BOX``.
    """
    rows = matches.top1()
    is_miss = matches.iou[rows] < matches.iou_threshold
    letters = np.full(matches.num_images * matches.num_classes, NO_BOX)
    letters[matches.detections.groups[rows]] = np.where(
        is_miss, WRONG, np.where(matches.is_difficult[rows], DIFFICULT, RIGHT)
    )
    return ["".join(of_class) for of_class in letters.reshape(-1, matches.num_classes).T]
