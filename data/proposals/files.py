"""Sets of proposals: one order, exact de-duplication, selection, and the file that keeps them.

The file is an ``.npz`` without pickles: ``ids [N]``, ``offsets [N + 1]`` int64, ``boxes [M, 4]``
float32 (original image, ``data.types``), ``scores [M]`` float32 (not-a-number where unknown),
``meta``, a JSON string. Proposals of image n are the rows ``offsets[n]`` to ``offsets[n + 1]``.
They are looked up by name, never by position.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data.arrays import read_arrays
from data.checks import check_proposals
from data.types import Proposals

FORMAT = 1


def order_boxes(
    boxes: NDArray[np.float32], scores: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Highest score first, ties by x1, y1, x2, y2; of equal boxes only the first is kept.

    Args:
        boxes: ``[R, 4]`` in any order, R may be 0.
        scores: ``[R]``.
    """
    order = np.lexsort((boxes[:, 3], boxes[:, 2], boxes[:, 1], boxes[:, 0], -scores))
    boxes, scores = boxes[order], scores[order]
    first = _first_of_each(boxes)
    return boxes[first], scores[first]


def without_repetition(proposals: Proposals) -> Proposals:
    """Each box once: in the order of ``order_boxes``, without scores in the order they came in."""
    boxes = proposals.boxes.numpy()
    if proposals.scores is None:
        return Proposals(torch.from_numpy(boxes[_first_of_each(boxes)]), None)
    ordered, scores = order_boxes(boxes, proposals.scores.numpy())
    return Proposals(torch.from_numpy(ordered), torch.from_numpy(scores))


def select_proposals(
    proposals: Proposals, *, min_size: float = 20, top_k: int | None = None
) -> Proposals:
    """The first ``top_k`` of those whose width and height are at least ``min_size`` pixels."""
    sides = proposals.boxes[:, 2:] - proposals.boxes[:, :2]
    return proposals[(sides >= min_size).all(dim=1)][:top_k]


class ProposalSet(Mapping[str, Proposals]):
    """Proposals by image id.

    Attributes:
        path: of the file they came from.
        meta: the file's description of itself.
    """

    def __init__(
        self,
        path: Path,
        ids: Sequence[str],
        offsets: NDArray[np.int64],
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        meta: dict[str, Any],
    ) -> None:
        self.path = path
        self.meta = meta
        self._rows = {image_id: number for number, image_id in enumerate(ids)}
        self._offsets, self._boxes, self._scores = offsets, boxes, scores

    def __getitem__(self, image_id: str) -> Proposals:
        """Proposals of one image.

        Raises:
            KeyError: naming the image and the file.
        """
        if image_id not in self._rows:
            raise KeyError(f"{self.path}: no proposals of image {image_id}")
        number = self._rows[image_id]
        rows = slice(self._offsets[number], self._offsets[number + 1])
        scores = torch.from_numpy(self._scores[rows])
        return Proposals(
            torch.from_numpy(self._boxes[rows]), None if scores.isnan().any() else scores
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def pack_proposals(
    proposals: Mapping[str, Proposals], meta: Mapping[str, Any]
) -> dict[str, NDArray[Any]]:
    """The arrays of a file; the same for the same content."""
    ids = list(proposals)
    counts = [len(proposals[image_id].boxes) for image_id in ids]
    boxes = [proposals[image_id].boxes.numpy() for image_id in ids]
    scores = [
        np.full(count, np.nan, np.float32) if known is None else known.numpy()
        for count, known in zip(counts, (proposals[name].scores for name in ids), strict=True)
    ]
    return {
        "ids": np.array(ids, dtype=str),
        "offsets": np.cumsum([0, *counts], dtype=np.int64),
        "boxes": np.concatenate([np.zeros((0, 4), np.float32), *boxes]),
        "scores": np.concatenate([np.zeros(0, np.float32), *scores]),
        "meta": np.array(json.dumps({"format": FORMAT, **meta}, sort_keys=True)),
    }


def load_proposals(path: Path) -> ProposalSet:
    """Read a file of proposals and check every box.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, arrays that do not fit together, or an invalid box; names the
            image.
    """
    proposals = read_unchecked(path)
    for image_id, of_image in proposals.items():
        check_proposals(of_image, context=f"{path}: image {image_id}")
    return proposals


def read_unchecked(path: Path) -> ProposalSet:
    """Read a file of proposals without checking its boxes and scores.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, or arrays that do not fit together.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of proposals (make_proposals writes one)")
    description = "a file of proposals"
    names = ("ids", "offsets", "boxes", "scores", "meta")
    ids, offsets, boxes, scores, meta_text = read_arrays(path, names, description=description)
    try:
        meta = json.loads(str(meta_text))
        if meta.get("format") != FORMAT:
            raise ValueError(f"format {meta.get('format')}, this version reads {FORMAT}")
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: not {description} ({error})") from error
    fits = (
        [array.dtype.kind for array in (ids, offsets, boxes, scores)] == ["U", "i", "f", "f"]
        and ids.ndim == 1
        and offsets.shape == (len(ids) + 1,)
        and boxes.shape == (len(scores), 4)
        and offsets[0] == 0
        and offsets[-1] == len(scores)
        and (np.diff(offsets) >= 0).all()
        and len(set(ids.tolist())) == len(ids)
    )
    if not fits:
        raise ValueError(
            f"{path}: arrays do not fit together (ids {ids.shape}, offsets {offsets.shape}, boxes "
            f"{boxes.shape}, scores {scores.shape})"
        )
    return ProposalSet(
        path,
        ids.tolist(),
        offsets.astype(np.int64),
        boxes.astype(np.float32),
        scores.astype(np.float32),
        meta,
    )


def _first_of_each(boxes: NDArray[np.float32]) -> NDArray[np.intp]:
    """The rows without a box that an earlier row has."""
    _, first = np.unique(boxes, axis=0, return_index=True)
    return np.sort(first)
