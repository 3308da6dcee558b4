"""VOC2007 to its place: both archives in one tree, hostile ones refused, killed at any moment."""

import functools
import hashlib
import io
import itertools
import multiprocessing
import os
import signal
import socket
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from data.datasets.voc import OFFICIAL_COUNTS, image_ids
from tools.cli.signals import check_interrupted
from tools.download_voc import main
from tools.files.atomic import alone
from tools.files.download import RemoteFile
from tools.preparation import download_voc as job

Tree = dict[str, bytes]

FORKED = pytest.mark.filterwarnings(
    # Threads that other tests left behind are no danger to a child that leaves them alone.
    "ignore:.*use of fork:DeprecationWarning"
)
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
        for info in others:
            tar.addfile(info)
    return known(path)


def known(path: Path) -> RemoteFile:
    content = path.read_bytes()
    return RemoteFile(path.name, len(content), hashlib.md5(content).hexdigest())


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small archives in the place of the official ones, and no mirror in the world."""
    folder = tmp_path / "archives"
    folder.mkdir()
    for split, files in SPLITS.items():
        file = write_tar(folder / job.ARCHIVES[split].name, files)
        monkeypatch.setitem(job.ARCHIVES, split, file)
        count = sum(name.endswith(".jpg") for name in files)
        monkeypatch.setitem(OFFICIAL_COUNTS, split, count)
    monkeypatch.setattr(job, "MIRRORS", ())
    monkeypatch.setenv("no_proxy", "*")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "VOC dév kit"


def words(root: Path, archives: Path, *others: str) -> list[str]:
    return ["--voc-root", str(root), "--archives", str(archives), *others]


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
    """Lets the process be told to stop by whoever asks for a file."""

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
    root: Path, mirror: str, archives: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--voc-root", str(root), "--mirrors", f"[{mirror}]"]) == 0

    assert tree(root) == BOTH
    assert image_ids(root, "trainval") == ["000005", "000007", "000009"]
    kept = {path.name for path in (root / "archives").glob("VOC*")}
    assert kept == {path.name for path in archives.iterdir()}
    *_, trainval, test, last = capsys.readouterr().out.splitlines()
    assert trainval == f"3 images of trainval are in {root / 'VOC2007'}"
    assert test == f"2 images of test are in {root / 'VOC2007'}"
    assert last == f"export VOC_ROOT='{root}'"


@pytest.mark.parametrize("split", ["trainval", "test"])
def test_one_split_can_come_alone_and_the_other_later(
    split: str, root: Path, archives: Path
) -> None:
    assert main(words(root, archives, "--splits", f"[{split}]")) == 0
    assert tree(root) == SPLITS[split]

    assert main(words(root, archives)) == 0
    assert tree(root) == BOTH


def test_what_is_in_place_is_not_touched_and_no_mirror_asked(
    root: Path, archives: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(words(root, archives, "--splits", "[test]"))
    (root / ".VOC2007.lock").unlink(missing_ok=True)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    capsys.readouterr()

    assert main(words(root, tmp_path / "none", "--splits", "[test]")) == 0
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    first, last = capsys.readouterr().out.splitlines()
    assert first == f"2 images of test are in {root / 'VOC2007'}"
    assert last.startswith("export VOC_ROOT=")


def test_an_image_that_was_lost_is_brought_back(root: Path, archives: Path) -> None:
    main(words(root, archives))
    (root / "VOC2007" / "JPEGImages" / "000005.jpg").unlink()

    assert main(words(root, archives)) == 0
    assert tree(root) == BOTH


def test_archives_go_when_they_are_not_to_be_kept(root: Path, archives: Path) -> None:
    assert main(words(root, archives, "--keep-archives", "false")) == 0

    assert list(archives.glob("VOC*")) == []
    assert tree(root) == BOTH


def test_a_home_that_is_a_link_is_followed(root: Path, archives: Path, tmp_path: Path) -> None:
    (tmp_path / "large disk").mkdir()
    root.mkdir()
    (root / "VOC2007").symlink_to(tmp_path / "large disk" / "VOC2007")

    assert main(words(root, archives)) == 0
    assert (root / "VOC2007").is_symlink()
    assert tree(tmp_path / "large disk") == BOTH


# Refusals


def test_without_a_network_one_line_says_what_to_put_where(
    root: Path, archives: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        mirror = f"http://127.0.0.1:{closed.getsockname()[1]}"
    folder = tmp_path / "empty"

    assert main(words(root, folder, "--mirrors", f"[{mirror}]")) == 1
    file = job.ARCHIVES["trainval"]
    warning, error = capsys.readouterr().err.splitlines()
    assert warning == f"warning: {mirror}/{file.name}: [Errno 111] Connection refused"
    assert error == (
        f"error: {folder / file.name}: no mirror gave it (fetch {file.name}, {file.size} bytes "
        f"with md5 {file.md5}, elsewhere and put it into {folder})"
    )
    assert not (root / "VOC2007").exists()


def refused(root: Path, archives: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The line with which the command ends."""
    assert main(words(root, archives)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


FILE, LINK = tarfile.REGTYPE, "is not a regular file"
FOREIGN, FOLDER = "is not a file of VOC2007", "is not a folder of VOC2007"


@pytest.mark.parametrize(
    ("name", "kind", "size", "refusal"),
    [
        (f"{INSIDE}/JPEGImages/link.jpg", tarfile.SYMTYPE, 0, LINK),
        (f"{INSIDE}/JPEGImages/hard.jpg", tarfile.LNKTYPE, 0, LINK),
        (f"{INSIDE}/JPEGImages/fifo.jpg", tarfile.FIFOTYPE, 0, LINK),
        (f"{INSIDE}/JPEGImages/disk.jpg", tarfile.BLKTYPE, 0, LINK),
        (f"{INSIDE}/JPEGImages/tty.jpg", tarfile.CHRTYPE, 0, LINK),
        (f"{INSIDE}/JPEGImages/holes.jpg", tarfile.GNUTYPE_SPARSE, 0, LINK),
        (f"{INSIDE}/JPEGImages", tarfile.SYMTYPE, 0, LINK),
        ("/etc/cron.d/job", FILE, 0, FOREIGN),
        (f"/{INSIDE}/JPEGImages/1.jpg", FILE, 0, FOREIGN),
        (f"{INSIDE}/JPEGImages/../../../1.jpg", FILE, 0, FOREIGN),
        (f"{INSIDE}/JPEGImages/..", FILE, 0, FOREIGN),
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
        (f"{INSIDE}/JPEGImages/000005.jpg", FILE, 0, "is there twice"),
        (
            *(f"{INSIDE}/JPEGImages/bomb.jpg", FILE, 10**12),
            "claims 1000000000000 bytes, more than there are",
        ),
    ],
)
def test_a_hostile_member_refuses_the_whole_archive_by_its_name(
    name: str,
    kind: bytes,
    size: int,
    refusal: str,
    root: Path,
    archives: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = archives / job.ARCHIVES["trainval"].name
    bad = write_tar(path, SPLITS["trainval"], member(name, kind, size))
    monkeypatch.setitem(job.ARCHIVES, "trainval", bad)

    line = refused(root, archives, capsys)
    assert line == f"error: {path}: member {name!r} {refusal} (nothing was unpacked)"
    assert tree(root) == {}


@pytest.mark.parametrize("kind", ["text", "gz"])
def test_an_archive_that_is_no_plain_tar_is_refused(
    kind: str,
    root: Path,
    archives: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = archives / job.ARCHIVES["trainval"].name
    if kind == "gz":
        tarfile.open(path, "w:gz").close()
    else:
        path.write_text("no tar at all " * 100)
    monkeypatch.setitem(job.ARCHIVES, "trainval", known(path))

    line = refused(root, archives, capsys)
    assert line.startswith(f"error: {path}: not a tar without compression (")
    assert tree(root) == {}


def test_an_archive_with_another_md5_is_not_unpacked(
    root: Path, archives: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = archives / job.ARCHIVES["trainval"].name
    path.write_bytes(path.read_bytes()[::-1])

    line = refused(root, archives, capsys)
    assert line.startswith(f"error: {path}: md5 ")
    assert tree(root) == {}


def test_a_file_with_another_content_is_never_overwritten(
    root: Path, archives: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = root / "VOC2007" / "JPEGImages" / "000007.jpg"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")

    assert refused(root, archives, capsys) == (
        f"error: {path}: differs from the archive's (move it away; nothing was placed)"
    )
    assert tree(root) == {"JPEGImages/000007.jpg": b"mine"}


def test_a_link_to_nowhere_is_not_replaced(
    root: Path, archives: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = root / "VOC2007" / "JPEGImages" / "000007.jpg"
    path.parent.mkdir(parents=True)
    path.symlink_to(root / "nowhere")

    assert f"error: {path}: differs" in refused(root, archives, capsys)
    assert path.is_symlink()


def test_a_file_with_the_same_content_may_be_there(root: Path, archives: Path) -> None:
    name = "JPEGImages/000007.jpg"
    path = root / "VOC2007" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(BOTH[name])
    before = path.stat()

    assert main(words(root, archives)) == 0
    assert tree(root) == BOTH
    assert path.stat().st_ino == before.st_ino


def test_another_data_set_is_refused_before_any_download(
    tiny_voc: Path, archives: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tiny_voc.rglob("*"))

    assert refused(tiny_voc, archives, capsys) == (
        f"error: {tiny_voc / 'VOC2007'}: other images are here, 18 of trainval instead of 3 "
        "(name another --voc-root)"
    )
    assert sorted(tiny_voc.rglob("*")) == before


@pytest.mark.parametrize("name", ["", "VOC2007", "VOC2007/JPEGImages"])
def test_a_file_in_the_place_of_a_folder_is_refused_by_name(
    name: str, root: Path, archives: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")

    assert refused(root, archives, capsys).startswith(f"error: {path}")
    assert path.read_text() == "mine"


def test_a_second_download_into_the_same_folder_is_refused(
    root: Path, archives: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with alone(root / "VOC2007"):
        line = refused(root, archives, capsys)

    assert line == f"error: {root / 'VOC2007'}: another process is writing it"


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ("--timeout=0", "--timeout"),
        ("--timeout=.nan", "--timeout"),
        ("--splits=[]", "--splits"),
        ("--splits=[val]", "splits"),
        ("--mirrors=[ftp://host]", "ftp://host"),
        ("--mirrors=[http://]", "http://HOST"),
        ("--mirorrs=[http://host]", "did you mean --mirrors?"),
        ("--keep-archives=perhaps", "keep_archives"),
    ],
)
def test_settings_without_sense_are_refused_before_any_work(
    option: str, named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(
        sys.modules, "tools.preparation.download_voc", None
    )  # its import would fail
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
    mirror: str, root: Path, archives: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = job.ARCHIVES["trainval"].name
    half = (archives / name).read_bytes()[:20_000]
    part = root / "archives" / f"{name}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(half)

    assert main(["--voc-root", str(root), "--mirrors", f"[{mirror}]"]) == 143
    assert capsys.readouterr().err == "stopped by SIGTERM\n"
    assert part.read_bytes() == half


def test_a_signal_while_unpacking_leaves_nothing_half_there(
    root: Path, archives: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = itertools.count()

    def stop_in_the_middle() -> None:
        if next(calls) == 30:  # there are 21 members, which are looked at before they are unpacked
            signal.raise_signal(signal.SIGINT)
        check_interrupted()

    monkeypatch.setattr(job, "check_interrupted", stop_in_the_middle)

    assert main(words(root, archives)) == 130
    assert tree(root) == {}
    assert main(words(root, archives)) == 0
    assert tree(root) == BOTH


def run_until(kinds: str, number: int, argv: list[str]) -> None:
    """The command, killed just before one of its operations on files."""
    operations = itertools.count()

    def kill_or_count(event: str, _: tuple[Any, ...]) -> None:
        if event in kinds.split() and next(operations) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(kill_or_count)
    sys.exit(main(argv))


@FORKED
@pytest.mark.parametrize(
    ("kinds", "step"), [("open os.mkdir os.remove os.rmdir", 9), ("os.rename", 1)]
)
def test_a_run_killed_at_any_moment_gives_the_same_tree_when_run_again(
    kinds: str, step: int, tmp_path: Path, archives: Path
) -> None:
    context = multiprocessing.get_context("fork")
    codes: list[int | None] = []
    for number in itertools.count(0, step):
        root = tmp_path / f"killed before {number}"
        process = context.Process(target=run_until, args=(kinds, number, words(root, archives)))
        process.start()
        process.join(30)
        process.kill()
        codes.append(process.exitcode)
        assert codes[-1] in (0, -signal.SIGKILL)
        placed = {path for path in (root / "VOC2007").rglob("*") if path.is_file()}
        names = {path.relative_to(root / "VOC2007").as_posix() for path in placed}

        for split, files in SPLITS.items():
            assert f"ImageSets/Main/{split}.txt" not in names or files.keys() <= names
        assert main(words(root, archives)) == 0
        assert tree(root) == BOTH
        if codes[-1] == 0:
            break

    assert len(codes) > 10
