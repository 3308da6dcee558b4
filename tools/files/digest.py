"""The sha256 of a file."""

from hashlib import file_digest
from pathlib import Path


def file_sha256(path: Path) -> str:
    """In hexadecimal, without holding the file in memory."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
