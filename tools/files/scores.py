"""The scores that an evaluation saves: read without a pickle and checked; ranked class by class."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.arrays import read_arrays
from data.checks import name_first

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SavedScores:
    """Scores of a model for every image and class, and the targets.

    Attributes:
        ids: N names of images.
        classes: C names in the order of the labels.
        scores: ``[N, C]``, finite.
        targets: ``[N, C]`` in {0, 1}.
        weights: ``[N, C]``, 0 = the class is ignored for this image.
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    scores: Floats
    targets: Floats
    weights: Floats


def read_scores(path: Path) -> SavedScores:
    """Scores as ``evaluate`` writes them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of scores, arrays of different lengths, a name twice, or an invalid
            number; names the file and the images.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of scores (evaluate writes one)")
    names = ("ids", "classes", "scores", "targets", "weights")
    arrays = read_arrays(path, names, description="a file of scores")
    ids, classes, scores, targets, weights = arrays
    shape = (len(ids), len(classes)) if ids.ndim == classes.ndim == 1 else None
    if [array.dtype.kind for array in arrays] != ["U", "U", "f", "f", "f"] or not (
        scores.shape == targets.shape == weights.shape == shape
    ):
        kinds = ", ".join(f"{array.dtype} {list(array.shape)}" for array in arrays)
        raise ValueError(
            f"{path}: ids, classes, scores, targets and weights do not fit together ({kinds})"
        )
    saved = SavedScores(
        tuple(ids.tolist()), tuple(classes.tolist()), *(array.astype(float) for array in arrays[2:])
    )
    _check(saved, path)
    return saved


def rank_scores(ids: Sequence[str], scores: Floats) -> tuple[NDArray[Any], Floats]:
    """Of each class the images from the highest to the lowest score; equal ones keep their order.

    Args:
        ids: N names of images.
        scores: ``[N, C]``.

    Returns:
        Names ``[C, N]``, text, and scores ``[C, N]``.
    """
    order = np.argsort(-scores.T, axis=1, kind="stable")  # [C, N]
    return np.array(ids, dtype=np.str_)[order], np.take_along_axis(scores.T, order, axis=1)


def _check(saved: SavedScores, path: Path) -> None:
    for names in (saved.ids, saved.classes):
        if not names:
            raise ValueError(f"{path}: no image or no class")
        if twice := sorted(name for name, count in Counter(names).items() if count > 1):
            raise ValueError(f"{path}: listed twice: {name_first(twice)}")
    valid = np.isfinite(saved.scores) & np.isin(saved.targets, (0, 1)) & (saved.weights >= 0)
    invalid = [saved.ids[row] for row in np.flatnonzero(~valid.all(axis=1))]
    if invalid:
        raise ValueError(
            f"{path}: a score that is not finite, a target that is not 0 or 1, or a weight below "
            f"0 of {name_first(invalid)}"
        )
