"""Download PASCAL VOC2007, trainval and test, into the folder that the other commands read.

python -m tools.download_voc --voc-root VOCdevkit

It downloads 0.9 GB and unpacks as much: minutes on a fast line. After an interruption, the same
command continues. VOCdevkit then holds VOC2007 with 5011 images of trainval and 4952 of test.
Without internet, put the two tar files into --archives first.
"""

from tools.cli.command import Command
from tools.preparation.settings import DownloadVocSettings

main = Command("download_voc", DownloadVocSettings, "tools.preparation.download_voc", __doc__)

if __name__ == "__main__":
    raise SystemExit(main())
