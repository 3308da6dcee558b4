"""Download PASCAL VOC2007, trainval and test, into the folder that the other commands read.

python -m tools.download_voc --voc-root VOCdevkit

It downloads 0.9 GB and unpacks as much: minutes on a fast line. After an interruption, the same
command continues. VOCdevkit then holds VOC2007 with 5011 images of trainval and 4952 of test.
Without internet, put the two tar files into --archives first.
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
