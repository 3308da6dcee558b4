"""VOC2007 from mirrors to its place: fetched, unpacked beside it, renamed into it."""

import filecmp
import os
import re
import shlex
import shutil
import tarfile
from pathlib import Path

from data.datasets.voc import OFFICIAL_COUNTS, annotation_path, image_ids, image_path
from tools.cli.console import echo
from tools.cli.signals import check_interrupted
from tools.files.atomic import alone
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


def run(settings: DownloadVocSettings) -> None:
    """Fetch and place the splits that are not there yet."""
    home = (settings.voc_root / "VOC2007").resolve()
    archives = settings.archives or settings.voc_root / "archives"
    draft = home.with_name(".VOC2007.tmp")
    wanted = [split for split in ARCHIVES if split in settings.splits]
    missing = [split for split in wanted if not _is_in_place(settings.voc_root, split)]
    if missing or draft.exists():
        with alone(home):
            _remove(draft)  # of a run that was killed
            for split in missing:
                mirrors = [*settings.mirrors, *MIRRORS]
                archive = fetch(ARCHIVES[split], archives, mirrors, timeout=settings.timeout)
                echo(f"unpacking {archive}")
                try:
                    _unpack(archive, draft)
                    _place(draft / "VOCdevkit" / "VOC2007", home, split)
                finally:
                    _remove(draft)
    for split in wanted:
        echo(f"{OFFICIAL_COUNTS[split]} images of {split} are in {home}")
        if not settings.keep_archives:
            (archives / ARCHIVES[split].name).unlink(missing_ok=True)
    echo(f"export VOC_ROOT={shlex.quote(str(settings.voc_root.resolve()))}")


def _is_in_place(voc_root: Path, split: str) -> bool:
    """Whether the list and all that it names are there.

    Raises:
        FileExistsError: a list of that name is there, but not VOC2007's.
    """
    try:
        ids = image_ids(voc_root, split)
    except FileNotFoundError:
        return False
    if len(ids) != OFFICIAL_COUNTS[split]:
        raise FileExistsError(
            f"{voc_root / 'VOC2007'}: other images are here, {len(ids)} of {split} instead of "
            f"{OFFICIAL_COUNTS[split]} (name another --voc-root)"
        )
    paths = (path(voc_root, image_id) for image_id in ids for path in (image_path, annotation_path))
    return all(path.is_file() for path in paths)


def _unpack(archive: Path, draft: Path) -> None:
    """Write the files of the archive below ``draft``, once each of its members has been allowed."""
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
    """The files of an archive without compression; nothing but files and folders of VOC2007.

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
        return "is there twice"
    # Bytes that lie in the archive, one file after the other, cannot be more than it holds.
    if not 0 <= member.size <= archive_size - member.offset_data:
        return f"claims {member.size} bytes, more than there are"
    return None


def _place(draft: Path, home: Path, split: str) -> None:
    """Rename what is new into ``home``, the list that makes a split complete last.

    Raises:
        FileExistsError: a file is there with another content; nothing has been placed.
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
