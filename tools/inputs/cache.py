"""The folders of cached features, listed and cleared."""

import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from data.json_files import read_json
from tools.cli.console import echo, table
from tools.inputs.features import GB, KEY
from tools.inputs.settings import FeatureCacheSettings

NAME = re.compile(r"[0-9a-f]{16}")
ALL = "all"


@dataclass(frozen=True, slots=True)
class CachedFeatures:
    """Features that were computed in one way.

    Attributes:
        folder: that holds them.
        images: number of them.
        size: in bytes.
        used: seconds since 1970 when a run last looked for features here.
        source: what they were computed from, in words.
    """

    folder: Path
    images: int
    size: int
    used: float
    source: str


def run(settings: FeatureCacheSettings) -> None:
    """Print what there is, or remove what is named.

    Raises:
        FileNotFoundError: there are no features of the name to be cleared.
    """
    existing = list_features(settings.feature_cache)
    if settings.clear:
        _clear(settings, existing)
        return
    if existing:
        heads = ("features", "images", "GB", "last used", "of")
        echo(*table(heads, *map(_cells, existing)))
    total, free = _total(existing), shutil.disk_usage(_nearest(settings.feature_cache)).free
    echo(f"{settings.feature_cache}: {total / GB:.2f} GB of features, {free / GB:.0f} GB free")


def _cells(features: CachedFeatures) -> tuple[str, ...]:
    day = time.strftime("%Y-%m-%d %H:%M", time.localtime(features.used))
    size = f"{features.size / GB:.2f}"
    return features.folder.name, f"{features.images}", size, day, features.source


def list_features(cache: Path) -> list[CachedFeatures]:
    """What a folder of features holds, the one used last first; nothing when it does not exist."""
    folders = [path for path in cache.glob("*") if NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(map(_describe, folders), key=lambda features: -features.used)


def _describe(folder: Path) -> CachedFeatures:
    files = [path for path in folder.iterdir() if path.is_file()]
    key = folder / KEY
    used = (key if key.is_file() else folder).stat().st_mtime
    return CachedFeatures(
        folder,
        sum(path.suffix == ".npz" for path in files),
        sum(path.stat().st_size for path in files),
        used,
        _source(key),
    )


def _source(key: Path) -> str:
    """The content of a key in words; features without a readable key are of no use any more."""
    try:
        content = read_json(key, description="a key of features")
        size, weights = content["image_size"], content["weights_sha256"][:8]
        return f"{size} px, {content['resize']}, weights {weights}, {content['device']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "of an earlier version, not used any more"


def _clear(settings: FeatureCacheSettings, existing: list[CachedFeatures]) -> None:
    chosen = [each for each in existing if settings.clear in (ALL, each.folder.name)]
    if not chosen and settings.clear != ALL:
        raise FileNotFoundError(
            f"{settings.feature_cache / settings.clear}: no such features (the command without "
            "--clear lists them)"
        )
    for features in chosen:
        shutil.rmtree(features.folder)
    echo(f"{settings.feature_cache}: {_total(chosen) / GB:.2f} GB of features removed")


def _total(listed: list[CachedFeatures]) -> int:
    return sum(features.size for features in listed)


def _nearest(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
