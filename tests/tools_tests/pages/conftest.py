"""Shared by the tests of pages: a backend that remembers its images, and a browser."""

import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from torch import Tensor

from tools.loggers.backend import Backend
from tools.loggers.visdom import image_window
from tools.pages.gallery.server import PageServer

CHROMIUM = shutil.which("chromium")
WAIT_MS = 15_000  # for a page on a busy machine
OpenPage = Callable[..., Page]  # an address, and another place that it may ask

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

    def image(self, tag: str, image: Tensor, step: int) -> None:
        self.tags[tag] = self.windows[image_window(tag)] = image


def content_of(page: Path) -> dict[str, Any]:
    """The data that the script of a gallery's page reads."""
    match = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page.read_text())
    assert match is not None
    content: dict[str, Any] = json.loads(match[1])
    return content


@contextmanager
def serving(table: Mapping[str, Path]) -> Iterator[PageServer]:
    with PageServer(0) as server:
        server.table = table
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium for one file: as long as it runs, no other test can run an event loop."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield started
        started.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh profile; at the end every request must have its answer, and no script has failed."""
    troubles: list[str] = []

    def note(text: str, is_trouble: bool = True) -> None:
        if is_trouble:
            troubles.append(text)

    opened = browser.new_context(viewport={"width": 1280, "height": 800})
    opened.set_default_timeout(WAIT_MS)
    opened.on("requestfailed", lambda request: note(request.url))
    opened.on("weberror", lambda error: note(str(error.error)))
    opened.on("dialog", lambda dialog: note(dialog.message))
    opened.on("dialog", lambda dialog: dialog.dismiss())
    opened.on("console", lambda entry: note(entry.text, "Content Security Policy" in entry.text))
    opened.on(
        "response",
        lambda answer: note(
            answer.url, answer.status >= 400 and not answer.url.endswith("favicon.png")
        ),
    )
    yield opened
    opened.close()
    assert troubles == []


@pytest.fixture
def open_page(context: BrowserContext) -> Iterator[OpenPage]:
    """Opens our pages; none of them may warn or ask for anything outside its folder or server."""
    folders: list[str] = []
    requests: list[str] = []
    messages: list[tuple[str, str]] = []

    def open_it(address: str, also: str | None = None) -> Page:
        page = context.new_page()
        page.on("console", lambda message: messages.append((message.type, message.text)))
        page.on("request", lambda request: requests.append(request.url))
        folders.extend([address.rpartition("/")[0], also or address])
        page.goto(address)
        return page

    yield open_it
    # a browser reports other things as well
    assert [text for kind, text in messages if kind in ("error", "warning")] == []
    assert [url for url in requests if not url.startswith((*folders, "data:,"))] == []
