"""Download PASCAL VOC2007, trainval and test, and put it where the other commands look for it.

python -m tools.download_voc --voc-root VOCdevkit

0.9 GB come over the network, as much again is unpacked: minutes on a fast line. Whatever stopped
it, the same command goes on where it was. VOCdevkit then holds VOC2007 with 5011 images of
trainval and 4952 of test. Without internet, put the two tars into --archives first.
"""

import sys
from collections.abc import Sequence

from tools.cli.command import run_command
from tools.preparation.settings import DownloadVocSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(
        "download_voc", DownloadVocSettings, "tools.preparation.download_voc", argv, __doc__
    )


if __name__ == "__main__":
    sys.exit(main())
