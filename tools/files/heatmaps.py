"""The heatmaps of one image as a file of arrays, from which they are drawn where they are shown."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
import torch

from data.arrays import read_arrays
from localizer.backbones import Geometry
from localizer.localize import ImageHeatmaps
from tools.files.atomic import MOST_BYTES, pack_arrays, shortened, write_atomically


def heatmaps_path(folder: Path, split: str, image_id: str) -> Path:
    """The file of an image; characters that a file name cannot hold are written as %XX."""
    name = f"{split}_{quote(image_id, safe='', errors='surrogateescape')}"
    return folder / f"{shortened(name, MOST_BYTES - 4)}.npz"


def write_heatmaps(
    path: Path, heatmaps: ImageHeatmaps, labels: Sequence[int], classes: Sequence[str]
) -> None:
    """Heatmaps of some classes, whole or not at all; the same bytes for the same heatmaps.

    Args:
        path: of the file.
        heatmaps: of all classes.
        labels: the classes to write; maybe none.
        classes: names in the order of the labels.
    """
    chosen, geometry = list(labels), heatmaps.geometry
    content = pack_arrays(
        classes=np.array([classes[label] for label in chosen], dtype=np.str_),
        logits=heatmaps.logits[chosen].numpy(),
        image_logits=heatmaps.image_logits[chosen].numpy(),
        geometry=np.array([geometry.stride, geometry.offset], dtype=np.float64),
        network_size=np.array(heatmaps.network_size, dtype=np.int64),
        image_size=np.array(heatmaps.image_size, dtype=np.int64),
    )
    write_atomically(path, content)


def read_heatmaps(path: Path) -> tuple[tuple[str, ...], ImageHeatmaps]:
    """Heatmaps as ``write_heatmaps`` wrote them.

    Returns:
        Names of the K classes in the file, and their heatmaps, ``[K, h, w]``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of heatmaps, or an invalid number; names the file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of heatmaps (view_heatmaps writes one)")
    names = ("classes", "logits", "image_logits", "geometry", "network_size", "image_size")
    arrays = read_arrays(path, names, description="a file of heatmaps")
    classes, logits, image_logits, geometry, network_size, image_size = arrays
    count = len(classes) if classes.ndim else 0
    shapes = [(count,), (count, *logits.shape[1:3]), (count,), (2,), (2,), (2,)]
    if [array.dtype.kind for array in arrays] != [*"Ufffii"] or (
        [array.shape for array in arrays] != shapes or logits.ndim != 3
    ):
        kinds = ", ".join(f"{array.dtype} {list(array.shape)}" for array in arrays)
        raise ValueError(f"{path}: not a file of heatmaps ({', '.join(names)} are {kinds})")
    finite = all(np.isfinite(array).all() for array in (logits, image_logits, geometry))
    sides = (*logits.shape[1:], geometry[0], *network_size, *image_size)
    if not finite or min(sides) < 1:
        raise ValueError(f"{path}: a number that is not finite, or a size or stride below 1")
    return tuple(classes.tolist()), ImageHeatmaps(
        torch.from_numpy(logits.astype(np.float32)),
        torch.from_numpy(image_logits.astype(np.float32)),
        Geometry(int(geometry[0]), float(geometry[1])),
        (int(network_size[0]), int(network_size[1])),
        (int(image_size[0]), int(image_size[1])),
    )
