"""A local read-only server for the files of a table, and no others."""

import mimetypes
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, NoReturn

from tools.cli.hosts import is_foreign
from tools.cli.signals import check_interrupted

ADDRESS = "127.0.0.1"
LISTEN_S = 0.2  # between two checks for a signal
MOST_THREADS = 32  # a browser opens six connections; more than these at once are closed


class PageServer(ThreadingHTTPServer):
    """Answers GET and HEAD for the paths of its table, and 404 for all others.

    Attributes:
        table: files by URL path, such as ``/index.html``; empty at first.

    Args:
        port: bound at once; 0 for any free one.

    Raises:
        OSError: the port is in use; the message names it.
    """

    daemon_threads = True
    request_queue_size = 2 * MOST_THREADS
    timeout = LISTEN_S

    def __init__(self, port: int) -> None:
        self.table: Mapping[str, Path] = {}
        self._free = BoundedSemaphore(MOST_THREADS)
        try:
            super().__init__((ADDRESS, port), _Request)
        except OSError as error:
            raise OSError(
                f"{ADDRESS}:{port}: {error.strerror} (--serve PORT takes another port)"
            ) from error

    @property
    def address(self) -> str:
        """URL of the first page."""
        return f"http://{ADDRESS}:{self.server_address[1]}/"

    def serve_until_stopped(self) -> NoReturn:
        """Answer requests until a signal comes.

        Raises:
            Interrupted: when the signal comes.
        """
        while True:
            check_interrupted()
            self.handle_request()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, or close the connection while too many are open."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one request."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, *_: object) -> None:
        """Ignore a browser that closes the connection during an answer."""


def _content_type(path: Path) -> str:
    """A page of ours or an image; a file of another kind is not shown as anything."""
    if path.suffix == ".html":
        return "text/html; charset=utf-8"
    kind = mimetypes.guess_type(path.name)[0] or ""
    is_image = kind.startswith("image/") and kind != "image/svg+xml"
    return kind if is_image else "application/octet-stream"


class _Request(BaseHTTPRequestHandler):
    server_version, sys_version = "gallery", ""
    timeout = 30

    def do_GET(self) -> None:
        server: Any = self.server
        path = server.table.get(self.path.partition("?")[0])
        host, origin = self.headers.get("Host", ADDRESS), self.headers.get("Origin")
        if path is None or is_foreign(host, origin, ADDRESS):
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        try:
            content: bytes = path.read_bytes()
        except OSError:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", _content_type(path))
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", "frame-ancestors 'none'")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Cache-Control", "no-cache")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Print nothing for a request."""
