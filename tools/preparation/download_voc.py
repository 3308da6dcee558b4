"""VOC2007 from mirrors: downloaded, unpacked into a temporary folder, renamed into its place."""

import filecmp
import os
import re
import shlex
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from data.datasets.voc import OFFICIAL_COUNTS
from data.datasets.voc_layout import annotation_path, image_ids, image_path
from tools.cli.console import echo, suggest
from tools.cli.signals import check_interrupted
from tools.files.atomic import locked, naming
from tools.files.download import RemoteFile, fetch
from tools.preparation.settings import DownloadVocSettings

ARCHIVES = {
    "trainval": RemoteFile(
        "VOCtrainval_06-Nov-2007.tar", 460_032_000, "c52e279531787c972589f7e41ab4ae64"
    ),
    "test": RemoteFile("VOCtest_06-Nov-2007.tar", 451_020_800, "b6e924de25625d8de591ea690078ad9f"),
}
MIRRORS = (
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2007",
    "https://pjreddie.com/media/files",
    "https://huggingface.co/datasets/davin11/VOC2007/resolve/main",
)

_INSIDE = "(?:Annotations|ImageSets|JPEGImages|SegmentationClass|SegmentationObject)"
_NAME = r"\w[\w.-]*"
FILE = re.compile(rf"VOCdevkit/VOC2007/{_INSIDE}/(?:{_NAME}/)?{_NAME}", re.ASCII)
FOLDER = re.compile(rf"VOCdevkit(?:/VOC2007(?:/{_INSIDE}(?:/{_NAME})?)?)?", re.ASCII)


def run(
    settings: DownloadVocSettings,
    *,
    archives: Mapping[str, RemoteFile] = ARCHIVES,
    counts: Mapping[str, int] = OFFICIAL_COUNTS,
    mirrors: Sequence[str] = MIRRORS,
) -> None:
    """Download and place the missing splits.

    Args:
        settings: of the command; its mirrors are tried first.
        archives: file of each split.
        counts: images of each split.
        mirrors: URLs of folders with these files.
    """
    home = (settings.voc_root / "VOC2007").resolve()
    folder = settings.archives or settings.voc_root / "archives"
    draft = home.with_name(".VOC2007.tmp")
    wanted = [split for split in archives if split in settings.splits]
    missing = [
        split for split in wanted if not _is_in_place(settings.voc_root, split, counts[split])
    ]
    if missing or draft.exists():
        with locked(home):
            _remove(draft)  # of a run that was killed
            for split in missing:
                urls = [*settings.mirrors, *mirrors]
                archive = fetch(archives[split], folder, urls, timeout=settings.timeout)
                echo(f"unpacking {archive}")
                try:
                    _unpack(archive, draft)
                    _place(draft / "VOCdevkit" / "VOC2007", home, split)
                finally:
                    _remove(draft)
    for split in wanted:
        echo(f"{counts[split]} images of {split} are in {home}")
        if not settings.keep_archives:
            (folder / archives[split].name).unlink(missing_ok=True)
    echo(f"export VOC_ROOT={shlex.quote(str(settings.voc_root.resolve()))}")
    suggest("python", "-m", "tools.check_data", "--voc-root", settings.voc_root)


def _is_in_place(voc_root: Path, split: str, count: int) -> bool:
    """Whether the list of the split and all files that it names exist.

    Raises:
        FileExistsError: the list has another number of images than VOC2007's.
    """
    try:
        ids = image_ids(voc_root, split)
    except FileNotFoundError:
        return False
    if len(ids) != count:
        raise FileExistsError(
            f"{voc_root / 'VOC2007'}: another data set, {len(ids)} images of {split} instead of "
            f"{count} (name another --voc-root)"
        )
    paths = (path(voc_root, image_id) for image_id in ids for path in (image_path, annotation_path))
    return all(path.is_file() for path in paths)


def _unpack(archive: Path, draft: Path) -> None:
    """Write the files of an archive into ``draft``.

    Raises:
        ValueError: it is compressed, no tar, or has a member that VOC2007 has not; names it.
    """
    try:
        with tarfile.open(archive, "r:") as tar:
            for member in tar:
                check_interrupted()
                content = _content(tar, member)
                if content is not None:
                    path = draft / member.name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with naming(path), path.open("xb") as out:
                        shutil.copyfileobj(content, out)
    except tarfile.TarError as error:
        raise ValueError(
            f"{archive}: not an uncompressed tar of VOC2007 ({error}; nothing was placed)"
        ) from error


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes] | None:
    """The bytes of a file of VOC2007, None for a folder.

    Raises:
        TarError: VOC2007 has no such file or folder.
    """
    if member.isdir():
        problem = "" if FOLDER.fullmatch(member.name) else "is not a folder of VOC2007"
    elif not member.isreg() or member.issparse():
        problem = "is not a regular file"
    else:
        problem = "" if FILE.fullmatch(member.name) else "is not a file of VOC2007"
    if problem:
        raise tarfile.TarError(f"member {member.name!r} {problem}")
    return tar.extractfile(member)


def _place(draft: Path, home: Path, split: str) -> None:
    """Rename new files into ``home``; the list that makes a split complete is the last.

    Raises:
        FileExistsError: a file exists with another content; nothing has been placed.
    """
    if not home.exists():
        draft.rename(home)
        return
    last = draft / "ImageSets" / "Main" / f"{split}.txt"
    renames = []
    for path in sorted(draft.rglob("*"), key=lambda path: (path == last, path)):
        target = home / path.relative_to(draft)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        elif not os.path.lexists(target):
            renames.append((path, target))
        elif not (target.is_file() and filecmp.cmp(path, target, shallow=False)):
            raise FileExistsError(
                f"{target}: differs from the archive's (move it away; nothing was placed)"
            )
    for path, target in renames:
        path.rename(target)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
