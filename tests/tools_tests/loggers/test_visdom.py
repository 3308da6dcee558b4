"""The windows of visdom: what they show, how many a run opens, and which curves share one."""

import asyncio
import json
import math
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tornado.httpserver import HTTPServer

from data.datasets.voc import VOC_CLASSES
from tests.worlds import FakeVisdom, fake_visdom
from tools.loggers.colors import CLASS_COLORS
from tools.loggers.logger import Logger, image_tag, open_logger
from tools.loggers.metrics_file import read_metrics
from tools.loggers.settings import VisdomSettings
from tools.loggers.visdom import VisdomWindows, window_and_line

IMAGE = torch.zeros(3, 8, 12, dtype=torch.uint8)
Triple = tuple[float, float, float]


@pytest.fixture
def server() -> Iterator[FakeVisdom]:
    with fake_visdom() as running:
        yield running


def windows_on(settings: VisdomSettings, **options: Any) -> Logger:
    return Logger([VisdomWindows(settings, pause=0.02, **options)])


def test_the_classes_of_a_metric_are_lines_of_one_window(server: FakeVisdom) -> None:
    with windows_on(server.settings) as logger:
        logger.scalar("train/spatial", 0.5, 1)
        for step in (1, 2):
            for name in ("cat", "dog"):
                logger.scalar(f"validation/ap/{name}", step / 4, step)

    line = ([1, 2], [1 / 4, 2 / 4])
    assert server.lines("validation/ap") == {"cat": line, "dog": line}
    drawn = [event for event in server.events if not event.get("append")]
    legends = {event["win"]: event["layout"]["showlegend"] for event in drawn}
    assert legends == {"train/spatial": False, "validation/ap": True}


def test_each_class_has_its_own_color_in_every_event(server: FakeVisdom) -> None:
    names = [f"class {number}" for number in range(20)]
    with windows_on(server.settings) as logger:
        for step in (1, 2):
            for name in names:
                logger.scalar(f"validation/ap/{name}", 0.5, step)

    colors: dict[str, set[str]] = {}
    for event in server.events:
        for line in event["data"]:
            colors.setdefault(line["name"], set()).add(line["line"]["color"])
    assert [len(of_line) for of_line in colors.values()] == [1] * 20
    assert len(set.union(*colors.values())) == 20


def ciede2000(first: Triple, second: Triple) -> float:
    """Difference of two colors in CIELAB; Sharma, Wu and Dalal, 2005."""
    (light1, a1, b1), (light2, a2, b2) = first, second
    mean = ((math.hypot(a1, b1) + math.hypot(a2, b2)) / 2) ** 7
    stretch = 1.5 - 0.5 * math.sqrt(mean / (mean + 25**7))
    chroma1, chroma2 = math.hypot(stretch * a1, b1), math.hypot(stretch * a2, b2)
    hue1, hue2 = (math.degrees(math.atan2(b, stretch * a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    turn = (hue2 - hue1 + 180) % 360 - 180 if chroma1 * chroma2 else 0.0
    hue = hue1 + turn / 2 if chroma1 * chroma2 else hue1 + hue2
    light, chroma = (light1 + light2) / 2, (chroma1 + chroma2) / 2
    waves = ((-0.17, 1, -30), (0.24, 2, 0), (0.32, 3, 6), (-0.2, 4, -63))
    weight = 1 + sum(k * math.cos(math.radians(n * hue + shift)) for k, n, shift in waves)
    by_light = (light2 - light1) / (
        1 + 0.015 * (light - 50) ** 2 / math.sqrt(20 + (light - 50) ** 2)
    )
    by_chroma = (chroma2 - chroma1) / (1 + 0.045 * chroma)
    by_hue = 2 * math.sqrt(chroma1 * chroma2) * math.sin(math.radians(turn / 2))
    by_hue /= 1 + 0.015 * chroma * weight
    blue = 60 * math.exp(-((((hue % 360) - 275) / 25) ** 2))
    turned = -2 * math.sqrt(chroma**7 / (chroma**7 + 25**7)) * math.sin(math.radians(blue))
    return math.sqrt(by_light**2 + by_chroma**2 + by_hue**2 + turned * by_chroma * by_hue)


def test_the_measure_of_colors_gives_published_differences() -> None:
    pairs = [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 2.5, 0), (58, 24, 15), 19.4535),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ]
    for first, second, difference in pairs:
        assert ciede2000(first, second) == pytest.approx(difference, abs=1e-4)


def test_the_colors_are_apart_from_each_other_and_from_both_grounds() -> None:
    grounds = ["#ffffff", "#17191c"]
    rgb = np.array([[[*bytes.fromhex(color[1:])] for color in (*CLASS_COLORS, *grounds)]])
    lab = cv2.cvtColor((rgb / 255).astype(np.float32), cv2.COLOR_RGB2Lab)[0].tolist()

    assert len(CLASS_COLORS) == 20
    assert min(ciede2000(a, b) for a, b in combinations(lab, 2)) >= 15


@pytest.mark.parametrize(
    ("tag", "window", "line"),
    [
        ("loss", "loss", "loss"),
        ("train/loss", "loss", "train"),
        ("validation/metric2", "metric2", "validation"),
        ("baseline/metric1", "metric1", "baseline"),
        ("train/spatial", "train/spatial", "train/spatial"),
        ("validation/ap/a/b", "validation/ap", "a/b"),
        ("validation/errors_part", "validation/errors", "part"),
        ("validation/box_map_area", "validation/box_map_area", "validation/box_map_area"),
        ("baseline/recall", "baseline", "recall"),
    ],
)
def test_a_curve_has_a_window_of_its_own_or_is_a_line_of_a_shared_one(
    tag: str, window: str, line: str
) -> None:
    assert window_and_line(tag) == (window, line)


def test_train_and_validation_and_a_constant_answer_are_lines_of_one_window(
    server: FakeVisdom,
) -> None:
    with windows_on(server.settings) as logger:
        for part in ("train", "validation", "baseline"):
            logger.scalar(f"{part}/loss", 0.5, 1)

    assert set(server.lines("loss")) == {"train", "validation", "baseline"}


def test_without_a_name_windows_are_in_the_environment_of_the_run_s_folder(
    server: FakeVisdom, tmp_path: Path
) -> None:
    for env, named in (("", "my run"), ("other", "other")):
        visdom = replace(server.settings, env=env)
        with open_logger(tmp_path / "my run", visdom, resume_step=None) as logger:
            logger.scalar("train/loss", 0.5, 1)
        assert server.events[-1]["eid"] == named


def test_a_shared_window_is_redrawn_with_what_all_its_lines_have_behind_them(
    server: FakeVisdom,
) -> None:
    history = {
        "validation/ap/cat": [(1, 0.25)],
        "validation/ap/dog": [(1, 0.5)],
        "validation/ap/cow": [],
        "train/loss": [(1, 2.0)],
    }
    with windows_on(server.settings, history=history) as logger:
        logger.scalar("validation/ap/dog", 0.75, 2)

    assert server.windows == {"validation/ap"}
    assert server.lines("validation/ap") == {"cat": ([1], [0.25]), "dog": ([1, 2], [0.5, 0.75])}


def log_epochs(logger: Logger, image: torch.Tensor, epochs: int) -> None:
    for epoch in range(epochs):
        for number in range(2):
            logger.image(image_tag(epoch, 9, 0, number), image, epoch)


@pytest.mark.parametrize("epochs", [1, 3])
def test_an_image_has_a_window_of_the_first_epoch_and_then_one_of_the_last(
    epochs: int, server: FakeVisdom
) -> None:
    with windows_on(server.settings) as logger:
        log_epochs(logger, IMAGE, epochs)

    titles = {event["win"]: event["opts"]["title"] for event in server.events}
    assert list(titles.items()) == [
        ("first_batch0_image0", "ep0_iter9_batch0_image0"),
        ("last_batch0_image0", f"ep{epochs - 1}_iter9_batch0_image0"),
        ("first_batch0_image1", "ep0_iter9_batch0_image1"),
        ("last_batch0_image1", f"ep{epochs - 1}_iter9_batch0_image1"),
    ]


@pytest.mark.parametrize(
    ("size", "shown"), [((240, 1400), (120, 700)), ((240, 700), (240, 700)), ((8, 12), (8, 12))]
)
def test_a_wide_image_is_shown_small_enough_for_two_in_a_row(
    size: tuple[int, int], shown: tuple[int, int], server: FakeVisdom
) -> None:
    with windows_on(server.settings) as logger:
        log_epochs(logger, torch.zeros(3, *size, dtype=torch.uint8), epochs=2)
        logger.image("final_boxes", torch.zeros(3, 900, 1400, dtype=torch.uint8), 2)

    sizes = {
        event["win"]: (event["opts"]["height"], event["opts"]["width"]) for event in server.events
    }
    assert set(sizes.values()) == {shown, (900, 1400)}
    assert sizes["final_boxes"] == (900, 1400)


@pytest.mark.parametrize("run", ["small_run", "detector_run"])
def test_at_most_60_windows_are_open_however_long_the_run(
    run: str, request: pytest.FixtureRequest, server: FakeVisdom
) -> None:
    logged = read_metrics(request.getfixturevalue(run) / "metrics.jsonl")
    tags = {tag.rpartition("/")[0] if tag.count("/") > 1 else tag for tag in logged}
    for name in VOC_CLASSES:
        tags |= {f"validation/ap/{name}", f"validation/box_ap/{name}"}

    with windows_on(server.settings) as logger:
        for epoch in range(5):
            for tag in sorted(tags):
                logger.scalar(tag, 0.5, epoch)
            for number in range(16):
                batch, image = divmod(number, 4)
                logger.image(image_tag(epoch, 9, batch, image), IMAGE, epoch)
        logger.image("final_boxes", IMAGE, 5)

    assert len(server.windows) <= 60
    assert "last_batch3_image3" in server.windows


# A real visdom server


@pytest.fixture(scope="module")
def real_visdom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VisdomSettings]:
    visdom_app: Any = import_module("visdom.server.app")  # without annotations
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        async def start() -> HTTPServer:
            app = visdom_app.Application(port=port, env_path=str(tmp_path_factory.mktemp("visdom")))
            server = HTTPServer(app)
            listener.setblocking(False)
            server.add_socket(listener)
            return server

        thread.start()
        server = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
        yield VisdomSettings("127.0.0.1", port)
        asyncio.run_coroutine_threadsafe(server.close_all_connections(), loop).result(30)
        loop.call_soon_threadsafe(server.stop)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def shown(settings: VisdomSettings) -> dict[str, Any]:
    """Give the windows of an environment by their id."""
    query = json.dumps({"win": None, "eid": settings.env}).encode()
    url = f"http://{settings.server}:{settings.port}/win_data"
    with urllib.request.urlopen(url, query, timeout=5) as answer:
        text = answer.read().decode()
    assert "Infinity" not in text  # a browser could not read it
    windows: dict[str, Any] = json.loads(text)
    return windows


@pytest.fixture
def there(real_visdom: VisdomSettings, request: pytest.FixtureRequest) -> VisdomSettings:
    """The real server, and an environment of the test's own."""
    return VisdomSettings(real_visdom.server, real_visdom.port, request.node.name)


def test_a_curve_grows_in_one_window_and_values_that_are_not_finite_leave_a_gap(
    there: VisdomSettings,
) -> None:
    with windows_on(there) as logger:
        for step, value in enumerate([1.0, math.nan, math.inf, 2.0]):
            logger.scalar("train/loss", torch.tensor(value), step)
            time.sleep(0.1)

    windows = shown(there)
    assert list(windows) == ["loss"]
    assert windows["loss"]["title"] == "loss"
    (line,) = windows["loss"]["content"]["data"]
    assert line["x"] == [0, 1, 2, 3]
    assert line["y"] == [1, None, None, 2]


def test_a_resumed_curve_is_drawn_whole_and_without_the_lost_steps(
    there: VisdomSettings, tmp_path: Path
) -> None:
    with open_logger(tmp_path, there, resume_step=None) as logger:
        for step in (1, 2, 3):
            logger.scalar("loss", step, step)
    with open_logger(tmp_path, there, resume_step=2) as logger:
        for step in (3, 4):
            logger.scalar("loss", 10 * step, step)

    (line,) = shown(there)["loss"]["content"]["data"]
    assert line["x"] == [1, 2, 3, 4]
    assert line["y"] == [1, 2, 30, 40]


def test_an_image_of_a_later_epoch_replaces_the_one_before(there: VisdomSettings) -> None:
    with windows_on(there) as logger:
        for epoch in (1, 2, 3):
            logger.image(image_tag(epoch, 9, 0, 2), IMAGE, epoch)
            time.sleep(0.1)

    windows = shown(there)
    assert list(windows) == ["last_batch0_image2"]
    assert windows["last_batch0_image2"]["title"] == "ep3_iter9_batch0_image2"
    assert windows["last_batch0_image2"]["content"]["src"].startswith("data:image/jpeg")


def test_names_of_windows_and_lines_reach_visdom_escaped(there: VisdomSettings) -> None:
    with windows_on(there) as logger:
        for step in (0, 1):
            logger.scalar("AP/<b>cat</b>", 0.5, step)
            logger.scalar("validation/ap/<i>cat's</i>", 0.5, step)
            time.sleep(0.1)

    text = json.dumps(shown(there))
    assert "AP/&lt;b&gt;cat" in text
    assert "&lt;i&gt;cat's&lt;/i&gt;" in text
    assert "<b>" not in text
    assert "<i>" not in text


def test_kinds_that_visdom_cannot_show_do_nothing(there: VisdomSettings) -> None:
    with windows_on(there) as logger:
        logger.histogram("weights", torch.ones(3), 0)
        logger.pr_curve("cat", torch.ones(3), torch.ones(3), 0)
        logger.settings({"lr": 0.1}, {"map": 0.5})
        logger.flush()
        logger.scalar("loss", 1.0, 0)

    assert list(shown(there)) == ["loss"]
