"""A run's folder: who may write in it, its settings and environment, and its words."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from tools.cli import console as progress
from tools.files.atomic import write_atomically


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Hold the folder alone; the kernel lets go of it when the process ends, however it ends.

    Raises:
        FileExistsError: another run holds it.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(run_dir / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise FileExistsError(f"{run_dir}: another run is writing in this folder") from error
    try:
        with progress.also_to(run_dir / "log.txt"):
            yield
    finally:
        lock.release()


def write_settings(run_dir: Path, settings: Mapping[str, Any]) -> None:
    """``settings.yaml``, valid for ``--config``."""
    text = yaml.safe_dump(dict(settings), sort_keys=False)
    write_atomically(run_dir / "settings.yaml", text.encode())


def read_settings(run_dir: Path) -> dict[str, Any]:
    """The settings of a run.

    Raises:
        FileNotFoundError: the folder holds no run.
        ValueError: the file is not a mapping.
    """
    path = run_dir / "settings.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no run in this folder (train one with --run-dir)")
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not settings of a run ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not settings of a run")
    return content
