"""visdom's page made whole from every source, and refused where none has all of it."""

import functools
import hashlib
import io
import os
import re
import signal
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conftest import snapshot
from tests.tools_tests.visdom_page.conftest import ADDED, FILES, INSTALLED, VERSION, WANTED, WHOLE
from tests.worlds import files_of_at_most
from tools.cli.signals import Interrupted, install_signal_handlers
from tools.visdom_page.assets import (
    Package,
    complete_page,
    packages_for,
    place,
    save_assets,
)

Complete = Callable[..., Path]
NOWHERE = "http://127.0.0.1:1"  # no server


@pytest.fixture
def complete(package: Path) -> Complete:
    """Completes the page of the copy, on a machine without internet access."""

    def complete(assets: Path | None = None, registry: str = NOWHERE) -> Path:
        return complete_page(assets, package, registry=registry)

    return complete


class Registry(ThreadingHTTPServer):
    """npm's registry with small archives by their paths; one that is None never comes."""

    daemon_threads = True

    def __init__(self, archives: Mapping[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.archives: dict[str, bytes | None] = dict(archives)
        self.asked: list[str] = []
        self.is_over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Request(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        path = self.path.removeprefix("/")
        self.server.asked.append(path)
        archive = self.server.archives.get(path, b"")
        if archive is None:
            os.kill(os.getpid(), signal.SIGTERM)
            self.server.is_over.wait(60)
            return
        self.send_response(200 if archive else 404)
        self.end_headers()
        self.wfile.write(archive)

    def log_message(self, *args: object) -> None:
        pass


def pack(files: Mapping[str, bytes]) -> bytes:
    """A package as npm makes it: everything in a folder ``package``."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as content:
        for name, body in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(body)
            content.addfile(info, io.BytesIO(body))
    return archive.getvalue()


def packed(package: Package) -> bytes:
    files = {path: FILES[name] for path, name in package.files.items()}
    return pack(files | {"README.md": b"not wanted"})


@pytest.fixture
def registry() -> Iterator[Registry]:
    archives = {one.path: packed(one) for one in packages_for(VERSION)}
    with Registry(archives) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.is_over.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def online(registry: Registry, package: Path) -> Complete:
    """The same where this registry is reached, and its packages are known by their hashes."""
    known = [
        replace(one, sha256=hashlib.sha256(registry.archives[one.path] or b"").hexdigest())
        for one in packages_for(VERSION)
    ]
    return functools.partial(complete_page, None, package, packages=known, registry=registry.url)


def added(static: Path) -> dict[str, bytes]:
    return {name: (static / name).read_bytes() for name in ADDED if (static / name).exists()}


# Where the files come from


def test_a_page_that_is_complete_is_left_alone(static: Path, complete: Complete) -> None:
    place(static, FILES, VERSION)
    before = snapshot(static)

    assert complete() == static
    assert snapshot(static) == before


def test_what_one_machine_saves_another_one_takes(
    cached: Path, complete: Complete, tmp_path: Path
) -> None:
    place(tmp_path / "one", FILES, VERSION)
    carried = tmp_path / "deep" / "carried"
    save_assets(tmp_path / "one", carried)

    assert complete(carried) == cached
    assert added(carried) == added(cached) == WHOLE


def test_a_folder_filled_by_hand_needs_no_version(
    cached: Path, complete: Complete, tmp_path: Path
) -> None:
    place(tmp_path / "carried", FILES, VERSION)
    (tmp_path / "carried" / "version.built").unlink()

    assert complete(tmp_path / "carried") == cached
    assert added(cached) == WHOLE


@pytest.mark.parametrize("content", [None, b"", b"<!DOCTYPE html>404"])
def test_a_folder_with_a_gap_is_refused_and_adds_nothing(
    content: bytes | None, cached: Path, complete: Complete, tmp_path: Path
) -> None:
    carried = tmp_path / "carried"
    place(carried, FILES, VERSION)
    (carried / "js/sjcl.js").unlink()
    if content is not None:
        (carried / "js/sjcl.js").write_bytes(content)

    with pytest.raises(ValueError, match=rf"--assets {carried}: 1 of .* js/sjcl\.js"):
        complete(carried)
    assert not cached.exists()


def test_a_folder_for_another_visdom_is_refused(complete: Complete, tmp_path: Path) -> None:
    place(tmp_path / "carried", FILES, "0.1.8")

    with pytest.raises(ValueError, match=rf"visdom 0\.1\.8, .*{VERSION}"):
        complete(tmp_path / "carried")


def test_the_registry_completes_the_page_once_and_the_package_stays_as_it_is(
    package: Path, static: Path, cached: Path, online: Complete, registry: Registry
) -> None:
    before = snapshot(package)

    assert online() == cached

    assert added(cached) == WHOLE
    assert (cached / "js/main.js").read_bytes() == (static / "js/main.js").read_bytes()
    assert not (cached / "README.md").exists()
    assert snapshot(package) == before
    assert registry.asked == list(registry.archives)
    assert "sjcl/-/sjcl-1.0.7.tgz" in registry.asked
    registry.archives.clear()
    assert online() == cached  # nothing is fetched again


@pytest.mark.parametrize(
    ("damage", "problem"), [(b"?", "sha256 .*, not "), (b"", "HTTP Error 404")]
)
def test_a_damaged_or_missing_package_is_named_and_adds_nothing(
    damage: bytes, problem: str, cached: Path, online: Complete, registry: Registry
) -> None:
    registry.archives["sjcl/-/sjcl-1.0.7.tgz"] = damage

    with pytest.raises(FileNotFoundError, match=rf"sjcl-1\.0\.7\.tgz: {problem}"):
        online()
    assert not cached.exists()


def test_the_table_has_every_file_that_the_installed_visdom_would_download() -> None:
    source = (INSTALLED / "server" / "build.py").read_text()
    names = set(re.findall(r'(?:% bb?|"): "([\w.#-]+)"|: "([\w.#-]+\.js)",', source))
    listed = {name for pair in names for name in pair if name}
    mathjax = set(re.findall(r'^ {8}"([\w/-]+\.js)\?', source, flags=re.MULTILINE))
    paths = {name.split("/", 1)[1] for name in WANTED if "mathjax" not in name}
    at = f"js/mathjax/{'2.7.5' if VERSION == '0.2.4' else '3.2.2'}/"

    assert listed <= paths
    assert {at + name for name in mathjax} <= set(WANTED)


def test_without_internet_access_it_is_told_what_to_do(cached: Path, complete: Complete) -> None:
    with pytest.raises(FileNotFoundError, match=r"jquery-3\.1\.1\.tgz: .*refused") as no:
        complete()
    assert "--save-assets DIR" in str(no.value)
    assert not cached.exists()


def test_a_signal_ends_the_waiting_at_once(
    cached: Path, online: Complete, registry: Registry
) -> None:
    registry.archives["sjcl/-/sjcl-1.0.7.tgz"] = None
    install_signal_handlers()
    start = time.monotonic()

    with pytest.raises(Interrupted):
        online()

    assert time.monotonic() - start < 10
    assert not cached.exists()


# How they are put in place


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("js/jquery.min.js", ""),
        ("js/jquery.min.js", "<html>404 Not Found</html>"),
        ("version.built", ""),
    ],
)
def test_a_page_with_a_gap_is_made_whole_again(
    name: str, content: str, cached: Path, online: Complete, registry: Registry
) -> None:
    place(cached, FILES, VERSION)
    (cached / name).write_text(content)

    online()

    assert registry.asked
    assert added(cached) == WHOLE


def test_a_disk_that_fills_up_leaves_no_part_and_no_word_that_it_is_whole(static: Path) -> None:
    place(static, FILES, VERSION)
    files = {WANTED[0]: b"new", WANTED[1]: b"x" * 5000, WANTED[2]: b"new"}

    with files_of_at_most(1000), pytest.raises(OSError, match="5000 bytes could not be written"):
        place(static, files, VERSION)

    assert added(static) == {**FILES, WANTED[0]: b"new"}
    assert not list(static.rglob("*.tmp"))


@pytest.mark.parametrize("content", ["", "<html>404 Not Found</html>"])
def test_a_package_whose_own_download_left_a_gap_is_not_served(
    content: str, package: Path, static: Path, cached: Path, online: Complete
) -> None:
    place(static, FILES, VERSION)
    (static / "js/jquery.min.js").write_text(content)
    before = snapshot(package)

    assert online() == cached
    assert added(cached) == WHOLE
    assert snapshot(package) == before


def test_an_unknown_visdom_is_refused(package: Path, complete: Complete) -> None:
    (package / "VERSION").write_text("9.9.9\n")

    with pytest.raises(ValueError, match=r"visdom 9\.9\.9: .* 0\.2\.4 and 0\.3\.0"):
        complete()
