"""Arrays by name from an ``.npz`` of any origin, without pickles."""

import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_arrays(path: Path, names: Sequence[str], *, description: str) -> list[NDArray[Any]]:
    """The arrays of these names, in this order.

    Args:
        path: of a file that exists.
        names: of the arrays.
        description: of the file for the message, such as ``a file of scores``.

    Raises:
        ValueError: not such a file, or an array is missing; names the file.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return [_whole(file[name]) for name in names]
    except (  # every way in which a damaged or foreign file fails
        *(ValueError, TypeError, KeyError, AttributeError, SyntaxError, tokenize.TokenError),
        *(OSError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error),
        *(RuntimeError, SystemError, MemoryError),  # encrypted, no characters, absurdly large
    ) as error:
        raise ValueError(f"{path}: not {description} ({error})") from error


def _whole(member: object) -> NDArray[Any]:
    """A member of the file if it is an array, and a text if it says so."""
    if not isinstance(member, np.ndarray):  # numpy gives the bytes of any other member
        raise TypeError("a member is no array")
    if member.dtype.kind == "U":
        member.tolist()  # numpy does not look at the characters before
    return member
