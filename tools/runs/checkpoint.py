"""Checkpoints that survive a kill: written to a temporary file, renamed, checked by sha256.

``last.json`` and ``best.json`` list checkpoints with their sha256; a checkpoint is valid once
``last.json`` lists it. Loading runs no code (``weights_only``).
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tools.cli.console import warn
from tools.files.atomic import write_atomically

FORMAT_VERSION = 2
KEYS = {
    *("format_version", "model", "optimizer", "scheduler", "scaler", "step", "epoch", "batch"),
    *("rng", "best", "settings", "builder", "progress"),
}
KEEP = 2
LISTS = ("last", "best")


def weights_sha256(state_dict: Mapping[str, Tensor]) -> str:
    """Hash of name, dtype, shape and bytes of each tensor in sorted order."""
    digest = hashlib.sha256()
    for name in sorted(state_dict):
        tensor = state_dict[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_checkpoint(folder: Path, content: dict[str, Any], *, is_best: bool = False) -> Path:
    """Write ``step-%08d.pt`` into the folder and add it to ``last.json`` (and ``best.json``).

    The newest ``KEEP`` checkpoints and the best one are kept, older ones are removed.

    Raises:
        ValueError: the keys are not those of a checkpoint.
        OSError: the disk is full or not writable; earlier checkpoints are untouched.
    """
    if content.keys() != KEYS:
        raise ValueError(f"a checkpoint holds {sorted(KEYS)}, got {sorted(content)}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{content['step']:08d}.pt"
    temporary = path.with_name(f"{path.name}.tmp")
    lists = ("best", "last") if is_best else ("last",)  # best first: a resumed run then knows it
    before = {name: _entries(folder / f"{name}.json") for name in lists}
    try:
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        entry = {"file": path.name, "sha256": _sha256(temporary), "step": content["step"]}
        if any(old["file"] == path.name for old in before["last"]):
            for name, listed in before.items():  # the old content is valid until the rename
                write_atomically(folder / f"{name}.json", _json([entry, *listed]))
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        size = temporary.stat().st_size if temporary.exists() else 0
        temporary.unlink(missing_ok=True)
        raise OSError(f"{path}: could not be written after {size} bytes ({error})") from error
    for name, listed in before.items():
        older = [old for old in listed if old["step"] < entry["step"]]
        count = KEEP if name == "last" else 1
        write_atomically(folder / f"{name}.json", _json([entry, *older][:count]))
    _remove_unlisted(folder)
    return path


def load_checkpoint(folder: Path, which: str = "last") -> dict[str, Any] | None:
    """The newest intact checkpoint, or the best one; None when the folder lists none.

    A damaged one is skipped with a warning that names it and the one used instead.

    Args:
        folder: ``checkpoints`` of a run.
        which: ``last`` or ``best``.

    Raises:
        ValueError: checkpoints are listed, but none of them is intact.
    """
    problems = []
    entries = _entries(folder / f"{which}.json")
    present = sorted(path.name for path in folder.glob("step-*.pt"))
    if not entries and which == "last" and present:
        warn(f"{folder}: no last.json lists {', '.join(present)}; they are not used")
    for entry in entries:
        path = folder / entry["file"]
        try:
            content = read_checkpoint(path, sha256=entry["sha256"])
        except (ValueError, FileNotFoundError) as error:
            problems.append(str(error))
            continue
        if problems:
            warn(f"{'; '.join(problems)}; going back to {path.name}")
        return content
    if problems:
        raise ValueError(f"{'; '.join(problems)} (no intact checkpoint is left in {folder})")
    return None


def read_checkpoint(path: Path, *, sha256: str | None = None) -> dict[str, Any]:
    """One checkpoint file, checked.

    Args:
        path: the file.
        sha256: of the whole file. None takes those that ``last.json`` and ``best.json`` beside it
            list for it; a file that was copied elsewhere is read without this check.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, altered, foreign, or of another format version; names the file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint")
    digests = {sha256} if sha256 is not None else _listed(path)
    if digests and _sha256(path) not in digests:
        raise ValueError(f"{path}: the checkpoint is damaged (its sha256 differs)")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and end-of-file errors of many kinds
        raise ValueError(f"{path}: not a readable checkpoint ({type(error).__name__})") from error
    if not isinstance(content, dict) or content.keys() != KEYS:
        raise ValueError(f"{path}: not a checkpoint of this software")
    if content["format_version"] != FORMAT_VERSION:
        raise ValueError(
            f"{path}: checkpoint of format version {content['format_version']}, this software "
            f"reads {FORMAT_VERSION} (train again, or use the version that wrote it)"
        )
    return content


def _entries(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["checkpoints"]
        return [
            {"file": str(entry["file"]), "sha256": str(entry["sha256"]), "step": int(entry["step"])}
            for entry in entries
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a list of checkpoints ({error})") from error


def _listed(path: Path) -> set[str]:
    """What the lists beside a checkpoint say of its sha256; while it is written they list two."""
    entries = [each for name in LISTS for each in _entries(path.with_name(f"{name}.json"))]
    return {entry["sha256"] for entry in entries if entry["file"] == path.name}


def _json(entries: list[dict[str, Any]]) -> bytes:
    return json.dumps({"checkpoints": entries}, indent=1).encode()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove_unlisted(folder: Path) -> None:
    listed = {
        entry["file"] for name in ("last.json", "best.json") for entry in _entries(folder / name)
    }
    for path in folder.glob("step-*.pt*"):
        if path.name not in listed:
            path.unlink(missing_ok=True)
