"""visdom's page made whole from every source or refused, and the server that gives it."""

import contextlib
import hashlib
import importlib.util
import io
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError
from urllib.parse import urljoin

import pytest

from tests.conftest import snapshot
from tools.visdom_page import assets as visdom_assets
from tools.visdom_page import packages as visdom_packages
from tools.visdom_page import serve as visdom_server
from tools.visdom_page.assets import complete_page, place, read_package, wanted_files
from tools.visdom_page.packages import PACKAGES, Package
from tools.visdom_server import main

PROJECT = Path(__file__).parents[3]
INSTALLED = visdom_assets.visdom_folder()
VERSION = (INSTALLED / "VERSION").read_text().strip()
WANTED = wanted_files(VERSION)
DOWNLOAD = visdom_assets.DOWNLOAD
ADDED = (*WANTED, "version.built")
FILES = {name: f"content of {name}".encode() for name in WANTED}
NOT_THERE = "import sys; sys.exit('Error: no internet')"


# A visdom of our own, as pip installs it


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package without what somebody may have added, on a machine without sources."""
    copy = tmp_path / "packages" / "visdom"
    shutil.copytree(INSTALLED, copy, ignore=shutil.ignore_patterns("__pycache__", "*.map"))
    for name in ADDED:
        (copy / "static" / name).unlink(missing_ok=True)
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(visdom_assets, "visdom_folder", lambda: copy)
    monkeypatch.setattr(visdom_assets, "DOWNLOAD", NOT_THERE)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return copy


@pytest.fixture
def static(package: Path) -> Path:
    return package / "static"


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
def archives(tmp_path: Path, static: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packages with small files, known by their hashes, and an ``npm`` that brings them."""
    folder = tmp_path / "archives"
    folder.mkdir()
    known = []
    for one in PACKAGES[VERSION]:
        members = {path: FILES[name] for path, name in one.files.items()}
        archive = pack(members | {"README.md": b"not wanted"})
        (folder / one.archive).write_bytes(archive)
        known.append(with_hash(one, archive))
    monkeypatch.setitem(visdom_packages.PACKAGES, VERSION, tuple(known))
    write_npm(tmp_path, f'echo "$@" > {tmp_path}/asked; /bin/cp {folder}/*.tgz .')
    return folder


def write_npm(tmp_path: Path, script: str) -> None:
    npm = tmp_path / "bin" / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(0o755)


def added(static: Path) -> dict[str, bytes]:
    return {name: (static / name).read_bytes() for name in ADDED if (static / name).exists()}


WHOLE = {**FILES, "version.built": VERSION.encode()}


# Where the files come from


def test_a_page_that_is_complete_is_left_alone(
    static: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place(static, FILES, VERSION)
    before = snapshot(static)

    assert complete_page() == static
    assert snapshot(static) == before
    assert f"visdom {VERSION}: its page is complete" in capsys.readouterr().out


def test_a_folder_filled_elsewhere_completes_the_page(
    static: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place(tmp_path / "carried", FILES, VERSION)

    assert complete_page(tmp_path / "carried") == static
    assert added(static) == WHOLE
    assert capsys.readouterr().out == (
        f"visdom {VERSION}: {len(WANTED)} files of its page, from {tmp_path / 'carried'}, are now "
        f"in {static}\n"
    )


def test_what_one_machine_saves_another_one_takes(static: Path, tmp_path: Path) -> None:
    carried = tmp_path / "deep" / "carried"
    place(static, FILES, VERSION)

    assert main(["--save-assets", str(carried)]) == 0
    for name in ADDED:
        (static / name).unlink()

    assert complete_page(carried) == static
    assert added(carried) == added(static) == WHOLE


def test_a_folder_filled_by_hand_needs_no_version(static: Path, tmp_path: Path) -> None:
    place(tmp_path / "carried", FILES, VERSION)
    (tmp_path / "carried" / "version.built").unlink()

    assert complete_page(tmp_path / "carried") == static
    assert added(static) == WHOLE


@pytest.mark.parametrize("content", [None, b"", b"<!DOCTYPE html>404", b" \n<html>"])
def test_a_folder_with_a_gap_is_refused_and_adds_nothing(
    content: bytes | None, static: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    carried = tmp_path / "carried"
    place(carried, FILES, VERSION)
    (carried / "js/sjcl.js").unlink()
    if content is not None:
        (carried / "js/sjcl.js").write_bytes(content)

    assert main(["--save-assets", str(tmp_path / "out"), "--assets", str(carried)]) == 2
    assert capsys.readouterr().err == (
        f"error: --assets {carried}: 1 of {len(WANTED)} files are absent, empty or error pages, "
        "the first is js/sjcl.js\n"
    )
    assert added(static) == {}


def test_a_folder_for_another_visdom_is_refused(static: Path, tmp_path: Path) -> None:
    place(tmp_path / "carried", FILES, "0.1.8")

    with pytest.raises(ValueError, match=f"for visdom 0.1.8, installed is {VERSION}"):
        complete_page(tmp_path / "carried")


def test_npm_completes_the_page(
    static: Path, archives: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert complete_page() == static

    assert added(static) == WHOLE
    assert not (static / "README.md").exists()
    asked = (tmp_path / "asked").read_text().split()
    assert asked[0] == "pack"
    assert {package.name for package in PACKAGES[VERSION]} <= set(asked)
    assert f"{len(WANTED)} files of its page, from npm, are now in" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_damaged_package_is_refused_by_its_hash(
    damage: str, static: Path, archives: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = archives / "sjcl-1.0.7.tgz"
    content = path.read_bytes()
    path.write_bytes(content[:-20] if damage == "cut" else content[:-1] + b"?")

    assert main(["--save-assets", str(tmp_path / "out")]) == 2
    assert "npm: sjcl-1.0.7.tgz has sha256 " in capsys.readouterr().err
    assert added(static) == {}


def test_a_package_that_npm_did_not_bring_is_named(
    static: Path, archives: Path, tmp_path: Path
) -> None:
    (archives / "d3-3.5.17.tgz").unlink()

    with pytest.raises(FileNotFoundError, match=re.escape("npm: wrote no d3-3.5.17.tgz")):
        complete_page()


def test_of_a_package_only_regular_files_are_taken() -> None:
    link = tarfile.TarInfo()
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    archive = pack({"a.js": b"a", "b.js": link})
    package = with_hash(Package("two@1.0", "", {"a.js": "js/a.js", "b.js": "js/b.js"}), archive)

    with pytest.raises(ConnectionError, match=re.escape("two-1.0.tgz lacks js/b.js")):
        read_package(archive, package)


def test_visdoms_own_download_completes_the_page(
    static: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place(tmp_path / "site", FILES, VERSION)
    copying = f"import shutil; shutil.copytree({str(tmp_path / 'site')!r}, 'static')"
    monkeypatch.setattr(visdom_assets, "DOWNLOAD", copying)

    assert complete_page() == static
    assert added(static) == WHOLE


def test_a_download_that_calls_itself_complete_with_a_file_missing_is_not_taken(
    static: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place(tmp_path / "site", {name: FILES[name] for name in WANTED[1:]}, VERSION)
    copying = f"import shutil; shutil.copytree({str(tmp_path / 'site')!r}, 'static')"
    monkeypatch.setattr(visdom_assets, "DOWNLOAD", copying)

    with pytest.raises(FileNotFoundError, match=f"1 files did not come, the first is {WANTED[0]}"):
        complete_page()
    assert added(static) == {}


def test_the_traceback_of_visdoms_own_download_becomes_a_reason(
    static: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visdom_assets, "DOWNLOAD", DOWNLOAD)
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")  # nobody there
    monkeypatch.setenv("no_proxy", "")

    with pytest.raises(FileNotFoundError, match=r"the network: .*Connection refused.*; on a mach"):
        complete_page()
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


def test_without_any_source_one_line_says_what_to_do(
    static: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(static)

    assert main(["--save-assets", str(tmp_path / "out")]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"error: visdom {VERSION}: {len(WANTED)} files of its page are missing (npm: not "
        "installed; the network: Error: no internet); on a machine with internet run python -m "
        "tools.visdom_server --save-assets DIR, bring DIR here, and start with --assets DIR"
    )
    assert snapshot(static) == before


def test_why_npm_failed_is_told(static: Path, tmp_path: Path) -> None:
    write_npm(tmp_path, "echo npm warn old >&2; echo npm error code ENOTFOUND >&2; exit 1")

    with pytest.raises(FileNotFoundError, match="npm: npm error code ENOTFOUND;"):
        complete_page()


def test_an_npm_that_does_not_end_is_ended(
    static: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visdom_assets, "PATIENCE_S", 0.3)
    write_npm(tmp_path, f"echo $$ > {tmp_path}/pid; exec /bin/sleep 60")

    with pytest.raises(FileNotFoundError, match="npm: not done after 0 s"):
        complete_page()
    assert not is_running(int((tmp_path / "pid").read_text()))


def test_a_signal_ends_npm_and_the_command(
    static: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_npm(tmp_path, f"echo $$ > {tmp_path}/pid; /bin/sleep 60; echo")
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    start = time.monotonic()

    assert main(["--save-assets", str(tmp_path / "out")]) == 143

    timer.join()
    assert time.monotonic() - start < 10
    assert capsys.readouterr().err == "stopped by SIGTERM\n"
    assert not is_running(int((tmp_path / "pid").read_text()))
    assert added(static) == {}


def is_running(process: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False


# How they are put in place


@pytest.mark.parametrize("name", ["js/jquery.min.js", "index.html", "version.built"])
def test_a_page_with_a_gap_is_made_whole_again(
    name: str, static: Path, archives: Path, tmp_path: Path
) -> None:
    place(static, FILES, VERSION)
    (static / name).write_text("")

    complete_page()

    assert (tmp_path / "asked").exists()
    assert added(static) == WHOLE


def test_an_error_page_under_the_name_of_a_script_is_a_gap(static: Path, archives: Path) -> None:
    place(static, FILES, VERSION)
    (static / "js/mathjax").rename(static / "js/elsewhere")
    (static / "js/jquery.min.js").write_text("<html>404 Not Found</html>")

    complete_page()

    assert added(static) == WHOLE


def test_a_disk_that_fills_up_leaves_no_part_and_no_word_that_it_is_whole(static: Path) -> None:
    place(static, FILES, VERSION)
    files = {WANTED[0]: b"new", WANTED[1]: b"x" * 5000, WANTED[2]: b"new"}

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            place(static, files, VERSION)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    expected = {**FILES, WANTED[0]: b"new"}
    assert added(static) == expected
    assert not list(static.rglob("*.part"))


def test_a_package_that_may_not_be_written_to_is_served_from_the_users_cache(
    static: Path, archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(static)
    may_access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != static and may_access(path, mode))

    page = complete_page()

    assert page == tmp_path / "cache" / "wsddn-localizer" / f"visdom-{VERSION}"
    assert added(page) == WHOLE
    assert (page / "js/main.js").read_bytes() == (static / "js/main.js").read_bytes()
    assert snapshot(static) == before
    archives.joinpath("sjcl-1.0.7.tgz").unlink()
    assert complete_page() == page  # the next time nothing is fetched


# Refusals


def test_an_unknown_visdom_is_refused(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (package / "VERSION").write_text("9.9.9\n")

    assert main(["--save-assets", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == (
        "error: visdom 9.9.9: only the pages of 0.2.4 and 0.3.0 are known here\n"
    )


def test_a_missing_visdom_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    assert main([]) == 2
    assert capsys.readouterr().err == ("error: visdom is not installed (pip install '.[visdom]')\n")


@pytest.mark.parametrize("version", ["6.6", "6.10.1", "7.0"])
def test_a_tornado_with_which_every_page_would_be_forbidden_is_refused(
    version: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    newer = SimpleNamespace(version=lambda name: version)
    monkeypatch.setattr(visdom_server, "metadata", newer)

    assert main([]) == 2
    assert capsys.readouterr().err == (
        f"error: tornado {version}: every page of visdom would answer 403 "
        "(pip install 'tornado<6.6')\n"
    )


def test_a_port_that_is_taken_is_refused_before_anything_is_fetched(
    static: Path, archives: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["--port", str(port), "--env-path", str(tmp_path / "env")]) == 2

    assert capsys.readouterr() == (
        "",
        f"error: --port {port} on 127.0.0.1: Address already in use\n",
    )
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize("port", ["0", "-1", "65536"])
def test_a_port_that_no_machine_has_is_refused(
    port: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--port", port]) == 2
    assert capsys.readouterr().err == f"error: --port is from 1 to 65535, got {port}\n"


def test_another_address_than_this_machines_own_is_warned_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--hostname", "192.0.2.1"]) == 2  # an address of examples, which nobody has

    warning, error = capsys.readouterr().err.splitlines()
    assert warning == (
        "warning: --hostname 192.0.2.1: everybody who reaches port 8097 of this machine can see, "
        "change and delete the windows"
    )
    assert error == "error: --port 8097 on 192.0.2.1: Cannot assign requested address"


def test_a_file_where_environments_should_be_is_refused(
    static: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()

    assert main(["--port", str(free_port()), "--env-path", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'file'}: File exists\n"


# The server itself, with small files instead of the real ones


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@contextlib.contextmanager
def serving(package: Path, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server that has said where it is, and its address."""
    place(folder / "carried", FILES, VERSION)
    port = free_port()
    flags = f"--port {port} --env-path {folder / 'env'} --assets {folder / 'carried'}"
    with (
        (folder / "errors.txt").open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "tools.visdom_server", *flags.split()],
            cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": str(package.parent)},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as server,
    ):
        timer = threading.Timer(60, server.kill)
        timer.start()
        try:
            address = f"http://127.0.0.1:{port}"
            assert server.stdout is not None
            said = iter(server.stdout.readline, "")
            assert any(line.startswith(f"visdom is at {address} ") for line in said)
            yield server, address
        finally:
            timer.cancel()
            timer.join()
            server.kill()


def fetch(url: str, body: object = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(url, data, timeout=10) as answer:
        assert answer.status == 200
        content: bytes = answer.read()
    return content


def send_text(address: str, window: str) -> None:
    data = [{"type": "text", "content": "kept"}]
    event = {"data": data, "win": window, "eid": "run", "opts": {"title": window}}
    assert fetch(f"{address}/events", event) == window.encode()


def test_every_file_that_the_page_names_is_given_and_on_this_machine_only(
    package: Path, tmp_path: Path
) -> None:
    with serving(package, tmp_path) as (_, address):
        page = re.sub(r"<!--.*?-->", "", fetch(address).decode(), flags=re.DOTALL)
        names = re.findall(r"(?:src|href)=[\"']?([^\s\"'>]+)", page)
        contents = {url: fetch(url) for url in (urljoin(address, name) for name in names)}
        with pytest.raises(URLError, match="refused"):
            fetch(address.replace("127.0.0.1", "127.0.0.2"))  # another address of this machine

    given = {url.partition("?")[0].removeprefix(f"{address}/static/") for url in contents}
    assert {"js/plotly-plotly.min.js", "js/react-react.min.js", "css/bootstrap.min.css"} <= given
    assert all(content for url, content in contents.items() if "/static/" in url)


def test_a_signal_ends_the_server_and_its_windows_are_there_the_next_time(
    package: Path, tmp_path: Path
) -> None:
    (tmp_path / "env").mkdir()
    untouched = '{"jsons": {}, "reload": {"a": 1}}'
    (tmp_path / "env" / "untouched.json").write_text(untouched)

    for number, code, window in ((signal.SIGTERM, 143, "one"), (signal.SIGINT, 130, "two")):
        with serving(package, tmp_path) as (server, address):
            send_text(address, window)
            server.send_signal(number)
            assert server.wait(timeout=5) == code
        assert (tmp_path / "errors.txt").read_text() == f"stopped by {number.name}\n"

    kept = json.loads((tmp_path / "env" / "run.json").read_text())
    assert list(kept["jsons"]) == ["one", "two"]
    assert (tmp_path / "env" / "untouched.json").read_text() == untouched
