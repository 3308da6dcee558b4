"""Files that are whole or not there, and that one process at a time writes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside the place, flush to disk, rename; on failure nothing is left.

    Raises:
        OSError: names the path and the bytes.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(f"{path}: {len(content)} bytes could not be written ({error})") from error


@contextmanager
def alone(path: Path, *, wait: float = 0.0) -> Iterator[None]:
    """Hold a path against other processes; the kernel lets go of it when this one ends.

    A hidden file beside it stays behind: a lock that is deleted is none for those who wait.

    Args:
        path: what is to be written.
        wait: seconds that another process is given to finish.

    Raises:
        FileExistsError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=wait):
            yield
    except Timeout as error:
        raise FileExistsError(f"{path}: another process is writing it") from error
