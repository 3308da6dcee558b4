"""Files that are whole or not there, and that one process at a time writes."""

import errno
import io
import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

FULL = {errno.ENOSPC, errno.EDQUOT}
MOST_BYTES = 255  # of a file name


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside the place, flush to disk, rename; on failure nothing is left.

    Another process may be writing the same file.

    Args:
        path: of the file.
        content: of the file.

    Raises:
        OSError: names the path and the bytes.
    """
    own = f".{os.getpid()}.tmp"
    temporary = path.with_name(f"{shortened(path.name, MOST_BYTES - len(own))}{own}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # the same failure again, such as a folder that is gone
            temporary.unlink()
        reason = why(error, path.parent)
        raise OSError(f"{path}: {len(content)} bytes could not be written ({reason})") from error


def why(error: BaseException, folder: Path) -> str:
    """The reason of a failed write in words; torch hides a full disk behind its own error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in FULL:
            return f"no space left on device, {shutil.disk_usage(folder).free} bytes are free"
        cause = cause.__context__
    return str(error)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the file's name to an error of the system, such as a full disk."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def shortened(name: str, most: int = MOST_BYTES) -> str:
    """A name of a file, or its beginning and a hash of it where it has more bytes than that."""
    content = name.encode(errors="surrogateescape")
    if len(content) <= most:
        return name
    ending = f"-{sha256(content).hexdigest()[:16]}"
    return content[: most - len(ending)].decode(errors="ignore") + ending


@contextmanager
def locked(path: Path, *, wait: float = 0.0) -> Iterator[None]:
    """Keep other processes from writing a path; the kernel releases the lock with the process.

    The lock is a hidden file beside the path and is not removed: others may be waiting for it.

    Args:
        path: what is to be written.
        wait: seconds that another process is given to finish.

    Raises:
        FileExistsError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock_of(path), timeout=wait):
            yield
    except Timeout as error:
        raise FileExistsError(f"{path}: another process is writing it") from error


def lock_of(path: Path) -> Path:
    """The file that ``locked`` locks."""
    return path.with_name(f".{shortened(path.name, MOST_BYTES - 6)}.lock")


UNFINISHED = ".unfinished"


@contextmanager
def filled_folder(folder: Path, *, names: Collection[str], replace: bool) -> Iterator[Path]:
    """A place to write a result of several files; it becomes the folder's content at the end.

    Until then an earlier result stays as it is, and after an error too. Hidden files of others are
    left alone.

    Args:
        folder: is made if it does not exist.
        names: of all files and folders that a result may have.
        replace: remove an earlier result, whole, for the new one.

    Raises:
        FileExistsError: the folder holds something else, or a result that is not to be replaced,
            or another process writes in it.
    """
    existed, place = folder.is_dir(), folder / UNFINISHED
    found = {path.name for path in folder.iterdir()} if existed else set()
    foreign = {name for name in found if not name.startswith(".")} - {*names}
    if foreign:
        raise FileExistsError(f"{folder}: holds {min(foreign)}, which is no part of a result")
    if found & {*names, UNFINISHED} and not replace:
        raise FileExistsError(f"{folder}: holds a result, maybe unfinished (--replace true)")
    with locked(place):
        try:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            yield place
            for path in (folder / name for name in found & {*names}):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            for path in list(place.iterdir()):
                path.rename(folder / path.name)
        finally:
            shutil.rmtree(place, ignore_errors=True)
            with suppress(OSError):  # nobody waits for it; Windows keeps an open file
                lock_of(place).unlink()
            if not existed and not any(folder.iterdir()):
                folder.rmdir()


def write_json(path: Path, content: Any) -> None:
    """JSON beside its place, then renamed; not-a-number becomes null.

    Bytes of a file name that are no text are written as JSON's own escapes, such as ``\\udcff``.
    """
    text = json.dumps(_finite(content), indent=1, allow_nan=False, ensure_ascii=False)
    write_atomically(path, text.encode(errors="backslashreplace"))


def write_scores(path: Path, **arrays: Any) -> None:
    """Arrays in an ``.npz``, beside its place, then renamed."""
    write_atomically(path, pack_arrays(**arrays))


def pack_arrays(**arrays: Any) -> bytes:
    """The content of an ``.npz`` without pickles; the same bytes for the same arrays.

    Raises:
        ValueError: an array of objects, which would need a pickle.
    """
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    if isinstance(content, (float, np.floating)):
        return float(content) if np.isfinite(content) else None
    return str(content) if isinstance(content, Path) else content
