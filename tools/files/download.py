"""One large file from mirrors: a download that was cut is resumed, then checked, then renamed.

Until it is complete it is called ``NAME.part``. The content is not read here.
"""

import hashlib
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tools.cli.console import LINE_EVERY_S, echo, warn
from tools.cli.signals import check_interrupted, stop_at_once
from tools.files.atomic import locked, naming

BLOCK = 1 << 20
TRIES = 5  # of one mirror, as long as each brings more bytes


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on a mirror: its name, its size in bytes and its md5."""

    name: str
    size: int
    md5: str

    def difference(self, path: Path) -> str | None:
        """How a file on disk differs from this one; None when it is the same."""
        size = path.stat().st_size
        if size != self.size:
            return f"{size} bytes instead of {self.size}"
        with path.open("rb") as content:
            md5 = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False))
        return None if md5.hexdigest() == self.md5 else f"md5 {md5.hexdigest()}, not {self.md5}"


def fetch(
    file: RemoteFile,
    folder: Path,
    mirrors: Sequence[str],
    *,
    timeout: float,
    interval: float = LINE_EVERY_S,
) -> Path:
    """The file in the folder, downloaded unless it is there already.

    Args:
        file: to download.
        folder: of the file; made when absent.
        mirrors: URLs to which its name is added, in the order of trying.
        timeout: seconds without a byte after which a mirror has failed.
        interval: seconds between two lines of progress.

    Returns:
        Its path; size and md5 are right.

    Raises:
        ValueError: a file of that name exists and differs.
        FileExistsError: another process is downloading it.
        ConnectionError: no mirror gave it; ``NAME.part`` is kept for the next time.
        OSError: the disk is full or not writable.
        Interrupted: a signal was received; ``NAME.part`` is kept.
    """
    path = folder / file.name
    if path.exists():
        if problem := file.difference(path):
            raise ValueError(f"{path}: {problem} (move it away to have it downloaded)")
        return path
    with locked(path), stop_at_once():
        part = folder / f"{file.name}.part"
        for mirror in mirrors:
            url = f"{mirror.rstrip('/')}/{file.name}"
            echo(f"downloading {url}")
            if _complete(part, file, url, timeout, interval):
                return part.rename(path)
    raise ConnectionError(
        f"{path}: no mirror gave it (fetch {file.name}, {file.size} bytes with md5 {file.md5}, "
        f"elsewhere and put it into {folder})"
    )


def _complete(part: Path, file: RemoteFile, url: str, timeout: float, interval: float) -> bool:
    """Whether ``part`` is now complete and right; a connection that was cut is resumed."""
    for _ in range(TRIES):
        start = _size(part)
        try:
            if start < file.size:
                _receive(part, file, url, start, timeout, interval)
            problem = file.difference(part)
            if problem is None:
                return True
            part.unlink()
        except ConnectionError as error:
            problem = str(error)
        warn(f"{url}: {problem}")
        if _size(part) == start:
            break  # the next connection would end like this one
    return False


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _receive(
    part: Path, file: RemoteFile, url: str, start: int, timeout: float, interval: float
) -> None:
    """Append the bytes to ``part`` and print the progress from time to time."""
    began = last = time.monotonic()
    received = 0
    with closing(_blocks(file, url, start, timeout)) as blocks:
        for position, block in blocks:
            check_interrupted()
            with naming(part), part.open("ab" if position else "wb") as out:
                out.write(block)
            received += len(block)
            if (now := time.monotonic()) - last >= interval:
                last, rate = now, received / (now - began)
                done, left = position + len(block), (file.size - position - len(block)) / rate
                sizes = f"{done / 1e6:.0f}/{file.size / 1e6:.0f} MB"
                echo(f"{file.name}: {sizes}, {rate / 1e6:.1f} MB/s, {left:.0f} s left")


def _blocks(
    file: RemoteFile, url: str, start: int, timeout: float
) -> Generator[tuple[int, bytes], None, None]:
    """Bytes with their position, which is 0 again when the mirror cannot begin at ``start``."""
    headers = {"User-Agent": "wsddn-localizer"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        with urlopen(Request(url, headers=headers), timeout=timeout) as answer:
            position = start if answer.status == 206 else 0
            if answer.headers.get_content_type() == "text/html":
                raise ConnectionError("a page instead of the file")
            if answer.length not in (None, file.size - position):
                raise ConnectionError(f"{answer.length} bytes instead of {file.size - position}")
            while block := answer.read1(min(BLOCK, file.size - position)):
                if position == 0 and block.lstrip().startswith(b"<"):
                    raise ConnectionError("a page instead of the file")
                yield position, block
                position += len(block)
    except HTTPError as error:
        error.close()
        if error.code == 416 and start:
            yield from _blocks(file, url, 0, timeout)
            return
        raise ConnectionError(f"HTTP {error.code}") from error
    except HTTPException as error:
        raise ConnectionError(repr(error)[:200]) from error  # may quote the server's answer
    except OSError as error:
        raise ConnectionError(getattr(error, "reason", error)) from error
    if position < file.size:
        raise ConnectionError(f"cut after {position} of {file.size} bytes")
