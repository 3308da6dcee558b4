"""Shards of a command on the machines of a Ray cluster.

A shard is a process of the command itself; Ray decides where it runs, and runs it again where its
machine was lost. Files go in and out through fsspec.
"""

import hashlib
import importlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from data.datasets.labels.names import SUFFIXES
from data.parallel import usable_cores
from data.shard import Shard
from tools.cli.command import BAD_INPUT, parse_settings
from tools.cli.console import echo, saying, suggest, warn
from tools.cli.signals import check_interrupted
from tools.files.digest import file_sha256
from tools.pipelines.settings import RunShardsSettings

TRIES_AGAIN = 10  # of a shard whose machine was lost
CONNECT_SECONDS = 10.0
WAIT_SECONDS = 1.0  # between two looks for a signal


@dataclass(frozen=True, slots=True)
class Sharded:
    """How a command makes a part.

    Attributes:
        option: that names the part.
        out: ending of what ``--out`` names: empty for a folder, None where there is no such option.
        processes: whether it has ``--processes``.
    """

    option: str
    out: str | None
    processes: bool


SHARDED = {
    "make_proposals": Sharded("--shard", ".npz", processes=True),
    "detect": Sharded("--shard", "", processes=True),
    **dict.fromkeys(
        ("train_localizer", "train_wsddn", "train_classifier"),
        Sharded("--only-features", None, processes=False),
    ),
}


@dataclass(frozen=True, slots=True)
class Job:
    """What all shards share; it is sent to the machines.

    Attributes:
        command: a key of ``SHARDED``.
        words: after it, without those of the shard.
        folder: where the command was typed, for the files that the words name.
        images: URL of a folder, or empty.
        out: URL of the folder of the results.
        count: of shards.
        cores: of each.
    """

    command: str
    words: tuple[str, ...]
    folder: Path
    images: str
    out: str
    count: int
    cores: int

    def stem(self, number: int) -> str:
        """Of the names of a shard's files; numbers from 1."""
        return f"{number:05d}-of-{self.count:05d}"


def run(settings: RunShardsSettings) -> None:
    """Make what is missing of the shards.

    Raises:
        ValueError: the words of the command, another command's shards, or, after all others were
            made, a shard whose images or settings are wrong.
        RuntimeError: a shard failed otherwise; the others were made.
    """
    names = _list_images(settings.images) if settings.images else []
    job = _job(settings, len(names))
    files, root = url_to_fs(job.out)
    files.makedirs(root, exist_ok=True)
    key = _key(job, names)
    done = _recorded(files, root, job, key)
    missing = [number for number in range(1, job.count + 1) if number not in done]
    if done:
        echo(f"{len(done)} of {job.count} shards are there already")
    parts = {number: Shard(number, job.count).of(names) for number in missing}
    failed = dict[int, tuple[int, str]]()
    if missing:
        with _cluster(settings) as remote:
            for number, (code, message) in _run_all(remote, job, key, parts):
                if code:
                    failed[number] = code, message
                    warn(f"shard {number}/{job.count}: {message}")
                    continue
                done.add(number)
                echo(f"shard {number}/{job.count} is made ({len(done)} of {job.count})")
    if failed:
        number, (code, message) = min(failed.items())
        kind = ValueError if code == 2 else RuntimeError
        raise kind(
            f"{len(failed)} of {job.count} shards failed, shard {number}: {message} (the same "
            "command makes those that are missing)"
        )
    echo(f"{job.count} shards: {settings.out}")
    _suggest_joining(settings, job)


def _job(settings: RunShardsSettings, images: int) -> Job:
    """What is to be run, after its words were read as the command reads them."""
    name, row = settings.command, SHARDED[settings.command]
    own = [row.option, "--out", *(["--processes"] if row.processes else [])]
    for word in settings.options:
        option = word.partition("=")[0]
        if f"--{option}" in own or (option == "images" and settings.images):
            raise ValueError(f"--options: {option} is for run_shards to give")
    if row.out is None and settings.images:
        raise ValueError(f"--images: {name} reads images and labels by its own options")
    job = Job(
        name,
        tuple(f"--{word}" for word in settings.options),
        Path.cwd(),
        _url(settings.images) if settings.images else "",
        _url(settings.out),
        min(settings.shards, images) if images else settings.shards,
        settings.cores,
    )
    command = importlib.import_module(f"tools.{name}").main
    try:
        parse_settings(command.settings_type, name, _words(job, 1, Path("work")))
    except BAD_INPUT as error:
        raise ValueError(f"--options: {error}") from error
    return job


def _words(job: Job, number: int, folder: Path) -> list[str]:
    """The words of a shard; what it reads and writes by itself lies in the folder."""
    row = SHARDED[job.command]
    given = ["--images", str(folder / "images")] if job.images else []
    part = "1/1" if job.images else f"{number}/{job.count}"
    out = [] if row.out is None else ["--out", str(folder / f"made{row.out}")]
    processes = ["--processes", str(job.cores)] if row.processes else []
    return [*job.words, *given, row.option, part, *out, *processes]


def _url(place: str) -> str:
    """The same place for every process."""
    files, path = url_to_fs(place)
    return str(files.unstrip_protocol(path))


def _list_images(place: str) -> list[str]:
    """The path below a folder of every image, known by its ending, sorted.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a path leads out of the folder.
    """
    files, root = url_to_fs(place)
    found = [path.removeprefix(root).lstrip("/") for path in files.find(root)]
    names = sorted(name for name in found if name.lower().endswith(SUFFIXES))
    if not names:
        raise FileNotFoundError(f"{place}: no images in it ({', '.join(SUFFIXES)})")
    for name in names:
        if ".." in PurePosixPath(name).parts:  # a store of objects allows it
            raise ValueError(f"{place}: {name!r} leads out of the folder")
    return names


def _key(job: Job, names: Sequence[str]) -> str:
    """Of a command and its images; shards of two keys do not belong together."""
    made_by = [job.command, *job.words, job.images, job.count, *names]
    return hashlib.sha256(json.dumps(made_by).encode()).hexdigest()[:16]


def _recorded(files: AbstractFileSystem, root: str, job: Job, key: str) -> set[int]:
    """Numbers of the shards that are made.

    Raises:
        ValueError: a record is of another command, of other images or of another number of shards.
    """
    known = {f"{job.stem(number)}.json": number for number in range(1, job.count + 1)}
    numbers = set[int]()
    for path in files.glob(f"{root}/*-of-*.json"):
        try:
            is_ours = json.loads(files.cat_file(path))["key"] == key
        except (ValueError, KeyError, TypeError):
            is_ours = False
        number = known.get(path.rpartition("/")[2])
        if number is None or not is_ours:
            raise ValueError(
                f"{path}: of another command, other images or another number of shards (take "
                "another --out)"
            )
        numbers.add(number)
    return numbers


@contextmanager
def _cluster(settings: RunShardsSettings) -> Iterator[Any]:
    """The function that makes a shard, on the machines of a cluster."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers of this use
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error} (pip install 'wsddn-localizer[ray]')") from error
    own = signal.getsignal(signal.SIGTERM)
    place: dict[str, Any] = {"address": settings.ray_address}
    host, _, port = settings.ray_address.removeprefix("ray://").rpartition(":")
    if not settings.ray_address:
        place = {"address": "local", "num_cpus": usable_cores(), "include_dashboard": False}
    try:
        with saying("connecting to the cluster"):
            if host:  # Ray itself would try for minutes
                socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
            ray.init(**place, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConnectionError(
            f"--ray-address {settings.ray_address}: no cluster answers ({error})"
        ) from error
    finally:
        signal.signal(signal.SIGTERM, own)  # Ray's own ends the process at once
    try:
        machines = [m["Resources"] for m in ray.nodes() if m["Alive"]]  # type: ignore[no-untyped-call]
        cores, gpus = settings.cores, settings.gpus
        if not any(m.get("CPU", 0) >= cores and m.get("GPU", 0) >= gpus for m in machines):
            warn(f"waiting for a machine with {cores} free cores and {gpus:g} GPUs: there is none")
        yield ray.remote(num_cpus=cores, num_gpus=gpus, max_retries=TRIES_AGAIN)(make_shard)
    finally:
        ray.shutdown()


def _run_all(
    remote: Any, job: Job, key: str, parts: Mapping[int, Sequence[str]]
) -> Iterator[tuple[int, tuple[int, str]]]:
    """Shards in the order in which they end: the number, an exit code and a message."""
    import ray

    numbers = {remote.remote(job, key, number, names): number for number, names in parts.items()}
    while numbers:
        ended, _ = ray.wait(list(numbers), timeout=WAIT_SECONDS)
        check_interrupted()
        for reference in ended:
            number = numbers.pop(reference)
            try:
                yield number, ray.get(reference)
            except ray.exceptions.RayTaskError as error:
                yield number, (1, f"{type(error.cause).__name__}: {error.cause}")
            except ray.exceptions.RayError as error:
                yield number, (1, " ".join(str(error).split()))


def make_shard(job: Job, key: str, number: int, names: Sequence[str]) -> tuple[int, str]:
    """Make one shard here, with what its record says of it written last.

    Args:
        job: what is made.
        key: of the job.
        number: of the shard, from 1.
        names: of its images, where they are fetched.

    Returns:
        The exit code of its process, and its error if it has failed.
    """
    files, root = url_to_fs(job.out)
    record = f"{root}/{job.stem(number)}.json"
    if files.exists(record):  # its machine was lost after it was made
        return 0, ""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if job.images:
            _fetch(job.images, names, folder / "images")
        words = [sys.executable, "-m", f"tools.{job.command}", *_words(job, number, folder)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(job.cores)}
        ended = subprocess.run(
            words, cwd=job.folder, env=environment, capture_output=True, text=True, check=False
        )
        if ended.returncode:
            said = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
            return ended.returncode, said[-1].removeprefix("error: ")
        ending = SHARDED[job.command].out
        digests = dict[str, str]()
        if ending is not None:
            made = folder / f"made{ending}"
            digests = _digests(made)
            _put(files, made, f"{root}/{job.stem(number)}{ending}")
    content = json.dumps({"key": key, "sha256": digests}, indent=1).encode()
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
    """The sha256 of a file, or of each file of a folder, by its path from there."""
    paths = sorted(path for path in made.rglob("*") if path.is_file()) if made.is_dir() else [made]
    return {
        path.relative_to(made).as_posix() if path != made else "": file_sha256(path)
        for path in paths
    }


def _put(files: AbstractFileSystem, made: Path, place: str) -> None:
    """Copy a file or a folder, in the place of what a lost machine has left there."""
    if files.exists(place):
        files.rm(place, recursive=True)
    files.put(str(made), place, recursive=made.is_dir())


def _suggest_joining(settings: RunShardsSettings, job: Job) -> None:
    """Suggest the command that makes one result of the shards, where it can read them."""
    row = SHARDED[job.command]
    if row.out is None or "://" in settings.out or "://" in settings.images:
        return
    parts = [Path(settings.out, f"{job.stem(n + 1)}{row.out}") for n in range(job.count)]
    images = ["--images", settings.images] if settings.images else []
    out = Path(f"{settings.out.rstrip('/')}-joined{row.out}")
    suggest(
        *("python", "-m", f"tools.{job.command}", *job.words, *images),
        *("--made", *parts, "--out", out),
    )
