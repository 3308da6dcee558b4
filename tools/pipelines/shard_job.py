"""One shard of a command, made on whatever machine this runs: its files, and its record last."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from tools.files.digest import file_sha256

ENDINGS = {"make_proposals": ".npz", "detect": ""}  # of --out; a training has no such option


@dataclass(frozen=True, slots=True)
class Job:
    """What all shards share; it is sent to the machines.

    Attributes:
        command: after ``python -m tools.``.
        options: of it, without those of the shard.
        folder: where the command was typed, for the files that the options name.
        images: URL of a folder, or empty.
        out: URL of the folder of the results.
        count: of shards.
        cores: of each.
        key: of the command and its images; shards of two keys do not belong together.
    """

    command: str
    options: tuple[str, ...]
    folder: Path
    images: str
    out: str
    count: int
    cores: int
    key: str

    @property
    def ending(self) -> str | None:
        """Of a shard's result: empty for a folder, None where the command fills a cache alone."""
        return ENDINGS.get(self.command)

    def stem(self, number: int) -> str:
        """Of the names of a shard's files; numbers from 1."""
        return f"{number:05d}-of-{self.count:05d}"

    def own_options(self, number: int, folder: Path) -> dict[str, str]:
        """Those of a shard; what it reads and writes by itself lies in the folder."""
        images = {"--images": str(folder / "images")} if self.images else {}
        part = "1/1" if self.images else f"{number}/{self.count}"
        if self.ending is None:
            return {**images, "--only-features": part}
        out = str(folder / f"made{self.ending}")
        return {**images, "--shard": part, "--out": out, "--processes": str(self.cores)}

    def words(self, number: int, folder: Path) -> list[str]:
        """All options of a shard."""
        own = self.own_options(number, folder).items()
        return [*self.options, *(f"{name}={value}" for name, value in own)]


def make_shard(job: Job, number: int, names: Sequence[str]) -> tuple[int, str]:
    """Make one shard here, with what its record says of it written last.

    Args:
        job: what is made.
        number: of the shard, from 1.
        names: of its images, where they are fetched.

    Returns:
        The exit code of its process, and its error if it has failed.
    """
    files, root = url_to_fs(job.out)
    record = f"{root}/{job.stem(number)}.json"
    if files.exists(record):  # its machine was lost after it was made
        return 0, ""
    digests = dict[str, str]()
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if job.images:
            _fetch(job.images, names, folder / "images")
        words = [sys.executable, "-m", f"tools.{job.command}", *job.words(number, folder)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(job.cores)}
        ended = subprocess.run(
            words, cwd=job.folder, env=environment, capture_output=True, text=True, check=False
        )
        if ended.returncode:
            said = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
            return ended.returncode, said[-1].removeprefix("error: ")
        if job.ending is not None:
            made = folder / f"made{job.ending}"
            digests = _digests(made)
            _put(files, made, f"{root}/{job.stem(number)}{job.ending}")
    content = json.dumps({"key": job.key, "sha256": digests}, indent=1).encode()
    files.pipe_file(f"{record}.part", content)
    files.mv(f"{record}.part", record)
    return 0, ""


def _fetch(place: str, names: Sequence[str], folder: Path) -> None:
    """Copy files below a place to a folder, under the same names."""
    files, root = url_to_fs(place)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        files.get_file(f"{root}/{name}", str(path))


def _digests(made: Path) -> dict[str, str]:
    """The sha256 of a file by an empty name, or of each file of a folder by its path in it."""
    if made.is_file():
        return {"": file_sha256(made)}
    paths = sorted(path for path in made.rglob("*") if path.is_file())
    return {path.relative_to(made).as_posix(): file_sha256(path) for path in paths}


def _put(files: AbstractFileSystem, made: Path, place: str) -> None:
    """Copy a file or a folder, in the place of what a lost machine has left there."""
    if files.exists(place):
        files.rm(place, recursive=True)
    files.put(str(made), place, recursive=made.is_dir())
