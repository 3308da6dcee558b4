"""Download PASCAL VOC2007, trainval and test, and put it where the other commands look for it.

python -m tools.download_voc --voc-root VOCdevkit

0.9 GB come over the network, as much again is unpacked: minutes on a fast line. Whatever stopped
it, the same command goes on where it was. VOCdevkit then holds VOC2007 with 5011 pictures of
trainval and 4952 of test. Without internet, put the two tars into --archives first.
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tools.engine.command import run_command
from tools.engine.settings import check_positive, default_voc_root


@dataclass(frozen=True)
class DownloadVocSettings:
    """Settings of one download."""

    voc_root: Path = field(default_factory=lambda: default_voc_root() or Path("VOCdevkit"))
    """Folder that will hold VOC2007; when not given $VOC_ROOT, or VOCdevkit."""

    splits: tuple[Literal["trainval", "test"], ...] = ("trainval", "test")
    """Which of the two archives."""

    archives: Path | None = None
    """Folder where the tars are looked for and kept; VOC_ROOT/archives when not given."""

    keep_archives: bool = True
    """Whether the tars stay after they are unpacked."""

    mirrors: tuple[str, ...] = ()
    """Folders on the web to try before the built-in ones, such as http://server/voc2007."""

    timeout: float = 30.0
    """Seconds without a byte after which the next mirror is tried."""

    def __post_init__(self) -> None:
        """Refuse what cannot be downloaded."""
        check_positive(timeout=self.timeout)
        if not self.splits:
            raise ValueError("--splits: none is named (trainval, test)")
        for mirror in self.mirrors:
            if not re.match(r"https?://[\w.-]+", mirror):
                raise ValueError(
                    f"--mirrors begin with http://HOST or https://HOST, got {mirror!r}"
                )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(DownloadVocSettings, "download_voc", argv, __doc__)


if __name__ == "__main__":
    sys.exit(main())
