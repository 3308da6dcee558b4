"""Shared by the tests of pages: a backend that remembers, a visdom that remembers, a browser."""

import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Page,
    Response,
    expect,
    sync_playwright,
)
from torch import Tensor

from tools.loggers.backend import Backend

CHROMIUM = shutil.which("chromium")
WAIT_MS = 15_000  # for a page on a busy machine
OpenPage = Callable[[str], Page]

expect.set_options(timeout=WAIT_MS)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium (apt-get install chromium)"
)


class Windows(Backend):
    """Remembers the images by tag and by window."""

    name = "windows"

    def __init__(self) -> None:
        self.tags: dict[str, Tensor] = {}
        self.windows: dict[str, Tensor] = {}

    def image(self, tag: str, image: Tensor, step: int, *, window: str) -> None:
        self.tags[tag] = self.windows[window] = image


class FakeVisdom(ThreadingHTTPServer):
    """Answers as visdom does and remembers the events."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.events: list[dict[str, Any]] = []

    @property
    def words(self) -> list[str]:
        """Words of a command that sends to it."""
        return ["--visdom.server=127.0.0.1", f"--visdom.port={self.server_address[1]}"]


class _Request(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server: Any = self.server
        server.events.append(event)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(event["win"].encode())

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def fake_visdom() -> Iterator[FakeVisdom]:
    with FakeVisdom() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def content_of(page: Path) -> dict[str, Any]:
    """The data that the script of a gallery's page reads."""
    match = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page.read_text())
    assert match is not None
    content: dict[str, Any] = json.loads(match[1])
    return content


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield started
        started.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh profile; at the end every request must have had its answer and no script failed."""
    troubles: list[str] = []

    def refuse(dialog: Dialog) -> None:
        troubles.append(dialog.message)
        dialog.dismiss()

    def check_policy(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            troubles.append(message.text)

    def check_status(answer: Response) -> None:
        if answer.status >= 400 and not answer.url.endswith("favicon.png"):
            troubles.append(f"{answer.status} {answer.url}")

    opened = browser.new_context(viewport={"width": 1280, "height": 800})
    opened.set_default_timeout(WAIT_MS)
    opened.on("requestfailed", lambda request: troubles.append(request.url))
    opened.on("weberror", lambda error: troubles.append(str(error.error)))
    opened.on("dialog", refuse)
    opened.on("console", check_policy)
    opened.on("response", check_status)
    yield opened
    opened.close()
    assert troubles == []


@pytest.fixture
def open_page(context: BrowserContext) -> Iterator[OpenPage]:
    """Opens our pages; none of them may warn or ask for anything outside its folder or server."""
    folders: list[str] = []
    requests: list[str] = []
    warnings: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):  # a browser reports other things as well
            warnings.append(message.text)

    def open_it(address: str) -> Page:
        page = context.new_page()
        page.on("console", listen)
        page.on("request", lambda request: requests.append(request.url))
        folders.append(address.rpartition("/")[0])
        page.goto(address)
        return page

    yield open_it
    assert warnings == []
    assert [url for url in requests if not url.startswith((*folders, "data:,"))] == []
