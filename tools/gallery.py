"""A gallery of a run in the browser: the pictures that score highest and lowest for any class.

python -m tools.gallery --run-dir runs/lite0 --split test --out runs/lite0/gallery
python -m tools.gallery --run-dir runs/wsddn --proposals runs/proposals/test.npz --serve

Made from what evaluate has saved, scores.npz and detections.json; no model is loaded. The result is
a folder with index.html and thumbnails that opens from disk, without a network: k highest and k
lowest pictures of a class with score and truth, boxes (annotated, found, proposed), the heat that
view_heatmaps wrote with --to files, and only what is right or wrong if wanted. --serve [PORT] shows
it on http://127.0.0.1:8000 until it is stopped. 5000 pictures take a minute on one core; thumbnails
of pictures that have not changed are kept.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.engine.command import run_command
from tools.engine.settings import PictureSettings, check_positive

PORT = "8000"
LARGEST = 4096


@dataclass(frozen=True, kw_only=True)
class GallerySettings(PictureSettings):
    """Settings of one gallery."""

    run_dir: Path
    """Folder of the evaluated run."""

    split: str = "test"
    """Pictures that it was evaluated on."""

    out: Path | None = None
    """Folder for the gallery; RUN/gallery when not given."""

    proposals: Path | None = None
    """Proposals of these pictures; the ten best of each are shown."""

    heatmaps: Path | None = None
    """Folder of heatmaps as view_heatmaps writes them; RUN/heatmaps when not given."""

    count: int = 24
    """Pictures at each end of a class to begin with; the page can change it."""

    longest_side: int = 320
    """Of a thumbnail in pixels; 500 keeps all that VOC has and takes twice the room."""

    processes: int = 0
    """Processes that make thumbnails side by side; 0 for one a core."""

    serve: int | None = None
    """Port of this machine to show the gallery on; 8000 without a number, 0 for any free one."""

    def __post_init__(self) -> None:
        """Refuse what shows nothing."""
        super().__post_init__()
        check_positive(count=self.count)
        if not 1 <= self.longest_side <= LARGEST:
            raise ValueError(f"--longest-side is 1 to {LARGEST} pixels, got {self.longest_side}")
        if self.processes < 0:
            raise ValueError(f"--processes is 0 or more, got {self.processes}")
        if self.serve is not None and not 0 <= self.serve <= 65535:
            raise ValueError(f"--serve is a port, 0 to 65535, got {self.serve}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    words = sys.argv[1:] if argv is None else argv
    return run_command(GallerySettings, "gallery", with_port(words), __doc__)


def with_port(words: Sequence[str]) -> list[str]:
    """The words, with a port behind every ``--serve`` that has none."""
    filled = []
    for place, word in enumerate(words):
        has_port = place + 1 < len(words) and not words[place + 1].startswith("--")
        filled += [word, PORT] if word == "--serve" and not has_port else [word]
    return filled


if __name__ == "__main__":
    sys.exit(main())
