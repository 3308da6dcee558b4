"""VOC2007 to its place: both archives in one tree, hostile ones refused, killed at any moment."""

import functools
import hashlib
import io
import itertools
import os
import signal
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from data.datasets.voc_layout import image_ids
from tests.worlds import forked
from tools.cli.command import Command
from tools.download_voc import main
from tools.files.atomic import locked
from tools.files.download import RemoteFile
from tools.preparation.download_voc import ARCHIVES, run
from tools.preparation.settings import DownloadVocSettings

Tree = dict[str, bytes]
Download = Callable[..., int]

INSIDE = "VOCdevkit/VOC2007"


def files_of(split: str, *ids: str) -> Tree:
    """A split in miniature, below VOC2007."""
    lists = ("Main/{}.txt", "Main/cat_{}.txt", "Layout/{}.txt", "Segmentation/{}.txt")
    names = "".join(f"{name}\n" for name in ids).encode()
    files = {f"ImageSets/{path.format(split)}": names for path in lists}
    for name in ids:
        files[f"Annotations/{name}.xml"] = f"<annotation>{name}</annotation>".encode()
        files[f"JPEGImages/{name}.jpg"] = name.encode() * 3000
    files[f"SegmentationClass/{ids[0]}.png"] = files[f"SegmentationObject/{ids[0]}.png"] = b"png"
    return files


SPLITS = {
    "trainval": files_of("trainval", "000005", "000007", "000009"),
    "test": files_of("test", "000001", "000002"),
}
BOTH = SPLITS["trainval"] | SPLITS["test"]


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, "/etc/passwd"
    return info


def write_tar(path: Path, files: Tree, *others: tarfile.TarInfo) -> RemoteFile:
    """An archive in the order of the official ones: folders first; then members without bytes."""
    folders = {parent for name in files for parent in Path(INSIDE, name).parents}
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for folder in sorted(folders - {Path()}):
            tar.addfile(member(str(folder), tarfile.DIRTYPE))
        for name, content in files.items():
            info = member(f"{INSIDE}/{name}", size=len(content))
            tar.addfile(info, io.BytesIO(content))
        for info in others:  # from Python 3.13 on addfile wants their bytes, too
            header = info.tobuf(tar.format)
            tar.fileobj.write(header)
            tar.offset += len(header)
    return known_file(path)


def known_file(path: Path) -> RemoteFile:
    content = path.read_bytes()
    return RemoteFile(path.name, len(content), hashlib.md5(content).hexdigest())


NAMES = {split: file.name for split, file in ARCHIVES.items()}
COUNTS = {"trainval": 3, "test": 2}


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small archives in the place of the official ones."""
    folder = tmp_path / "archives"
    folder.mkdir()
    for split, files in SPLITS.items():
        write_tar(folder / NAMES[split], files)
    monkeypatch.setenv("no_proxy", "*")
    return folder


@pytest.fixture
def download(archives: Path, monkeypatch: pytest.MonkeyPatch) -> Download:
    """The command with the small archives and no mirror in the world; gives its exit code."""
    known = {split: known_file(archives / name) for split, name in NAMES.items()}

    def download(root: Path, *words: str, folder: Path | None = archives, **new: RemoteFile) -> int:
        job = functools.partial(run, archives=known | new, counts=COUNTS, mirrors=())
        monkeypatch.setitem(sys.modules, "small_download", SimpleNamespace(run=job))
        argv = ["--voc-root", str(root), *([f"--archives={folder}"] if folder else []), *words]
        return Command("download_voc", DownloadVocSettings, "small_download", "")(argv)

    return download


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "VOC dév kit"


def tree(root: Path) -> Tree:
    """Every file below VOC2007; a link or a temporary folder beside it is a mistake."""
    assert [path.name for path in root.glob("*tmp*")] == []
    home = root / "VOC2007"
    paths = [path for path in home.rglob("*") if not path.is_dir()]
    return {path.relative_to(home).as_posix(): path.read_bytes() for path in paths}


class Folder(SimpleHTTPRequestHandler):
    """Serves the archives."""

    def log_message(self, *args: object) -> None:
        pass


class Stopping(Folder):
    """Stops the process when a file is requested."""

    def do_GET(self) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        self.rfile.read(1)  # until the other side hangs up


@pytest.fixture
def mirror(archives: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a mirror with the archives; its kind may be given as the parameter."""
    handler = functools.partial(getattr(request, "param", Folder), directory=str(archives))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


# In its place


def test_both_splits_come_into_one_tree(
    root: Path,
    mirror: str,
    archives: Path,
    download: Download,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert download(root, "--mirrors", f"[{mirror}]", folder=None) == 0

    assert tree(root) == BOTH
    assert image_ids(root, "trainval") == ["000005", "000007", "000009"]
    kept = {path.name for path in (root / "archives").glob("VOC*")}
    assert kept == {path.name for path in archives.iterdir()}
    *_, trainval, test, last, following = capsys.readouterr().out.splitlines()
    assert trainval == f"3 images of trainval are in {root / 'VOC2007'}"
    assert test == f"2 images of test are in {root / 'VOC2007'}"
    assert last == f"export VOC_ROOT='{root}'"
    assert following == f"next: python -m tools.check_data --voc-root '{root}'"


@pytest.mark.parametrize("split", ["trainval", "test"])
def test_one_split_can_come_alone_and_the_other_later(
    split: str, root: Path, download: Download
) -> None:
    assert download(root, "--splits", f"[{split}]") == 0
    assert tree(root) == SPLITS[split]

    assert download(root) == 0
    assert tree(root) == BOTH


def test_what_is_in_place_is_not_touched_and_no_mirror_asked(
    root: Path, tmp_path: Path, download: Download, capsys: pytest.CaptureFixture[str]
) -> None:
    download(root, "--splits", "[test]")
    (root / ".VOC2007.lock").unlink(missing_ok=True)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    capsys.readouterr()

    assert download(root, "--splits", "[test]", folder=tmp_path / "none") == 0
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    first, last, _ = capsys.readouterr().out.splitlines()
    assert first == f"2 images of test are in {root / 'VOC2007'}"
    assert last.startswith("export VOC_ROOT=")


def test_an_image_that_was_lost_is_brought_back_and_archives_go_unless_they_are_to_be_kept(
    root: Path, archives: Path, download: Download
) -> None:
    download(root)
    assert len(list(archives.glob("VOC*"))) == 2
    (root / "VOC2007" / "JPEGImages" / "000005.jpg").unlink()

    assert download(root, "--keep-archives", "false") == 0
    assert tree(root) == BOTH
    assert list(archives.glob("VOC*")) == []


def test_a_home_that_is_a_link_is_followed(root: Path, tmp_path: Path, download: Download) -> None:
    (tmp_path / "large disk").mkdir()
    root.mkdir()
    (root / "VOC2007").symlink_to(tmp_path / "large disk" / "VOC2007")

    assert download(root) == 0
    assert (root / "VOC2007").is_symlink()
    assert tree(tmp_path / "large disk") == BOTH


# Refusals


def test_without_a_network_one_line_says_what_to_put_where(
    root: Path, tmp_path: Path, download: Download, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "empty"

    assert download(root, "--mirrors", "[http://127.0.0.1:1]", folder=folder) == 1
    warning, error = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: http://127.0.0.1:1/{NAMES['trainval']}: ")
    assert error.startswith(f"error: {folder / NAMES['trainval']}: ")
    assert not (root / "VOC2007").exists()


@pytest.fixture
def refused(download: Download, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The line with which the command ends."""

    def refused(root: Path, **changed: RemoteFile) -> str:
        assert download(root, **changed) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return refused


FILE, LINK = tarfile.REGTYPE, "is not a regular file"
FOREIGN, FOLDER = "is not a file of VOC2007", "is not a folder of VOC2007"


@pytest.mark.parametrize(
    ("name", "kind", "size", "refusal"),
    [
        (f"{INSIDE}/JPEGImages/link.jpg", tarfile.SYMTYPE, 0, LINK),
        (f"{INSIDE}/JPEGImages/hard.jpg", tarfile.LNKTYPE, 0, LINK),
        (f"{INSIDE}/JPEGImages/tty.jpg", tarfile.CHRTYPE, 0, LINK),
        (f"{INSIDE}/JPEGImages/holes.jpg", tarfile.GNUTYPE_SPARSE, 0, LINK),
        (f"{INSIDE}/JPEGImages", tarfile.SYMTYPE, 0, LINK),
        (f"/{INSIDE}/JPEGImages/1.jpg", FILE, 0, FOREIGN),
        (f"{INSIDE}/JPEGImages/../../../1.jpg", FILE, 0, FOREIGN),
        (f"./{INSIDE}/JPEGImages/1.jpg", FILE, 0, FOREIGN),
        ("VOCdevkit/VOC2012/JPEGImages/1.jpg", FILE, 0, FOREIGN),
        (f"{INSIDE}/Programs/1.m", FILE, 0, FOREIGN),
        (f"{INSIDE}/JPEGImages/.hidden.jpg", FILE, 0, FOREIGN),
        (f"{INSIDE}/JPEGImages/a\\b.jpg", FILE, 0, FOREIGN),
        (f"{INSIDE}/JPEGImages/two\nlines.jpg", FILE, 0, FOREIGN),
        (f"{INSIDE}/ImageSets/Main/deep/1.txt", FILE, 0, FOREIGN),
        (f"{INSIDE}/JPEGImages", FILE, 0, FOREIGN),
        (f"{INSIDE}/../..", tarfile.DIRTYPE, 0, FOLDER),
        ("/tmp", tarfile.DIRTYPE, 0, FOLDER),
        (f"{INSIDE}/JPEGImages/bomb.jpg", FILE, 10**12, None),  # ends before its end
    ],
)
def test_a_hostile_member_refuses_the_whole_archive_by_its_name(
    name: str,
    kind: bytes,
    size: int,
    refusal: str | None,
    root: Path,
    archives: Path,
    refused: Callable[..., str],
) -> None:
    path = archives / NAMES["trainval"]
    hostile = write_tar(path, SPLITS["trainval"], member(name, kind, size))

    line = refused(root, trainval=hostile)
    assert line.startswith(f"error: {path}: ")
    assert (f"(member {name!r} {refusal};" if refusal else "unexpected end of data") in line
    assert tree(root) == {}


def test_an_archive_with_a_file_twice_is_refused(
    root: Path, archives: Path, refused: Callable[..., str]
) -> None:
    name = f"{INSIDE}/JPEGImages/000005.jpg"
    twice = write_tar(archives / NAMES["trainval"], SPLITS["trainval"], member(name))

    assert f"{name}: File exists" in refused(root, trainval=twice)
    assert tree(root) == {}


@pytest.mark.parametrize("kind", ["text", "gz", "another md5"])
def test_an_archive_that_is_no_plain_tar_or_not_the_official_one_is_refused(
    kind: str, root: Path, archives: Path, refused: Callable[..., str]
) -> None:
    path = archives / NAMES["trainval"]
    official = known_file(path)
    if kind == "gz":
        tarfile.open(path, "w:gz").close()
    elif kind == "text":
        path.write_text("no tar at all " * 100)
    else:
        path.write_bytes(path.read_bytes()[::-1])
    file = official if kind == "another md5" else known_file(path)

    assert refused(root, trainval=file).startswith(f"error: {path}: ")
    assert tree(root) == {}


@pytest.mark.parametrize("is_link", [False, True])
def test_a_file_with_another_content_or_a_link_to_nowhere_is_never_replaced(
    is_link: bool, root: Path, refused: Callable[..., str]
) -> None:
    path = root / "VOC2007" / "JPEGImages" / "000007.jpg"
    path.parent.mkdir(parents=True)
    if is_link:
        path.symlink_to(root / "nowhere")
    else:
        path.write_bytes(b"mine")

    assert refused(root).startswith(f"error: {path}: ")
    assert list(path.parent.iterdir()) == [path]
    assert path.is_symlink() if is_link else path.read_bytes() == b"mine"


def test_a_file_with_the_same_content_may_be_there(root: Path, download: Download) -> None:
    name = "JPEGImages/000007.jpg"
    path = root / "VOC2007" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(BOTH[name])
    before = path.stat()

    assert download(root) == 0
    assert tree(root) == BOTH
    assert path.stat().st_ino == before.st_ino


def test_another_data_set_is_refused_before_any_download(
    tiny_voc: Path, refused: Callable[..., str]
) -> None:
    before = sorted(tiny_voc.rglob("*"))

    line = refused(tiny_voc)
    assert line.startswith(f"error: {tiny_voc / 'VOC2007'}: ")
    assert "18 images of trainval instead of 3" in line
    assert sorted(tiny_voc.rglob("*")) == before


@pytest.mark.parametrize("name", ["", "VOC2007", "VOC2007/JPEGImages"])
def test_a_file_in_the_place_of_a_folder_is_refused_by_name(
    name: str, root: Path, refused: Callable[..., str]
) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")

    assert refused(root).startswith(f"error: {path}")
    assert path.read_text() == "mine"


def test_a_second_download_into_the_same_folder_is_refused(
    root: Path, refused: Callable[..., str]
) -> None:
    with locked(root / "VOC2007"):
        assert refused(root).startswith(f"error: {root / 'VOC2007'}: another process")


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ("--timeout=.nan", "--timeout"),
        ("--splits=[]", "--splits"),
        ("--mirrors=[ftp://host]", "ftp://host"),
        ("--mirrors=[http://]", "http://HOST"),
        ("--mirorrs=[http://host]", "did you mean --mirrors?"),
        ("--keep-archives=perhaps", "--keep-archives"),
    ],
)
def test_settings_without_sense_are_refused_before_any_work(
    option: str, named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = "tools.preparation.download_voc"
    monkeypatch.setitem(sys.modules, module, None)  # its import would fail
    try:
        code = main([option])
    except SystemExit as stop:
        code = int(stop.code or 0)

    (line,) = capsys.readouterr().err.splitlines()
    assert code == 2
    assert line.startswith("error: ")
    assert named in line


# Kills and signals


@pytest.mark.parametrize("mirror", [Stopping], indirect=True)
def test_a_signal_while_downloading_gives_143_and_keeps_what_came(
    mirror: str,
    root: Path,
    archives: Path,
    download: Download,
    capsys: pytest.CaptureFixture[str],
) -> None:
    half = (archives / NAMES["trainval"]).read_bytes()[:20_000]
    part = root / "archives" / f"{NAMES['trainval']}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(half)

    assert download(root, "--mirrors", f"[{mirror}]", folder=None) == 143
    assert capsys.readouterr().err == "stopped by SIGTERM\n"
    assert part.read_bytes() == half


def test_a_signal_while_unpacking_leaves_nothing_half_there(
    root: Path, download: Download, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = itertools.count()
    open_path = Path.open

    def stop_in_the_middle(path: Path, mode: str = "r", **options: Any) -> Any:
        if mode == "xb" and next(opened) == 3:  # the fourth file that is unpacked
            signal.raise_signal(signal.SIGINT)
        return open_path(path, mode, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", stop_in_the_middle)
        assert download(root) == 130

    assert next(opened) > 3
    assert tree(root) == {}
    assert download(root) == 0
    assert tree(root) == BOTH


def run_until(kinds: str, number: int, download: Download, root: Path) -> None:
    """The command, killed just before one of its operations on files."""
    operations = itertools.count()

    def kill_or_count(event: str, _: tuple[Any, ...]) -> None:
        if event in kinds.split() and next(operations) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(kill_or_count)
    sys.exit(download(root))


@pytest.mark.parametrize(
    ("kinds", "step"), [("open os.mkdir os.remove os.rmdir", 9), ("os.rename", 1)]
)
def test_a_run_killed_at_any_moment_gives_the_same_tree_when_run_again(
    kinds: str, step: int, tmp_path: Path, download: Download
) -> None:
    codes: list[int | None] = []
    for number in itertools.count(0, step):
        root = tmp_path / f"killed before {number}"
        with forked(run_until, kinds, number, download, root) as process:
            process.join(30)
        codes.append(process.exitcode)
        assert codes[-1] in (0, -signal.SIGKILL)
        placed = {path for path in (root / "VOC2007").rglob("*") if path.is_file()}
        names = {path.relative_to(root / "VOC2007").as_posix() for path in placed}

        for split, files in SPLITS.items():
            assert f"ImageSets/Main/{split}.txt" not in names or files.keys() <= names
        assert download(root) == 0
        assert tree(root) == BOTH
        if codes[-1] == 0:
            break

    assert len(codes) > 10
