"""Settings of the feature cache's command. Light: ``--help`` imports this."""

from dataclasses import dataclass
from pathlib import Path

IMAGE_STATES = Path("runs/images.json")  # what is known of images from earlier scans


@dataclass(frozen=True, kw_only=True)
class FeatureCacheSettings:
    """Settings of one look at the cached features."""

    feature_cache: Path = Path("runs/features")
    """Folder of the features."""

    clear: str = ""
    """Name of a folder, as listed, to be removed; all for every one."""
