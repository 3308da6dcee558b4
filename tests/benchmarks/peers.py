"""VOC's evaluation as other projects do it, and boxes of a heatmap, from the published algorithms.

Boxes are zero-based and half-open, so that no side needs a ``+ 1``; what is compared is the way.
Each way gets its input in the form that it takes, ready before the clock starts.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data.types import Annotation, Detections

Floats = NDArray[np.float64]
RULES = ("11-point", "area")
ELEVEN = (0.0, 0.1, 0.2, 0.1 * 3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # MATLAB's 0:.1:1


class Arrays:
    """Detections and objects as arrays.

    Attributes:
        classes: their number.
        images: boxes, labels, scores, true boxes, true labels and difficult of each image.
        found: of each class numbers of images, scores and boxes of the detections.
        objects: of each class by number of the image: boxes and difficult.
    """

    def __init__(
        self, found: Mapping[str, Detections], annotations: Sequence[Annotation], classes: int
    ) -> None:
        self.classes = classes
        self.images = []
        for true in annotations:
            seen = found[true.image_id]
            of_image = (seen.boxes.double(), seen.labels, seen.scores.double())
            objects = (true.boxes.double(), true.labels, true.difficult)
            self.images.append([tensor.numpy() for tensor in (*of_image, *objects)])
        boxes, labels, scores = (
            np.concatenate([of_image[column] for of_image in self.images]) for column in range(3)
        )
        numbers = np.repeat(np.arange(len(self.images)), [len(each[1]) for each in self.images])
        of_class = [np.flatnonzero(labels == label) for label in range(classes)]
        self.found = [(numbers[rows], scores[rows], boxes[rows]) for rows in of_class]
        self.objects = [
            [(each[3][each[4] == label], each[5][each[4] == label]) for each in self.images]
            for label in range(classes)
        ]


def devkit_ap(arrays: Arrays, label: int, rule: str) -> float:
    """One class by one rule, as py-faster-rcnn's ``voc_eval``: a loop over the detections."""
    objects = arrays.objects[label]
    numbers, scores, boxes = arrays.found[label]
    positives = sum(int((~difficult).sum()) for _, difficult in objects)
    taken = [[False] * len(difficult) for _, difficult in objects]
    hits, misses = np.zeros(len(scores)), np.zeros(len(scores))
    for row, which in enumerate(np.argsort(-scores, kind="stable")):
        image, best, nearest = numbers[which], -np.inf, -1
        true_boxes, difficult = objects[image]
        if len(true_boxes):
            overlaps = _overlaps(boxes[which], true_boxes)
            nearest = int(overlaps.argmax())
            best = overlaps[nearest]
        if best < 0.5:
            misses[row] = 1
        elif not difficult[nearest]:
            hits[row], misses[row] = not taken[image][nearest], taken[image][nearest]
            taken[image][nearest] = True
    return _curve_ap(np.cumsum(hits), np.cumsum(misses), positives, rule)


def by_image_aps(arrays: Arrays) -> dict[str, Floats]:
    """ChainerCV's way: every image and class is matched with arrays, then joined and sorted.

    Of equal scores the first comes first, as in the devkit.
    """
    positives = [0] * arrays.classes
    scores, matches = defaultdict[int, list[float]](list), defaultdict[int, list[int]](list)
    for boxes, labels, image_scores, true_boxes, true_labels, difficult in arrays.images:
        for label in np.unique(np.concatenate([labels, true_labels])).tolist():
            of_class, mine = labels == label, true_labels == label
            order = (-image_scores[of_class]).argsort(kind="stable")
            objects, hard = true_boxes[mine], difficult[mine]
            positives[label] += int((~hard).sum())
            scores[label].extend(image_scores[of_class][order])
            if not len(order) or not len(objects):
                matches[label].extend([0] * len(order))
                continue
            overlaps = _overlaps(boxes[of_class][order][:, None], objects)
            nearest = overlaps.argmax(axis=1)
            nearest[overlaps.max(axis=1) < 0.5] = -1
            taken = np.zeros(len(objects), dtype=bool)
            for index in nearest:
                ignored = index >= 0 and hard[index]
                matches[label].append(-1 if ignored else int(index >= 0 and not taken[index]))
                if index >= 0:
                    taken[index] = True
    aps = {rule: np.full(arrays.classes, np.nan) for rule in RULES}
    for label in range(arrays.classes):
        order = (-np.array(scores[label])).argsort(kind="stable")
        match = np.array(matches[label], dtype=np.int64)[order]
        hits, misses = np.cumsum(match == 1), np.cumsum(match == 0)
        for rule, of_rule in aps.items():
            of_rule[label] = _curve_ap(hits, misses, positives[label], rule)
    return aps


def _curve_ap(hits: Any, misses: Any, positives: int, rule: str) -> float:
    if not positives:
        return float("nan")
    recall, precision = hits / positives, hits / np.maximum(hits + misses, np.finfo(float).eps)
    if rule == RULES[0]:
        reached = [precision[recall >= level] for level in ELEVEN]
        ap = 0.0
        for values in reached:
            ap += float(values.max() if len(values) else 0.0) / 11
        return ap
    ends = np.concatenate([[0.0], recall, [1.0]])
    best = np.maximum.accumulate(np.concatenate([[0.0], precision, [0.0]])[::-1])[::-1]
    steps = np.flatnonzero(ends[1:] != ends[:-1])
    return float(((ends[steps + 1] - ends[steps]) * best[steps + 1]).sum())


def _overlaps(box: Floats, others: Floats) -> Floats:
    """IoU of ``[..., 4]`` boxes and others ``[m, 4]``."""
    width = np.minimum(box[..., 2], others[:, 2]) - np.maximum(box[..., 0], others[:, 0])
    height = np.minimum(box[..., 3], others[:, 3]) - np.maximum(box[..., 1], others[:, 1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    own = (box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1])
    theirs = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    overlaps: Floats = shared / (own + theirs - shared)
    return overlaps


def coco_evaluator(arrays: Arrays) -> Any:
    """pycocotools with everything loaded; see ``run_coco``."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    found, objects = [], list[dict[str, Any]]()
    for image, (boxes, labels, scores, true, true_labels, difficult) in enumerate(arrays.images):
        images = np.full(len(boxes), image)
        found.append(np.column_stack([images, _sides(boxes), scores, labels]))
        for sides, label, hard in zip(_sides(true), true_labels, difficult, strict=True):
            place = {"id": len(objects) + 1, "image_id": image, "category_id": int(label)}
            size = {"bbox": sides.tolist(), "area": sides[2] * sides[3]}
            objects.append({**place, **size, "iscrowd": 0, "ignore": int(hard)})
    truth = COCO()
    categories = [{"id": label} for label in range(arrays.classes)]
    ids = [{"id": image} for image in range(len(arrays.images))]
    truth.dataset = {"images": ids, "categories": categories, "annotations": objects, "info": {}}
    with redirect_stdout(StringIO()):
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(np.concatenate(found)), "bbox")
    evaluator.params.iouThrs, evaluator.params.maxDets = np.array([0.5]), [10_000]
    evaluator.params.areaRng, evaluator.params.areaRngLbl = [[0, 1e10]], ["all"]
    return evaluator


def run_coco(evaluator: Any) -> None:
    """The work of the tools."""
    with redirect_stdout(StringIO()):
        evaluator.evaluate()
        evaluator.accumulate()


def _sides(boxes: Floats) -> Floats:
    return np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])


def regions(heatmap: NDArray[np.float32]) -> list[tuple[tuple[int, ...], float]]:
    """Rows and columns of the regions above half of the range, and their highest values."""
    low, high = heatmap.min(), heatmap.max()
    numbers, count = ndimage.label(heatmap >= low + 0.5 * (high - low), structure=np.ones((3, 3)))
    best = ndimage.maximum(heatmap, numbers, range(1, count + 1))
    return [
        ((y.start, x.start, y.stop, x.stop), float(value))
        for (y, x), value in zip(ndimage.find_objects(numbers), best, strict=True)
    ]
