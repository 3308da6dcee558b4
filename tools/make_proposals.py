"""Make region proposals for VOC or for any folder of pictures.

python -m tools.make_proposals --split trainval --out proposals/trainval.npz
python -m tools.make_proposals --images photographs --out proposals/photographs.npz
python -m tools.make_proposals --from-mat voc_2007_trainval.mat --out proposals/published.npz

Selective search and edge boxes, ranked together by a score; no annotation is read. About 2000 boxes
a picture and two thirds of a second of one core each, on all cores. A stopped command goes on where
it was; pictures that have changed, and those of other settings, are made anew. With --from-mat
nothing is made: a published file is converted, picture by picture by name, each box is checked.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tools.engine.command import run_command
from tools.engine.settings import PictureSettings, check_positive


@dataclass(frozen=True, kw_only=True)
class MakeProposalsSettings(PictureSettings):
    """Settings of one making."""

    out: Path
    """File to write (.npz)."""

    split: str = "trainval"
    """List of VOC; of a folder all pictures are taken."""

    from_mat: Path | None = None
    """Published file of proposals (MATLAB's format, cells images and boxes) to convert."""

    method: Literal["selective_search", "edge_boxes", "both"] = "both"
    """How boxes are found."""

    quality: bool = False
    """Selective search with more colours and similarities, several times slower."""

    search_sizes: tuple[int, ...] = (250,)
    """Longest side in pixels of the pictures that selective search works on, one run each."""

    edge_sizes: tuple[int, ...] = (350, 250)
    """The same for edge boxes; the first one's edges judge all boxes."""

    max_boxes: int = 4000
    """Most boxes of one picture, the best ones."""

    min_score: float = 0.158
    """Least score of a box; a lower one gives more boxes in rich pictures than in plain ones."""

    min_size: float = 10.0
    """Least width and height of a box in pixels."""

    processes: int = 0
    """Processes that work side by side; 0 for one a core."""

    report: Path | None = None
    """Folder for recall.json and recall.html: the share of VOC's objects that the finished file
    finds, against the number of boxes."""

    classes: tuple[str, ...] = ()
    """Names of the objects for --report; VOC's when empty."""

    def __post_init__(self) -> None:
        """Refuse what gives no boxes or has no place."""
        super().__post_init__()
        check_positive(max_boxes=self.max_boxes, min_size=self.min_size)
        for option, sizes in (
            ("--search-sizes", self.search_sizes),
            ("--edge-sizes", self.edge_sizes),
        ):
            if not sizes or min(sizes) < 1:
                raise ValueError(f"{option} are above 0, got {list(sizes)}")
        if self.report is not None and self.images is not None:
            raise ValueError("--report: where the objects of a folder are is not known")
        if self.out.suffix != ".npz":
            raise ValueError(f"--out ends in .npz, got {self.out}")
        if self.processes < 0 or not 0 <= self.min_score < 1:
            raise ValueError(
                f"--processes is 0 or more and --min-score in [0, 1), got {self.processes} and "
                f"{self.min_score}"
            )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(MakeProposalsSettings, "make_proposals", argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
