"""visdom's page made whole from every source, and refused where none has all of it."""

import contextlib
import functools
import hashlib
import io
import os
import re
import tarfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.conftest import snapshot
from tests.tools_tests.visdom_page.conftest import ADDED, FILES, INSTALLED, VERSION, WANTED, WHOLE
from tests.worlds import files_of_at_most
from tools.cli.signals import Interrupted, install_signal_handlers
from tools.visdom_page.assets import DOWNLOAD, complete_page, place, read_package, save_assets
from tools.visdom_page.packages import PACKAGES, Package

Complete = Callable[..., Path]


@pytest.fixture
def complete(package: Path) -> Complete:
    """Completes the page of the copy, on a machine without npm and internet."""
    nothing = "import sys; sys.exit('Error: no internet')"
    return functools.partial(complete_page, package=package, downloader=nothing)


def pack(members: Mapping[str, bytes | tarfile.TarInfo]) -> bytes:
    """A package as npm makes it: everything in a folder ``package``."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as content:
        for name, member in members.items():
            if isinstance(member, bytes):
                info = tarfile.TarInfo(f"package/{name}")
                info.size = len(member)
                content.addfile(info, io.BytesIO(member))
            else:
                member.name = f"package/{name}"
                content.addfile(member)
    return archive.getvalue()


def with_hash(package: Package, archive: bytes) -> Package:
    return Package(package.name, hashlib.sha256(archive).hexdigest(), package.files)


@pytest.fixture
def archives(tmp_path: Path, package: Path) -> Path:
    """Packages with small files, and an ``npm`` that brings them."""
    folder = tmp_path / "archives"
    folder.mkdir()
    for one in PACKAGES[VERSION]:
        members = {path: FILES[name] for path, name in one.files.items()}
        archive = pack(members | {"README.md": b"not wanted"})
        (folder / one.archive).write_bytes(archive)
    write_npm(tmp_path, f'echo "$@" > {tmp_path}/asked; /bin/cp {folder}/*.tgz .')
    return folder


@pytest.fixture
def with_npm(archives: Path, complete: Complete) -> Complete:
    """The same where these packages are known by their hashes."""
    known = [with_hash(one, (archives / one.archive).read_bytes()) for one in PACKAGES[VERSION]]
    return functools.partial(complete, packages={VERSION: known})


def write_npm(tmp_path: Path, script: str) -> None:
    npm = tmp_path / "bin" / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(0o755)


def added(static: Path) -> dict[str, bytes]:
    return {name: (static / name).read_bytes() for name in ADDED if (static / name).exists()}


# Where the files come from


def test_a_page_that_is_complete_is_left_alone(static: Path, complete: Complete) -> None:
    place(static, FILES, VERSION)
    before = snapshot(static)

    assert complete() == static
    assert snapshot(static) == before


def test_what_one_machine_saves_another_one_takes(
    static: Path, complete: Complete, tmp_path: Path
) -> None:
    carried = tmp_path / "deep" / "carried"
    place(static, FILES, VERSION)
    save_assets(static, carried)
    for name in ADDED:
        (static / name).unlink()

    assert complete(carried) == static
    assert added(carried) == added(static) == WHOLE


def test_a_folder_filled_by_hand_needs_no_version(
    static: Path, complete: Complete, tmp_path: Path
) -> None:
    place(tmp_path / "carried", FILES, VERSION)
    (tmp_path / "carried" / "version.built").unlink()

    assert complete(tmp_path / "carried") == static
    assert added(static) == WHOLE


@pytest.mark.parametrize("content", [None, b"", b"<!DOCTYPE html>404"])
def test_a_folder_with_a_gap_is_refused_and_adds_nothing(
    content: bytes | None, static: Path, complete: Complete, tmp_path: Path
) -> None:
    carried = tmp_path / "carried"
    place(carried, FILES, VERSION)
    (carried / "js/sjcl.js").unlink()
    if content is not None:
        (carried / "js/sjcl.js").write_bytes(content)

    with pytest.raises(ValueError, match=rf"--assets {carried}: 1 of .* js/sjcl\.js"):
        complete(carried)
    assert added(static) == {}


def test_a_folder_for_another_visdom_is_refused(complete: Complete, tmp_path: Path) -> None:
    place(tmp_path / "carried", FILES, "0.1.8")

    with pytest.raises(ValueError, match=rf"visdom 0\.1\.8, .*{VERSION}"):
        complete(tmp_path / "carried")


def test_npm_completes_the_page(static: Path, with_npm: Complete, tmp_path: Path) -> None:
    assert with_npm() == static

    assert added(static) == WHOLE
    assert not (static / "README.md").exists()
    asked = (tmp_path / "asked").read_text().split()
    assert asked[0] == "pack"
    assert {package.name for package in PACKAGES[VERSION]} <= set(asked)


@pytest.mark.parametrize("damage", ["cut", "changed", "missing"])
def test_a_damaged_or_missing_package_is_named(
    damage: str, static: Path, archives: Path, with_npm: Complete
) -> None:
    path = archives / "sjcl-1.0.7.tgz"
    content = path.read_bytes()
    path.write_bytes(content[:-20] if damage == "cut" else content[:-1] + b"?")
    if damage == "missing":
        path.unlink()

    with pytest.raises(FileNotFoundError, match=r"npm: .*sjcl-1\.0\.7\.tgz"):
        with_npm()
    assert added(static) == {}


def test_of_a_package_only_regular_files_are_taken() -> None:
    link = tarfile.TarInfo()
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    archive = pack({"a.js": b"a", "b.js": link})
    package = with_hash(Package("two@1.0", "", {"a.js": "js/a.js", "b.js": "js/b.js"}), archive)

    with pytest.raises(ConnectionError, match=re.escape("two-1.0.tgz lacks js/b.js")):
        read_package(archive, package)


@pytest.mark.parametrize("first", [0, 1])
def test_visdoms_own_download_completes_the_page_unless_a_file_is_missing(
    first: int, static: Path, complete: Complete, tmp_path: Path
) -> None:
    place(tmp_path / "site", {name: FILES[name] for name in WANTED[first:]}, VERSION)
    copying = f"import shutil; shutil.copytree({str(tmp_path / 'site')!r}, 'static')"

    if first:
        with pytest.raises(FileNotFoundError, match=f"1 files .*{WANTED[0]}"):
            complete(downloader=copying)
    else:
        assert complete(downloader=copying) == static
    assert added(static) == ({} if first else WHOLE)


def test_the_traceback_of_visdoms_own_download_becomes_a_reason(
    static: Path, complete: Complete, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")  # no server
    monkeypatch.setenv("no_proxy", "")

    with pytest.raises(FileNotFoundError, match=r"the network: .*Connection refused"):
        complete(downloader=DOWNLOAD)
    assert added(static) == {}


def test_the_table_has_every_file_that_the_installed_visdom_would_download() -> None:
    source = (INSTALLED / "server" / "build.py").read_text()
    names = set(re.findall(r'(?:% bb?|"): "([\w.#-]+)"|: "([\w.#-]+\.js)",', source))
    listed = {name for pair in names for name in pair if name}
    mathjax = set(re.findall(r'^ {8}"([\w/-]+\.js)\?', source, flags=re.MULTILINE))
    paths = {name.split("/", 1)[1] for name in WANTED if "mathjax" not in name}
    at = f"js/mathjax/{'2.7.5' if VERSION == '0.2.4' else '3.2.2'}/"

    assert listed <= paths
    assert {at + name for name in mathjax} <= set(WANTED)


def test_without_any_source_each_reason_is_told_and_what_to_do(
    static: Path, complete: Complete
) -> None:
    before = snapshot(static)

    with pytest.raises(FileNotFoundError, match="npm: not installed; the network: Error: no") as no:
        complete()
    assert "--save-assets DIR" in str(no.value)
    assert snapshot(static) == before


def test_why_npm_failed_is_told(complete: Complete, tmp_path: Path) -> None:
    write_npm(tmp_path, "echo npm warn old >&2; echo npm error code ENOTFOUND >&2; exit 1")

    with pytest.raises(FileNotFoundError, match="npm: npm error code ENOTFOUND;"):
        complete()


def test_an_npm_that_does_not_end_is_ended(complete: Complete, tmp_path: Path) -> None:
    write_npm(tmp_path, f"echo $$ > {tmp_path}/pid; exec /bin/sleep 60")

    with pytest.raises(FileNotFoundError, match="npm: not done after 0 s"):
        complete(timeout=0.4)
    assert not is_running(int((tmp_path / "pid").read_text()))


def test_a_signal_ends_npm_and_the_work(static: Path, complete: Complete, tmp_path: Path) -> None:
    write_npm(tmp_path, f"echo $$ > {tmp_path}/pid; /bin/kill -TERM $PPID; /bin/sleep 60; echo")
    install_signal_handlers()
    start = time.monotonic()

    with pytest.raises(Interrupted):
        complete()

    assert time.monotonic() - start < 10
    assert not is_running(int((tmp_path / "pid").read_text()))
    assert added(static) == {}


def is_running(process: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False


# How they are put in place


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("js/jquery.min.js", ""),
        ("js/jquery.min.js", "<html>404 Not Found</html>"),
        ("index.html", ""),
        ("version.built", ""),
    ],
)
def test_a_page_with_a_gap_is_made_whole_again(
    name: str, content: str, static: Path, with_npm: Complete, tmp_path: Path
) -> None:
    place(static, FILES, VERSION)
    (static / name).write_text(content)

    with_npm()

    assert (tmp_path / "asked").exists()
    assert added(static) == WHOLE


def test_a_disk_that_fills_up_leaves_no_part_and_no_word_that_it_is_whole(static: Path) -> None:
    place(static, FILES, VERSION)
    files = {WANTED[0]: b"new", WANTED[1]: b"x" * 5000, WANTED[2]: b"new"}

    with files_of_at_most(1000), pytest.raises(OSError, match="too large"):
        place(static, files, VERSION)

    assert added(static) == {**FILES, WANTED[0]: b"new"}
    assert not list(static.rglob("*.part"))


def test_a_package_that_may_not_be_written_to_is_served_from_the_users_cache(
    static: Path,
    archives: Path,
    with_npm: Complete,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = snapshot(static)
    may_access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != static and may_access(path, mode))

    page = with_npm()

    assert page == tmp_path / "cache" / "wsddn-localizer" / f"visdom-{VERSION}"
    assert added(page) == WHOLE
    assert (page / "js/main.js").read_bytes() == (static / "js/main.js").read_bytes()
    assert snapshot(static) == before
    archives.joinpath("sjcl-1.0.7.tgz").unlink()
    assert with_npm() == page  # the next time nothing is fetched


def test_an_unknown_visdom_is_refused(package: Path, complete: Complete) -> None:
    (package / "VERSION").write_text("9.9.9\n")

    with pytest.raises(ValueError, match=r"visdom 9\.9\.9: .* 0\.2\.4 and 0\.3\.0"):
        complete()
