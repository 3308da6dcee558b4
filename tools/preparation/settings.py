"""Settings of the commands of this room. Light: ``--help`` imports this."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from data.datasets.settings import (
    AddedImageSettings,
    LabelSettings,
    UsedImageSettings,
    default_voc_root,
)
from data.proposals.settings import ProposeSettings
from data.settings import check_range
from data.shard import parse_shard
from tools.inputs.settings import IMAGE_STATES


@dataclass(frozen=True, kw_only=True)
class CheckDataSettings(LabelSettings, UsedImageSettings, AddedImageSettings):
    """Settings of one check."""

    proposals: Path | None = None
    """File of proposals to compare with the images."""

    cache: Path = IMAGE_STATES
    """File that stores the state of each image for the next check."""


@dataclass(frozen=True)
class DownloadVocSettings:
    """Settings of one download."""

    voc_root: Path = field(default_factory=lambda: default_voc_root() or Path("VOCdevkit"))
    """Folder that will hold VOC2007; when not given $VOC_ROOT, or VOCdevkit."""

    splits: tuple[Literal["trainval", "test"], ...] = ("trainval", "test")
    """Splits to download."""

    archives: Path | None = None
    """Folder of the tar files; existing ones are used. VOC_ROOT/archives when not given."""

    keep_archives: bool = True
    """Keep the tar files after they are unpacked."""

    mirrors: tuple[str, ...] = ()
    """URLs of folders to try before the built-in ones, such as http://server/voc2007."""

    timeout: float = 30.0
    """Seconds without a byte after which the next mirror is tried."""

    def __post_init__(self) -> None:
        """Refuse invalid values."""
        check_range(self, "above 0", "timeout")
        if not self.splits:
            raise ValueError("--splits is empty (trainval, test)")
        for mirror in self.mirrors:
            if not re.match(r"https?://[\w.-]+", mirror):
                raise ValueError(
                    f"--mirrors begin with http://HOST or https://HOST, got {mirror!r}"
                )


@dataclass(frozen=True, kw_only=True)
class MakeProposalsSettings(ProposeSettings, UsedImageSettings, AddedImageSettings):
    """Settings of one file of proposals."""

    split: str = ""
    """Which images. When not given those of every split, so that one file serves the training and
    what comes after it."""

    out: Path
    """File to write (.npz)."""

    shard: str = ""
    """Make those of a part of the images alone, 3/8 for the third of eight; all when empty."""

    made: tuple[Path, ...] = ()
    """Files of other shards, or of earlier: what they hold of these images is not made again. Of
    all shards the file becomes the one that a single process writes."""

    from_mat: Path | None = None
    """Published file of proposals (MATLAB's format, cells images and boxes) to convert."""

    processes: int = 0
    """Number of parallel processes; 0 for one per core."""

    report: Path | None = None
    """Folder for recall.json and recall.html: the fraction of VOC's objects that the finished file
    finds, against the number of boxes."""

    classes: tuple[str, ...] = ()
    """Names of the objects for --report; VOC's when empty."""

    def __post_init__(self) -> None:
        """Refuse invalid values."""
        super().__post_init__()
        check_range(self, "above 0", "max_boxes", "min_size", "search_sizes", "edge_sizes")
        check_range(self, "in [0, 1)", "min_score")
        check_range(self, "0 or more", "processes")
        parse_shard(self.shard)
        if not (self.search_sizes and self.edge_sizes):
            raise ValueError("--search-sizes and --edge-sizes: name one or more of each")
        if self.out.suffix != ".npz":
            raise ValueError(f"--out ends in .npz, got {self.out}")
