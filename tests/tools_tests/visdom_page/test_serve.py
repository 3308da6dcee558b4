"""The server of visdom's page: what it refuses, what it gives, and what it keeps."""

import functools
import json
import os
import re
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin

import pytest
import tornado

from tests.tools_tests.visdom_page.conftest import FILES, VERSION, WHOLE
from tests.worlds import free_port
from tools.cli.signals import Interrupted, install_signal_handlers
from tools.visdom_page.assets import place
from tools.visdom_page.serve import run
from tools.visdom_page.settings import VisdomServerSettings
from tools.visdom_server import main

T = TypeVar("T")


def test_a_missing_visdom_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "visdom", None)

    assert main([]) == 2
    assert "'.[visdom]'" in capsys.readouterr().err


@pytest.mark.parametrize("version", [(6, 6, 0, 0), (6, 10, 1, 0), (7, 0, 0, 0)])
def test_a_tornado_with_which_every_page_would_be_forbidden_is_refused(
    version: tuple[int, ...], package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tornado, "version_info", version)

    with pytest.raises(ValueError, match=r"tornado .*403 .*'tornado<6\.6'"):
        run(VisdomServerSettings(), package=package)


def test_a_port_that_is_taken_is_refused_before_anything_is_fetched(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        settings = VisdomServerSettings(port=port, env_path=tmp_path / "env")
        with pytest.raises(ValueError, match=rf"--port {port} on 127\.0\.0\.1: Address already"):
            run(settings, package=package)

    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("port", ["0", "65536"])
def test_a_port_that_no_machine_has_is_refused(
    port: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--port", port]) == 2
    assert f"--port is from 1 to 65535, got {port}" in capsys.readouterr().err


def test_another_address_than_this_machines_own_is_warned_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--hostname", "192.0.2.1"]) == 2  # an address for examples

    warning, error = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: --hostname 192.0.2.1: ")
    assert error.startswith("error: --port 8097 on 192.0.2.1: ")


def test_a_file_where_environments_should_be_is_refused(package: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = VisdomServerSettings(port=free_port(), env_path=tmp_path / "file")

    with pytest.raises(FileExistsError):
        run(settings, package=package)


# The server itself, with small files instead of the real ones


def serve(
    package: Path, folder: Path, visit: Callable[[str], T], number: int = signal.SIGTERM
) -> tuple[T, int]:
    """What a visitor has got of the server before a signal ended it, and the exit code."""
    place(folder / "carried", FILES, VERSION)
    port = free_port()
    settings = VisdomServerSettings(port=port, env_path=folder / "env", assets=folder / "carried")

    def visit_and_stop() -> T:
        for _ in range(600):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        try:
            return visit(f"http://127.0.0.1:{port}")
        finally:
            os.kill(os.getpid(), number)

    install_signal_handlers()
    with ThreadPoolExecutor(1) as pool:
        visited = pool.submit(visit_and_stop)
        with pytest.raises(Interrupted) as stop:
            run(settings, package=package)
    return visited.result(), stop.value.exit_code


def fetch(url: str, body: object = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(url, data, timeout=10) as answer:
        assert answer.status == 200
        content: bytes = answer.read()
    return content


def send_text(window: str, address: str) -> bytes:
    data = [{"type": "text", "content": "kept"}]
    event = {"data": data, "win": window, "eid": "run", "opts": {"title": window}}
    return fetch(f"{address}/events", event)


def test_every_file_that_the_page_names_is_given_and_on_this_machine_only(
    package: Path, tmp_path: Path
) -> None:
    def visit(address: str) -> dict[str, bytes]:
        page = re.sub(r"<!--.*?-->", "", fetch(address).decode(), flags=re.DOTALL)
        named = re.findall(r"(?:src|href)=[\"']?([^\s\"'>]+)", page)
        names = {*named} - {"favicon.png"}  # no visdom has it
        with pytest.raises(URLError, match="refused"):
            fetch(address.replace("127.0.0.1", "127.0.0.2"))  # another address of this machine
        return {name: fetch(urljoin(address, name)) for name in names}

    contents, _ = serve(package, tmp_path, visit)

    given = {name.partition("?")[0].rpartition("static/")[2] for name in contents}
    assert {"js/plotly-plotly.min.js", "js/react-react.min.js", "css/bootstrap.min.css"} <= given
    assert all(content for name, content in contents.items() if "/user/" not in name)


def test_a_signal_ends_the_server_and_its_windows_are_there_the_next_time(
    package: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "env").mkdir()
    untouched = '{"jsons": {}, "reload": {"a": 1}}'
    (tmp_path / "env" / "untouched.json").write_text(untouched)

    for number, code, window in ((signal.SIGTERM, 143, "one"), (signal.SIGINT, 130, "two")):
        answer, ended = serve(package, tmp_path, functools.partial(send_text, window), number)
        assert (answer, ended) == (window.encode(), code)

    assert capfd.readouterr().err == ""
    kept = json.loads((tmp_path / "env" / "run.json").read_text())
    assert list(kept["jsons"]) == ["one", "two"]
    assert (tmp_path / "env" / "untouched.json").read_text() == untouched


def status_of(address: str, path: str, **headers: str) -> int:
    request = urllib.request.Request(f"{address}{path}", headers=headers)
    if headers.get("Content-Type"):
        event = {"data": [{"type": "text", "content": "a"}], "win": "w", "eid": "run", "opts": {}}
        request.data = json.dumps(event).encode()
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            code: int = answer.status
            return code
    except HTTPError as error:
        error.close()
        return error.code


def test_other_hosts_and_pages_of_other_servers_are_refused_web_sockets_too(
    package: Path, tmp_path: Path
) -> None:
    web_socket = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    post = {"Content-Type": "text/plain"}
    evil, null = {"Origin": "http://evil.example"}, {"Origin": "null"}

    def visit(address: str) -> tuple[list[int], list[int]]:
        other_port = {"Origin": "http://127.0.0.1:1"}
        asked = [
            *(("/", {"Host": "evil.example"}), ("/", evil), ("/", other_port)),
            *(("/events", post | evil), ("/events", post | null), ("/save", post | evil)),
            ("/events", post | {"Host": "127.0.0.1.evil.example"}),
            *(("/socket", web_socket | evil), ("/vis_socket", web_socket | null)),
            ("/socket", web_socket | {"Host": "evil.example"}),
        ]
        refused = [status_of(address, path, **headers) for path, headers in asked]
        own = {"Origin": address}
        by_name = {"Host": address.removeprefix("http://").replace("127.0.0.1", "localhost")}
        asked = [("/", {}), ("/", own), ("/", by_name), ("/events", post), ("/events", post | own)]
        answered = [status_of(address, path, **headers) for path, headers in asked]
        return refused, answered

    (refused, answered), _ = serve(package, tmp_path, visit)

    assert refused == [403] * 10
    assert answered == [200] * 5


def test_open_connections_do_not_keep_the_server_from_ending(package: Path, tmp_path: Path) -> None:
    def visit(address: str) -> float:
        port = int(address.rpartition(":")[2])
        for text in (
            b"",
            b"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n",
        ):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.sendall(text)
            open_connections.append(connection)
        return time.monotonic()

    open_connections = list[socket.socket]()
    began, code = serve(package, tmp_path, visit)

    assert time.monotonic() - began < 5
    assert code == 143
    for connection in open_connections:
        connection.close()


def test_the_added_files_are_saved_for_another_machine(package: Path, tmp_path: Path) -> None:
    place(package / "static", FILES, VERSION)
    run(VisdomServerSettings(save_assets=tmp_path / "out"), package=package)

    assert {name: (tmp_path / "out" / name).read_bytes() for name in WHOLE} == WHOLE
