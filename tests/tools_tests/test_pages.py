"""Our pages in a real browser; skipped where Chromium or a page's files cannot be had."""

import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import visdom
from playwright.sync_api import Page, expect, sync_playwright

from tools.engine.logger import Logger, image_tag
from tools.engine.settings import VisdomSettings
from tools.engine.visdom_windows import VisdomWindows

PROJECT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium")
WAIT_MS = 15_000  # for a page on a busy machine

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium (apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore:The 'warn' method"),  # visdom's client calls it
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VisdomSettings]:
    """A visdom as the command starts it, with a picture, two curves and a heatmap in it."""
    folder = tmp_path_factory.mktemp("visdom")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    words = f"--port {port} --env-path {folder / 'env'}".split()
    with (
        (folder / "errors.txt").open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "tools.visdom_server", *words],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        timer = threading.Timer(120, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            said = iter(process.stdout.readline, "")
            if not any(line.startswith("visdom is at") for line in said):
                reason = (folder / "errors.txt").read_text()
                assert "files of its page are missing" in reason
                pytest.skip(reason)
            settings = VisdomSettings("127.0.0.1", port, "run")
            fill(settings)
            yield settings
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 143
        finally:
            timer.cancel()
            timer.join()
            process.kill()


def fill(settings: VisdomSettings) -> None:
    def fail(message: str) -> None:
        raise AssertionError(message)

    red = torch.zeros(3, 60, 90, dtype=torch.uint8)
    red[0] = 255
    with Logger([VisdomWindows(settings)], warn=fail) as logger:
        for step in range(3):
            logger.scalar("train/loss", 1 / (step + 1), step)
            for name in ("cat", "dog"):
                logger.scalar(f"validation/ap/{name}", step / 4, step)
        for epoch, name in ((1, "cat"), (2, "dog")):
            logger.image(image_tag(epoch, 5, 0, 0, name), red, 0)
    client = visdom.Visdom(
        port=settings.port, env=settings.env, use_incoming_socket=False, raise_exceptions=True
    )
    client.heatmap(np.eye(3), win="heat", opts={"title": "heat of cat"})


@pytest.fixture
def open_page() -> Iterator[Callable[[str], Page]]:
    """Opens addresses in a new browser; at the end every request must have had its answer."""
    troubles: list[str] = []

    def open_it(address: str) -> Page:
        page.goto(address)
        return page

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1500, "height": 1200})
        page.set_default_timeout(WAIT_MS)
        page.on("requestfailed", lambda request: troubles.append(request.url))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on(
            "response",
            lambda answer: (
                troubles.append(f"{answer.status} {answer.url}")
                if answer.status >= 400 and not answer.url.endswith("favicon.png")
                else None
            ),
        )
        yield open_it
        browser.close()
    assert troubles == []


def titles(page: Page) -> list[str]:
    """Of the windows that can be seen."""
    bars = page.locator(".react-grid-item:not(.hidden-window) .bar .pull-right")
    texts = (text.strip() for text in bars.all_inner_texts())
    return sorted(text for text in texts if len(text) > 1)  # beside them stand icons


def test_visdom_shows_pictures_curves_and_heatmaps_and_filters_them(
    server: VisdomSettings, open_page: Callable[[str], Page]
) -> None:
    page = open_page(f"http://{server.server}:{server.port}/env/{server.env}")

    expect(page.locator("img.content-image")).to_have_count(2, timeout=WAIT_MS)
    width = page.locator("img.content-image").first.evaluate("image => image.naturalWidth")
    assert width == 90
    expect(page.locator(".scatterlayer path.js-line")).to_have_count(3, timeout=WAIT_MS)
    expect(page.locator(".legendtext")).to_have_text(["cat", "dog"])
    expect(page.locator(".heatmaplayer image")).to_have_count(1, timeout=WAIT_MS)
    pictures = ["ep1_iter5_batch0_image0_cat", "ep2_iter5_batch0_image0_dog"]
    assert titles(page) == [*pictures, "heat of cat", "train/loss", "validation/ap"]

    field = page.get_by_placeholder("Filter text")
    for text, left in (
        ("ep2_", pictures[1:]),
        ("cat", [pictures[0], "heat of cat"]),
        ("train/", ["train/loss"]),
    ):
        field.fill(text)
        expect(page.locator(".react-grid-item:not(.hidden-window)")).to_have_count(len(left))
        assert titles(page) == left
