"""The server of the gallery: the files of its table and no others, on this machine alone."""

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools_tests.pages.conftest import serving
from tools.pages.gallery.server import MOST_THREADS, PageServer

ORIGINALS = {
    "a.PNG": "image/png",
    "a.jpeg": "image/jpeg",
    "a.svg": "application/octet-stream",  # may hold a script
    "a": "application/octet-stream",
}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[int]:
    """The port of a server for two files, with others beside them."""
    (tmp_path / "thumbs").mkdir()
    names = ("index.html", "secret.html", "thumbs/000000.jpg", "thumbs/000001.jpg", *ORIGINALS)
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    table = {
        "/": tmp_path / "index.html",
        "/index.html": tmp_path / "index.html",
        "/thumbs/000000.jpg": tmp_path / "thumbs" / "000000.jpg",
        "/thumbs/000002.jpg": tmp_path / "thumbs" / "000002.jpg",
        **{f"/originals/{name}": tmp_path / name for name in ORIGINALS},
    }
    with serving(table) as server:
        yield server.server_address[1]


def ask(
    port: int, path: str, method: str = "GET", **headers: str
) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.msg
    finally:
        connection.close()


@pytest.mark.parametrize(("name", "kind"), ORIGINALS.items())
def test_originals_have_the_kind_of_their_ending(name: str, kind: str, served: int) -> None:
    status, body, headers = ask(served, f"/originals/{name}")

    assert (status, body.decode(), headers["Content-Type"]) == (200, name, kind)


@pytest.mark.parametrize("path", ["/", "/index.html?at=1", "/thumbs/000000.jpg"])
def test_paths_of_the_table_are_served(path: str, served: int) -> None:
    status, body, headers = ask(served, path)

    assert status == 200
    assert body.decode() == (path.partition("?")[0].strip("/") or "index.html")
    assert headers["Content-Type"].startswith(("text/html", "image/jpeg"))
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "python" not in headers["Server"].lower()


@pytest.mark.parametrize(
    "path",
    [
        *("/secret.html", "/thumbs", "/thumbs/", "/thumbs/000001.jpg", "/thumbs/000002.jpg"),
        *("/../index.html", "/thumbs/../index.html", "/thumbs/../../../etc/passwd", "//etc/passwd"),
        *("/%2e%2e/index.html", "/thumbs%2f000000.jpg", "/..%5c..%5csecret.html", "/index.html%00"),
        *("/.lock", "/INDEX.HTML", "/index.html/", "http://127.0.0.1/index.html", "*"),
    ],
)
def test_nothing_else_is_served(path: str, served: int) -> None:
    status, body, _ = ask(served, path)

    assert status == 404
    assert b"passwd" not in body
    assert b"secret" not in body


def test_a_head_has_no_body_and_other_methods_are_not_known(served: int) -> None:
    status, body, headers = ask(served, "/", "HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", "10")

    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
        assert ask(served, "/index.html", method)[0] == 501


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1", 200), ("localhost:9", 200), ("evil.example", 404), ("127.0.0.1.evil", 404)],
)
def test_a_page_elsewhere_that_points_here_gets_nothing(
    host: str, status: int, served: int
) -> None:
    assert ask(served, "/", Host=host)[0] == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://evil.example", 404), ("null", 404), ("http://127.0.0.1:1", 404), ("http://[", 404)],
)
def test_a_request_of_a_page_elsewhere_gets_nothing(origin: str, status: int, served: int) -> None:
    assert ask(served, "/", Origin=origin)[0] == status
    assert ask(served, "/", Origin=f"http://127.0.0.1:{served}")[0] == 200


def test_connections_that_say_nothing_take_a_bounded_number_of_threads(served: int) -> None:
    before = threading.active_count()
    with contextlib.ExitStack() as idle:
        for _ in range(MOST_THREADS + 20):
            idle.enter_context(socket.create_connection(("127.0.0.1", served)))
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            ask(served, "/")
        assert threading.active_count() - before <= MOST_THREADS

    for _ in range(100):  # until the threads have seen that their connections are closed
        with contextlib.suppress(ConnectionError, http.client.HTTPException):
            assert ask(served, "/")[0] == 200
            return
        time.sleep(0.05)
    pytest.fail("the server is still busy")


def test_the_server_listens_on_this_machine_alone() -> None:
    with PageServer(0) as server:
        assert server.server_address[0] == "127.0.0.1"
        assert server.address == f"http://127.0.0.1:{server.server_address[1]}/"
