"""Whether the top-scoring box of a class is right, image by image."""

from collections.abc import Mapping, Sequence

import numpy as np

from data.evaluation.overlap import nearest_objects, tabulate_boxes
from data.types import Annotation, Detections

RIGHT, WRONG, DIFFICULT, NO_BOX = "r", "w", "d", "."
IOU = 0.5


def verdicts(
    detections: Mapping[str, Detections], annotations: Sequence[Annotation], num_classes: int
) -> list[str]:
    """Whether each class's top-scoring detection is right, in each image; of equals the first.

    It is right if it overlaps an object of its class by half or more. One on a difficult object is
    neither right nor wrong.

    Returns:
        For each class one letter per image: ``RIGHT``, ``WRONG``, ``DIFFICULT`` or ``NO_BOX``.

    Raises:
        ValueError: detections of an image that is not annotated.
    """
    objects, detected = tabulate_boxes(detections, annotations, num_classes)
    order = np.lexsort((-detected.values, detected.groups))  # stable: equal scores keep their order
    groups = detected.groups[order]
    top_scoring = detected.rows(order[np.flatnonzero(np.diff(groups, prepend=-1))])
    iou, nearest = nearest_objects(top_scoring, objects)
    is_difficult = np.zeros(len(iou), dtype=bool)
    touched = nearest >= 0
    is_difficult[touched] = objects.values[nearest[touched]] != 0
    letters = np.full(len(annotations) * num_classes, NO_BOX)
    letters[top_scoring.groups] = np.where(
        iou < IOU, WRONG, np.where(is_difficult, DIFFICULT, RIGHT)
    )
    return ["".join(of_class) for of_class in letters.reshape(-1, num_classes).T]
