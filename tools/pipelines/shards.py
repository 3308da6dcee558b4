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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from data.datasets.labels.names import SUFFIXES
from data.parallel import usable_cores
from data.shard import Shard
from tools.cli.command import BAD_INPUT, parse_settings
from tools.cli.console import echo, saying, suggest, warn
from tools.cli.signals import check_interrupted
from tools.pipelines.settings import RunShardsSettings
from tools.pipelines.shard_job import Job, make_shard

TRIES_AGAIN = 10  # of a shard, each time after its machine was lost
CONNECT_SECONDS = 10.0
WAIT_SECONDS = 1.0  # between two looks for a signal


def run(settings: RunShardsSettings) -> None:
    """Make what is missing of the shards.

    Raises:
        ValueError: the words of the command, another command's shards, or, after all others were
            made, a shard with wrong images or settings.
        RuntimeError: a shard failed otherwise; the others were made.
    """
    names = _list_images(settings.images) if settings.images else []
    job = _job(settings, names)
    files, root = url_to_fs(job.out)
    files.makedirs(root, exist_ok=True)
    done = _recorded(files, root, job)
    missing = [number for number in range(1, job.count + 1) if number not in done]
    if done:
        echo(f"{len(done)} of {job.count} shards are there already")
    parts = {number: Shard(number, job.count).of(names) for number in missing}
    failed = dict[int, tuple[int, str]]()
    if missing:
        with _cluster(settings) as remote:
            for number, (code, message) in _run_all(remote, job, parts):
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


def _job(settings: RunShardsSettings, names: Sequence[str]) -> Job:
    """What is to be run on some images, after its options were read as the command reads them."""
    images = _url(settings.images) if settings.images else ""
    count = min(settings.shards, len(names)) if names else settings.shards
    made_by = [settings.command, *settings.options, images, count, *names]
    job = Job(
        settings.command,
        tuple(f"--{option}" for option in settings.options),
        Path.cwd(),
        images,
        _url(settings.out),
        count,
        settings.cores,
        hashlib.sha256(json.dumps(made_by).encode()).hexdigest()[:16],
    )
    if job.ending is None and images:
        raise ValueError(f"--images: {job.command} reads images and labels by its own options")
    for option in settings.options:
        name = option.partition("=")[0]
        if f"--{name}" in job.own_options(1, Path("work")):
            raise ValueError(f"--options: {name} is for run_shards to give")
    command = importlib.import_module(f"tools.{job.command}").main
    try:
        parse_settings(command.settings_type, job.command, job.words(1, Path("work")))
    except BAD_INPUT as error:
        raise ValueError(f"--options: {error}") from error
    return job


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


def _recorded(files: AbstractFileSystem, root: str, job: Job) -> set[int]:
    """Numbers of the shards that are made.

    Raises:
        ValueError: a record is of another command, of other images or of another number of shards.
    """
    known = {f"{job.stem(number)}.json": number for number in range(1, job.count + 1)}
    numbers = set[int]()
    for path in files.glob(f"{root}/*-of-*.json"):
        try:
            is_ours = json.loads(files.cat_file(path))["key"] == job.key
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
    remote: Any, job: Job, parts: Mapping[int, Sequence[str]]
) -> Iterator[tuple[int, tuple[int, str]]]:
    """Shards in the order in which they end: the number, an exit code and a message."""
    import ray

    numbers = {remote.remote(job, number, names): number for number, names in parts.items()}
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


def _suggest_joining(settings: RunShardsSettings, job: Job) -> None:
    """Suggest the command that makes one result of the shards, where it can read them."""
    if job.ending is None or "://" in settings.out or "://" in settings.images:
        return
    parts = [Path(settings.out, f"{job.stem(n + 1)}{job.ending}") for n in range(job.count)]
    images = ["--images", settings.images] if settings.images else []
    out = Path(f"{settings.out.rstrip('/')}-joined{job.ending}")
    suggest(
        *("python", "-m", f"tools.{job.command}", *job.options, *images),
        *("--made", *parts, "--out", out),
    )
