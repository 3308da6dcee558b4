"""A run's folder: who may write in it, its settings and environment, and its words."""

import dataclasses
import io
import json
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from filelock import FileLock, Timeout

from tools.engine import progress
from tools.engine.files import write_atomically

PROJECT = Path(__file__).parents[2]
LIBRARIES = ("torch", "torchvision", "numpy", "opencv-contrib-python-headless", "scikit-learn")


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


def plain(settings: Any) -> Any:
    """Settings as plain values that YAML and a checkpoint can hold."""
    if dataclasses.is_dataclass(settings):
        return {
            field.name: plain(getattr(settings, field.name))
            for field in dataclasses.fields(settings)
        }
    if isinstance(settings, Path):
        return str(settings)
    if isinstance(settings, (list, tuple)):
        return [plain(value) for value in settings]
    return settings


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested plain values under dotted names."""
    result: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{name}.")
        else:
            result[f"{prefix}{name}"] = value
    return result


def write_settings(run_dir: Path, settings: Mapping[str, Any]) -> None:
    """``settings.yaml``, valid for ``--config``."""
    text = yaml.safe_dump(dict(settings), sort_keys=False)
    write_atomically(run_dir / "settings.yaml", text.encode())


def write_environment(run_dir: Path) -> None:
    """``environment.json``."""
    write_json(run_dir / "environment.json", environment())


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


def environment() -> dict[str, Any]:
    """Commit, versions and hardware."""
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        **{name: metadata.version(name) for name in LIBRARIES},
        "command": " ".join(sys.orig_argv[1:]),
    }


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


def _commit() -> str | None:
    if not (PROJECT / ".git").exists():
        return None
    # tables are written between two trainings: they do not make the code another one
    code = ["--", ".", ":(exclude)README.md", ":(exclude)tools/results"]
    head = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", *code)
    return f"{head}-dirty" if changed else head or None


def _git(*words: str) -> str:
    asked = subprocess.run(
        ["git", "-C", str(PROJECT), *words], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
