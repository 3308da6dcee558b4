"""VOC2007 from mirrors: downloaded, unpacked into a temporary folder, renamed into its place."""

import filecmp
import os
import re
import shlex
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from data.datasets.voc import OFFICIAL_COUNTS, annotation_path, image_ids, image_path
from tools.cli.console import echo
from tools.cli.signals import check_interrupted
from tools.files.atomic import locked
from tools.files.download import RemoteFile, fetch, naming
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
    """Write the files of the archive into ``draft``, after all members have been checked."""
    members = _allowed_files(archive)
    with archive.open("rb") as content:
        for member in members:
            check_interrupted()
            path = draft / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            content.seek(member.offset_data)
            with naming(path), path.open("xb") as out:
                out.write(content.read(member.size))


def _allowed_files(archive: Path) -> list[tarfile.TarInfo]:
    """The files of an uncompressed archive, which may hold files and folders of VOC2007 only.

    Raises:
        ValueError: names the first member that is not allowed.
    """
    size = archive.stat().st_size
    files: dict[str, tarfile.TarInfo] = {}
    try:
        with tarfile.open(archive, "r:") as tar:
            for member in tar:
                check_interrupted()
                if refusal := _refusal(member, size, member.name in files):
                    raise ValueError(
                        f"{archive}: member {member.name!r} {refusal} (nothing was unpacked)"
                    )
                if not member.isdir():
                    files[member.name] = member
    except tarfile.TarError as error:
        raise ValueError(f"{archive}: not a tar without compression ({error})") from error
    return list(files.values())


def _refusal(member: tarfile.TarInfo, archive_size: int, is_known: bool) -> str | None:
    if member.isdir():
        return None if FOLDER.fullmatch(member.name) else "is not a folder of VOC2007"
    if not member.isreg() or member.issparse():
        return "is not a regular file"
    if not FILE.fullmatch(member.name):
        return "is not a file of VOC2007"
    if is_known:
        return "is in the archive twice"
    # The content of a file lies in the archive, so it cannot be larger than the archive.
    if not 0 <= member.size <= archive_size - member.offset_data:
        return f"has a size of {member.size} bytes, more than the archive"
    return None


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
