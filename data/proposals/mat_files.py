"""``.mat`` files of proposals as others publish them, read once in a process of their own.

Such a file holds cells ``images`` (names) and ``boxes`` (``[R, 4]`` each: y1 x1 y2 x2, one-based,
closed, often uint16), and maybe ``boxScores`` or ``scores``. Images are found by name, without
folder and ending. The reader of MATLAB's format is a large parser of untrusted bytes, so it runs in
a child with limits on memory and time.
"""

import contextlib
import multiprocessing
import signal
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.checks import check_proposals, name_first
from data.images import read_image_size
from data.proposals.files import pack_proposals, read_unchecked, without_repetition
from data.types import Proposals

MEMORY = 16 << 30  # bytes of addresses; the largest published file needs about 3 GB
SECONDS, SECONDS_A_MB = 30, 5  # of a core; some damaged files would take the reader forever
WAITING = 6  # times as long, where others use the cores
SCORES = ("boxScores", "scores")  # either name is in use


def convert_mat(path: Path, images: Mapping[str, Path]) -> dict[str, Proposals]:
    """Proposals of these images, each box once and inside of its image.

    Args:
        path: of the file; it may hold other images, too.
        images: files by image id.

    Returns:
        By image id, in the order of ``images``; highest scores first, without scores in the
        order of the file.

    Raises:
        FileNotFoundError: no such file, or an image is missing.
        ValueError: not such a file, images that it does not hold, two images of one name, an
            invalid image, or boxes outside of their image, which mean another order of the
            columns or another base; names the image.
    """
    return select_images(read_mat(path), images, path)


def select_images(
    by_name: Mapping[str, Proposals], images: Mapping[str, Path], path: Path
) -> dict[str, Proposals]:
    """The proposals of ``read_mat`` that belong to these images; see ``convert_mat``."""
    repeated = [
        name for name, count in Counter(p.stem for p in images.values()).items() if count > 1
    ]
    if repeated:
        raise ValueError(f"{path}: two images would get the proposals of {repeated[0]}")
    missing = [image_id for image_id, image in images.items() if image.stem not in by_name]
    if missing:
        raise ValueError(
            f"{path}: no proposals of {len(missing)} of {len(images)} images: {name_first(missing)}"
        )
    converted = {}
    for image_id, image in images.items():
        proposals = by_name[image.stem]
        size = read_image_size(image)
        try:
            check_proposals(proposals, size, context=f"{path}: image {image_id}")
        except ValueError as error:
            raise ValueError(f"{error} (columns y1 x1 y2 x2, counted from 1, are read)") from error
        converted[image_id] = without_repetition(proposals)
    return converted


def read_mat(path: Path) -> dict[str, Proposals]:
    """Proposals by image name, in this project's convention; no box has been checked.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, or its reader ran out of memory or time.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of proposals")
    _check_format(path)
    seconds = SECONDS + round(SECONDS_A_MB * path.stat().st_size / 1e6)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "proposals.npz"
        child = multiprocessing.get_context("spawn").Process(
            target=_convert_limited, args=(path, out, seconds)
        )
        child.start()
        try:
            child.join(WAITING * seconds)
            if child.is_alive() or child.exitcode == -getattr(signal, "SIGXCPU", 24):
                raise ValueError(f"{path}: not read within {seconds} s")
        finally:  # a caller whom a signal stops leaves none behind
            child.kill()
            child.join()
        if (out.with_suffix(".txt")).is_file():
            raise ValueError(f"{path}: {out.with_suffix('.txt').read_text(encoding='utf-8')}")
        if not out.is_file():
            raise ValueError(f"{path}: its reader ended with {child.exitcode}")
        return dict(read_unchecked(out))


def _check_format(path: Path) -> None:
    """Refuse the other formats in which such files are published, with what can be done."""
    with path.open("rb") as file:
        head = file.read(128)
    if head.startswith((b"MATLAB 7.3", b"\x89HDF\r\n\x1a\n")):
        raise ValueError(
            f"{path}: a MATLAB file of version 7.3 (save it in MATLAB with the option '-v7')"
        )
    if head[:1] == b"\x80" or head.startswith((b"(dp", b"(lp")):  # pickles, binary or text
        raise ValueError(
            f"{path}: a pickle, which can run code when it is loaded (where it comes from load it "
            "in Python, and write images and boxes, y1 x1 y2 x2 counted from 1, with "
            "scipy.io.savemat)"
        )


def _convert_limited(path: Path, out: Path, seconds: int) -> None:
    """The child."""
    with contextlib.suppress(ImportError, ValueError):  # Windows and macOS set no such limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    _convert(path, out)


def _convert(path: Path, out: Path) -> None:
    """One file in, one file out, or the reason in a text file."""
    try:
        np.savez(out, allow_pickle=False, **pack_proposals(parse_mat(path), {}))
    except Exception as error:  # the parser fails in any way on a damaged file
        out.unlink(missing_ok=True)
        told = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        out.with_suffix(".txt").write_text(told or "ValueError", encoding="utf-8")


def parse_mat(path: Path) -> dict[str, Proposals]:
    """What ``read_mat`` gives, read by this process."""
    import torch
    from scipy.io import loadmat

    content: dict[str, Any] = loadmat(path, variable_names=["images", "boxes", *SCORES])
    if not {"images", "boxes"} <= content.keys():
        raise ValueError(f"it holds {', '.join(content) or 'nothing'}; images and boxes are wanted")
    names = [str(np.ravel(cell)[0]) for cell in content["images"].ravel()]
    boxes = content["boxes"].ravel()
    unknown = [None] * len(boxes)
    scores = next((content[name].ravel() for name in SCORES if name in content), unknown)
    if not len(names) == len(boxes) == len(scores):
        raise ValueError(f"{len(names)} names, {len(boxes)} boxes and {len(scores)} scores")
    proposals = {}
    for name, rows, values in zip(names, boxes, scores, strict=True):
        if rows.size and rows.shape[1:] != (4,):
            raise ValueError(f"{name}: boxes are [R, 4], got {list(rows.shape)}")
        corners = _real(rows, name).reshape(-1, 4)  # float32 before any subtraction
        corners = corners[:, [1, 0, 3, 2]] - np.array([1, 1, 0, 0], np.float32)
        known = None
        if values is not None:
            known = torch.from_numpy(_real(values, name).ravel())
            if len(known) != len(corners):
                raise ValueError(f"{name}: {len(corners)} boxes but {len(known)} scores")
            if not known.isfinite().all():  # not-a-number would say that none is known
                raise ValueError(f"{name}: a score is not finite")
        proposals[Path(name).stem] = Proposals(
            torch.from_numpy(np.ascontiguousarray(corners)), known
        )
    if len(proposals) < len(names):
        raise ValueError("an image is named twice")
    return proposals


def _real(values: NDArray[Any], name: str) -> NDArray[np.float32]:
    """As float32; numpy would drop imaginary parts and read texts as numbers."""
    if values.size and values.dtype.kind not in "uif":
        raise ValueError(f"{name}: boxes and scores are real numbers, got {values.dtype}")
    return np.asarray(values, dtype=np.float32)
