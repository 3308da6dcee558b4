"""Checkpoints that survive a kill: written to a temporary file, renamed, checked by sha256.

``last.json`` and ``best.json`` list checkpoints with their sha256; those that ``last.json`` lists
come before any other. Loading runs no code (``weights_only``).
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from data.checks import check_finite
from data.json_files import read_json
from tools.cli.console import warn
from tools.files.atomic import why, write_atomically
from tools.files.digest import file_sha256

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
    before = {"last": _kept(folder / "last.json")}
    if is_best:
        before = {"best": _entries(folder / "best.json"), **before}  # a resumed run then knows it
    try:
        with temporary.open("wb") as file:
            torch.save(content, _OpenToTorch(file))  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        entry = {"file": path.name, "sha256": file_sha256(temporary), "step": content["step"]}
        if any(old["file"] == path.name for old in before["last"]):
            for name, listed in before.items():  # the old content is valid until the rename
                write_atomically(folder / f"{name}.json", _json([entry, *listed]))
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        size = temporary.stat().st_size if temporary.exists() else 0
        temporary.unlink(missing_ok=True)
        reason = why(error, folder)
        raise OSError(f"{path}: could not be written after {size} bytes ({reason})") from error
    for name, listed in before.items():
        older = [old for old in listed if old["step"] < entry["step"]]
        count = KEEP if name == "last" else 1
        write_atomically(folder / f"{name}.json", _json([entry, *older][:count]))
    _remove_unlisted(folder)
    return path


class _OpenToTorch:
    """A file for ``torch.save`` that takes nothing more, without an error, when it is closed.

    An error that ends a save, such as one of a lost worker that torch raises wherever the process
    is, may leave torch's writer unfinished. It then writes when it is freed, and an error there
    would abort the process.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def write(self, content: bytes) -> int:
        return len(content) if self.file.closed else self.file.write(content)

    def flush(self) -> None:
        if not self.file.closed:
            self.file.flush()


def load_checkpoint(folder: Path, which: str = "last") -> dict[str, Any] | None:
    """The newest intact checkpoint, or the best one; None when there is none.

    What is damaged is skipped with a warning that names it and the one used instead: a checkpoint,
    or ``last.json`` itself. Where nothing that it lists is intact, or it is lost, the newest intact
    one of the folder is taken.

    Args:
        folder: ``checkpoints`` of a run.
        which: ``last`` or ``best``.

    Raises:
        ValueError: there are checkpoints, but none of them is intact.
    """
    entries, problems = _candidates(folder, which)
    for path, sha256 in entries:
        try:
            content = read_checkpoint(path, sha256=sha256)
        except (ValueError, FileNotFoundError) as error:
            problems.append(str(error))
            continue
        if problems:
            warn(f"{'; '.join(problems)}; going back to {path.name}")
        return content
    if problems:
        raise ValueError(f"{'; '.join(problems)} (no intact checkpoint is left in {folder})")
    return None


def _candidates(folder: Path, which: str) -> tuple[list[tuple[Path, str | None]], list[str]]:
    """What a list names, then for the last one the other files, newest first; and its problem."""
    path, problems = folder / f"{which}.json", list[str]()
    try:
        entries = _entries(path)
    except ValueError as error:
        entries, problems = [], [str(error)]
    listed: list[tuple[Path, str | None]] = [(folder / e["file"], e["sha256"]) for e in entries]
    if which != "last":
        return listed, problems
    others = sorted(set(folder.glob("step-*.pt")) - {path for path, _ in listed}, reverse=True)
    if others and not listed and not problems:
        problems = [f"{path}: no such list of checkpoints"]
    return [*listed, *((other, None) for other in others)], problems


def read_checkpoint(path: Path, *, sha256: str | None = None) -> dict[str, Any]:
    """One checkpoint file, checked.

    Args:
        path: the file.
        sha256: of the whole file. None takes those that ``last.json`` and ``best.json`` beside it
            list for it; a file that was copied elsewhere is checked by the sums that it holds.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, altered, foreign, of another format version, or with a weight that
            is not finite; names the file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint")
    digests = {sha256} if sha256 is not None else _listed(path)
    if digests and file_sha256(path) not in digests:
        raise ValueError(f"{path}: the checkpoint is damaged (its sha256 differs)")
    try:
        if not digests:
            _check_sums(path)
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and end-of-file errors of many kinds
        raise ValueError(f"{path}: not a readable checkpoint ({type(error).__name__})") from error
    is_one = isinstance(content, dict) and content.keys() == KEYS
    if not is_one or not isinstance(content["model"], dict):
        raise ValueError(f"{path}: not a checkpoint of this software")
    if content["format_version"] != FORMAT_VERSION:
        raise ValueError(
            f"{path}: checkpoint of format version {content['format_version']}, this software "
            f"reads {FORMAT_VERSION} (train again, or use the version that wrote it)"
        )
    check_finite(content["model"], context=f"{path}")
    return content


def check_lists(folder: Path) -> None:
    """Refuse what would end a training that continues here when it saves.

    Raises:
        ValueError: ``best.json`` is damaged; names it.
    """
    try:
        _entries(folder / "best.json")
    except ValueError as error:
        raise ValueError(
            f"{error} (without this file the best checkpoint is chosen anew)"
        ) from None


def _entries(path: Path) -> list[dict[str, Any]]:
    """What a list holds; nothing when there is none.

    Raises:
        ValueError: it is damaged; names it.
    """
    if not path.is_file():
        return []
    content = read_json(path, description="a list of checkpoints")
    try:
        return [
            {"file": str(entry["file"]), "sha256": str(entry["sha256"]), "step": int(entry["step"])}
            for entry in content["checkpoints"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a list of checkpoints ({error})") from error


def _kept(path: Path) -> list[dict[str, Any]]:
    """What a list holds; nothing when it is damaged, since a new one takes its place."""
    try:
        return _entries(path)
    except ValueError:
        return []


def _listed(path: Path) -> set[str]:
    """What the lists beside a checkpoint say of its sha256; while it is written they list two."""
    entries = [each for name in LISTS for each in _kept(path.with_name(f"{name}.json"))]
    return {entry["sha256"] for entry in entries if entry["file"] == path.name}


def _check_sums(path: Path) -> None:
    """Compare each part of a file with the sum that it holds; torch does not look at them."""
    with zipfile.ZipFile(path) as file:
        if damaged := file.testzip():
            raise zipfile.BadZipFile(damaged)


def _json(entries: list[dict[str, Any]]) -> bytes:
    return json.dumps({"checkpoints": entries}, indent=1).encode()


def _remove_unlisted(folder: Path) -> None:
    listed = {entry["file"] for name in LISTS for entry in _entries(folder / f"{name}.json")}
    for path in (*folder.glob("step-*.pt*"), *folder.glob("*.tmp")):
        if path.name not in listed:
            path.unlink(missing_ok=True)
