"""Our pages in a real browser; skipped where Chromium or a page's files cannot be had."""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.request import urlopen

import numpy as np
import pytest
import torch
import visdom
from playwright.sync_api import BrowserContext, Page, expect

from data.datasets.voc import VOCSource
from data.synthetic.dataset import SYNTHETIC_CLASSES
from tests.tools_tests.pages.conftest import OpenPage, needs_chromium
from tests.worlds import free_port
from tools import compare_runs, evaluate, gallery, train_localizer, view_heatmaps
from tools.loggers.logger import image_tag, open_logger
from tools.loggers.settings import VisdomSettings
from tools.runs.folder import evaluation_folder

PROJECT = Path(__file__).parents[3]
TENSORBOARD = Path(sys.executable).with_name("tensorboard")
CLASSES = ("cat", "<img src=x onerror=document.title='hacked'>")
HOSTILE_CLASSES = ("<script>alert(1)</script>\"'", "<img src=x onerror=alert(2)>\x1b[31m")
HOSTILE_IMAGES = (
    "<img src=x onerror=alert(3)>.jpg",
    "<script>alert(4)<%2fscript>.jpg",
    "..%2f..%2f\"quotes' & ..jpg",
    "two\nlines and \u202eanother direction.jpg",
    "\x1b[31m图.jpg",
    "<b>bold<!--.jpg",
)

pytestmark = [
    needs_chromium,
    pytest.mark.filterwarnings("ignore:The 'warn' method"),  # visdom's client calls it
]


@contextmanager
def running(*words: str | Path, errors: IO[str] | int) -> Iterator[subprocess.Popen[str]]:
    """A server that is killed after two minutes at the latest."""
    with subprocess.Popen(
        words, cwd=PROJECT, stdout=subprocess.PIPE, stderr=errors, text=True
    ) as process:
        timer = threading.Timer(120, process.kill)
        timer.start()
        try:
            yield process
        finally:
            timer.cancel()
            timer.join()
            process.kill()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[VisdomSettings]:
    """A visdom as the command starts it, with a run and a heatmap in it."""
    port = free_port()
    options = f"--port {port} --env-path {tmp_path / 'env'}".split()
    command = (sys.executable, "-m", "tools.visdom_server", *options)
    path = tmp_path / "errors.txt"
    with path.open("w") as errors, running(*command, errors=errors) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        if not any(line.startswith("visdom is at") for line in lines):
            reason = path.read_text()
            assert "files of its page are missing" in reason
            pytest.skip(reason)
        settings = VisdomSettings("127.0.0.1", port, "run")
        log_a_run(tmp_path / "run", settings)
        client = visdom.Visdom(
            port=port, env=settings.env, use_incoming_socket=False, raise_exceptions=True
        )
        client.heatmap(np.eye(3), win="heatmap", opts={"title": "heatmap of cat"})
        yield settings
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 143


@pytest.fixture
def tensorboard(tmp_path: Path) -> Iterator[str]:
    """The address of a TensorBoard that has read a run."""
    log_a_run(tmp_path, VisdomSettings())
    command = (TENSORBOARD, "--logdir", tmp_path / "events", "--host", "127.0.0.1", "--port", "0")
    with running(*command, errors=subprocess.STDOUT) as process:
        assert process.stdout is not None
        text = ""
        while not (match := re.search(r"at (http://\S+/) ", text)):
            text = process.stdout.readline()
            assert text, "TensorBoard has ended"
        tags = f"{match[1]}data/plugin/images/tags"
        while b"final_boxes" not in urlopen(tags, timeout=60).read():
            time.sleep(0.1)
        yield match[1]
        process.terminate()  # it then removes its temporary files
        process.wait(timeout=10)


def log_a_run(run_dir: Path, settings: VisdomSettings) -> None:
    """Three epochs, with two images in the windows that a training names."""
    red = torch.zeros(3, 60, 90, dtype=torch.uint8)
    red[0] = 255
    targets, scores = torch.tensor([1.0, 0, 1, 0]), torch.tensor([0.9, 0.8, 0.4, 0.1])
    with open_logger(run_dir, settings, resume_step=None) as logger:
        for epoch in range(3):
            logger.scalar("train/loss", 1 / (epoch + 1), epoch)
            logger.histogram("weights/conv1", torch.linspace(-1, 1, 99) ** 3, epoch)
            for image, name in enumerate(CLASSES):
                logger.image(image_tag(epoch, 5, 0, image, name), red, epoch)
            for name in CLASSES:
                logger.scalar(f"validation/ap/{name}", epoch / 4, epoch)
                logger.pr_curve(f"validation/{name}", targets, scores, epoch)
        logger.image("final_boxes", red, 2)


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """A wide window, for pages of others."""
    opened = context.new_page()
    opened.set_viewport_size({"width": 1500, "height": 1200})
    return opened


SHOWN = ".react-grid-item:not(.hidden-window)"


def titles(page: Page) -> list[str]:
    """Titles of the windows that are not filtered out."""
    texts = (text.strip() for text in page.locator(f"{SHOWN} .bar .pull-right").all_inner_texts())
    return sorted(text for text in texts if len(text) > 1)  # without the icons beside them


def test_visdom_shows_images_curves_and_heatmaps_and_filters_them(
    server: VisdomSettings, page: Page
) -> None:
    page.goto(f"http://{server.server}:{server.port}/env/{server.env}")

    expect(page.locator("img.content-image")).to_have_count(5)
    width = page.locator("img.content-image").first.evaluate("image => image.naturalWidth")
    assert width == 90
    expect(page.locator(".scatterlayer path.js-line")).to_have_count(3)
    expect(page.locator(".legendtext")).to_have_text(["train", *CLASSES])
    expect(page.locator(".heatmaplayer image")).to_have_count(1)
    cat, other = (
        [f"ep{epoch}_iter5_batch0_image{image}_{name}" for epoch in (0, 2)]
        for image, name in enumerate(CLASSES)
    )
    others = ["final_boxes", "heatmap of cat", "loss", "validation/ap"]
    assert titles(page) == sorted([*cat, *other, *others])
    assert page.title() == "visdom"

    page.wait_for_function("document.getAnimations().length == 0")  # windows glide to their places
    for of_image in (cat, other):
        first, last = (page.locator(SHOWN, has_text=tag).bounding_box() for tag in of_image)
        assert first
        assert last
        assert first["y"] == last["y"]
        # one image and the gap; visdom 0.3 draws a window as wide as its title, over the next one
        assert last["x"] - first["x"] == pytest.approx(width + 10, abs=4)

    field = page.get_by_placeholder("Filter text")
    for text, left in (
        ("ep2_", [cat[1], other[1]]),
        ("cat", [*cat, "heatmap of cat"]),
        ("<img src=x", other),
        ("loss", ["loss"]),
    ):
        field.fill(text)
        expect(page.locator(SHOWN)).to_have_count(len(left))
        assert titles(page) == left


def test_tensorboard_shows_curves_images_histograms_and_precision_against_recall(
    tensorboard: str, page: Page
) -> None:
    images = [f"images/batch0_image{image}_{name}" for image, name in enumerate(CLASSES)]
    lines = "vz-line-chart2 .line-plot path"  # of a curve itself, and of the smoothed one
    for tab, texts, marks, count in (
        ("scalars", ["train/loss", *(f"validation/ap/{name}" for name in CLASSES)], lines, 6),
        ("images", images, "tf-image-loader img", 3),
        ("histograms", ["weights/conv1"], "vz-histogram-timeseries .histogram path", 3),
        ("pr_curves", [f"validation/{name}" for name in CLASSES], lines, 2),
        ("custom_scalars", ["loss", "AP of image labels by class"], lines, 6),
        ("timeseries", images, "image-card img", 3),
    ):
        page.goto(f"{tensorboard}#{tab}")
        drawn = page.locator(marks).locator("visible=true")  # earlier tabs are still in the page
        expect(drawn).to_have_count(count)
        for text in texts:
            expect(page.get_by_text(text, exact=True).first).to_be_visible()
        if marks.endswith("img"):
            widths = drawn.evaluate_all("all => all.map(one => one.naturalWidth)")
            assert set(widths) == {90}
        assert page.title() == "TensorBoard"


def test_hostile_names_are_text_on_every_page(
    tiny_voc: Path, tmp_path: Path, open_page: OpenPage
) -> None:
    images, labels = tmp_path / "images", tmp_path / "labels.csv"
    images.mkdir()
    rows = [("image", "labels", "split")]
    paths = VOCSource(tiny_voc, classes=SYNTHETIC_CLASSES).open("train").paths
    for number, (name, path) in enumerate(zip(HOSTILE_IMAGES, paths, strict=False)):
        shutil.copyfile(path, images / name)
        rows.append((name, HOSTILE_CLASSES[number % 2], "val" if number > 3 else "train"))
    with labels.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    run_dir = tmp_path / "<img src=x onerror=alert(5)>"
    data = ["--images", str(images), "--labels", str(labels)]
    small = "--split train --val-split val --model.backbone squeezenet1_1 --image-sizes [64]"
    small += " --loop.epochs 2 --loop.batch-size 4 --amp off --device cpu"
    run = ["--run-dir", str(run_dir), "--split", "all"]
    compared = ["--runs", json.dumps([str(run_dir)]), "--split", "all", "--out", str(run_dir)]
    assert train_localizer.main(["--run-dir", str(run_dir), *data, *small.split()]) == 0
    assert evaluate.main([*run, "--amp", "off", "--device", "cpu"]) == 0
    assert view_heatmaps.main([*run, "--amp", "off", "--device", "cpu"]) == 0
    assert gallery.main([*run, "--processes", "1"]) == 0
    assert compare_runs.main(compared) == 0

    title, evaluation = f"{run_dir.name} on all", evaluation_folder(run_dir, "all")
    for path, shown_title, texts in (
        (evaluation / "report.html", title, HOSTILE_CLASSES),
        (run_dir / "compare.html", "1 models", (run_dir.name, *HOSTILE_CLASSES)),
        (evaluation / "gallery" / "index.html", title, (*HOSTILE_CLASSES, *HOSTILE_IMAGES)),
    ):
        page = open_page(path.as_uri())
        shown = page.inner_text("body")
        assert [text for text in texts if text.replace("\n", " ") not in shown] == []
        assert page.title() == shown_title
