"""Settings of the commands of this room. Light: ``--help`` imports this."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from data.datasets.settings import LabelSettings, SplitSettings, UsedImageSettings
from data.settings import check_range
from tools.loggers.settings import VisdomSettings
from tools.models.settings import ComputeSettings
from tools.runs.settings import SavedRunSettings


@dataclass(frozen=True, kw_only=True)
class CompareRunsSettings(SplitSettings):
    """Settings of one comparison."""

    runs: tuple[Path, ...]
    """Folders of evaluated runs."""

    name: str = ""
    """Name of the evaluations; that of --split when empty."""

    out: Path
    """Folder for the files."""

    curves: str = ""
    """Only curves whose name holds this, such as train/ or corloc; all when empty."""

    def __post_init__(self) -> None:
        """Refuse no runs and a run that is named twice."""
        if not self.runs:
            raise ValueError("--runs: name one run or more")
        if len(set(self.runs)) < len(self.runs):
            raise ValueError("--runs: one is named twice")


@dataclass(frozen=True, kw_only=True)
class DescribeSettings:
    """Settings of one description."""

    run_dir: Path | None = None
    """Folder of a trained run."""

    backbone: str = ""
    """Name of a backbone, as --model.backbone takes it, instead of a run."""

    image_sizes: tuple[int, ...] = ()
    """Pixels of both sides of an image; those of the run's evaluation, or 512, when empty."""

    def __post_init__(self) -> None:
        """Refuse both, none, and images without pixels."""
        if (self.run_dir is None) == (not self.backbone):
            raise ValueError("name one of --run-dir and --backbone")
        if min(self.image_sizes, default=1) < 1:
            raise ValueError(f"--image-sizes are 1 or more, got {self.image_sizes}")


LARGEST = 4096
PORT = 8000


@dataclass(frozen=True, kw_only=True)
class GallerySettings(UsedImageSettings, SplitSettings):
    """Settings of one gallery."""

    run_dir: Path
    """Folder of the evaluated run."""

    name: str = ""
    """Name of the evaluation; that of --split when empty."""

    out: Path | None = None
    """Folder for the gallery; gallery/ in that of the evaluation when not given."""

    detections: Path | None = None
    """File of detect with the boxes of these images to show; those of the evaluation when not
    given."""

    reviewed: Path | None = None
    """CSV file of marked boxes, saved by a gallery, to begin with."""

    proposals: tuple[Path, ...] = ()
    """Files of proposals of these images; the ten best of each are shown."""

    heatmaps: Path | None = None
    """Folder of heatmaps as view_heatmaps writes them; heatmaps/ in that of the evaluation when not
    given."""

    count: int = 24
    """Images at each end of a class to begin with; the page can change it."""

    longest_side: int = 320
    """Of a thumbnail in pixels; 500 keeps all that VOC has and takes twice the room."""

    processes: int = 0
    """Processes that make thumbnails side by side; 0 for one a core."""

    serve: bool | int = False
    """Port of this machine to show the gallery on; 8000 without a number, 0 for any free one."""

    def __post_init__(self) -> None:
        """Refuse counts, sizes and ports out of range."""
        super().__post_init__()
        check_range(self, "above 0", "count")
        if not 1 <= self.longest_side <= LARGEST:
            raise ValueError(f"--longest-side is 1 to {LARGEST} pixels, got {self.longest_side}")
        check_range(self, "0 or more", "processes")
        if not 0 <= self.serve <= 65535:
            raise ValueError(f"--serve is a port, 0 to 65535, got {self.serve}")

    @property
    def port(self) -> int | None:
        """Where to show the gallery; None for nowhere."""
        if isinstance(self.serve, bool):
            return PORT if self.serve else None
        return self.serve


@dataclass(frozen=True, kw_only=True)
class InspectImageSettings(LabelSettings, SplitSettings):
    """Settings of one look."""

    index: int = 0
    """Number of the image in its split, from 0."""

    out: Path = Path("runs/inspected.jpg")
    """File for the image with its boxes."""

    proposals: Path | None = None
    """File of proposals, whose ten best are drawn into OUT_proposals.jpg; when not given those of
    this image are made on the spot."""

    visdom: VisdomSettings = field(default_factory=VisdomSettings)

    def __post_init__(self) -> None:
        """Refuse a negative index."""
        super().__post_init__()
        check_range(self, "0 or more", "index")


@dataclass(frozen=True, kw_only=True)
class ViewHeatmapsSettings(SavedRunSettings, ComputeSettings, UsedImageSettings, SplitSettings):
    """Settings of one look."""

    name: str = ""
    """Name of the evaluation that the files belong to; that of --split when empty."""

    count: int = 20
    """How many images; the same ones for every run."""

    to: Literal["visdom", "tensorboard", "files"] = "files"
    """Where to show them."""

    visdom: VisdomSettings = field(default_factory=VisdomSettings)

    def __post_init__(self) -> None:
        """Refuse a count of none and a visdom without its address."""
        super().__post_init__()
        check_range(self, "above 0", "count")
        if self.to == "visdom" and not self.visdom.server:
            raise ValueError(
                "--to visdom needs --visdom.server (localhost for one on this machine)"
            )
