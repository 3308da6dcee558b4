"""Commit, versions and hardware of a run."""

import platform
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from tools.files.atomic import write_json

PROJECT = Path(__file__).parents[2]
OPENCV = "opencv-contrib-python-headless"
SECONDS = 20  # that git may take; on a drive that is gone it never ends
LIBRARIES = ("torch", "torchvision", "timm", "numpy", OPENCV, "scikit-learn")


def write_environment(run_dir: Path) -> None:
    """``environment.json``."""
    write_json(run_dir / "environment.json", environment())


def environment() -> dict[str, Any]:
    """Commit, versions and hardware."""
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        **{name: _version(name) for name in LIBRARIES},
        "command": " ".join(sys.orig_argv[1:]),
    }


def _version(library: str) -> str | None:
    """None for a library of another name: OpenCV, for example, has four."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """None where there is no git, or it does not answer."""
    if not (PROJECT / ".git").exists() or shutil.which("git") is None:
        return None
    # tables are written between two trainings; they do not change the code
    code = ["--", ".", ":(exclude)README.md", ":(exclude)tools/results"]
    try:
        head = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", *code)
    except subprocess.TimeoutExpired:
        return None
    return f"{head}-dirty" if changed else head or None


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(PROJECT), *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    return finished.stdout.strip()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
