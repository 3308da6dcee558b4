"""The gallery's data of every image, and that names in its page are text."""

import re
import time
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.types import Annotation, Proposals
from tests.tools_tests.pages.conftest import content_of
from tests.worlds import PageTags, annotate, detect, image_set
from tools.files.scores import SavedScores
from tools.pages.gallery.content import gallery_content
from tools.pages.gallery.page import write_gallery_page

HOSTILE = "</script><script>alert('&\"')</script><!--\u2028\n../../etc/passwd %2e%2e 图 \udcff"


# What the page knows


def scored(count: int, classes: tuple[str, ...] = ("cat", "dog"), **changes: Any) -> SavedScores:
    zeros = np.zeros((count, len(classes)))
    ids = tuple(f"{number:06d}" for number in range(count))
    arrays: dict[str, Any] = {"scores": zeros, "targets": zeros, "weights": zeros + 1}
    return SavedScores(**{"ids": ids, "classes": classes, **arrays, **changes})


def content(scores: SavedScores, *annotations: Annotation, **changes: Any) -> dict[str, Any]:
    """Of images that nobody reads, without objects unless they are given."""
    given = list(annotations) or [annotate([], image_id=image_id) for image_id in scores.ids]
    options: dict[str, Any] = {"detections": None, "proposals": None, "heatmap": {}}
    dataset, files = image_set(given, scores.classes), [f"{n}.jpg" for n in range(len(given))]
    shown = gallery_content(dataset, scores, files, **options | changes)
    return {"title": "title", "count": 3, **shown}


def test_a_class_that_is_ignored_is_neither_present_nor_absent() -> None:
    targets, weights = np.array([[1, 0], [0, 0], [1, 1]]), np.array([[1, 1], [1, 1], [0, 0]])
    shown = content(scored(3, targets=targets, weights=weights))

    assert shown["truth"] == ["10-", "00-"]
    assert shown["labeled"]
    assert not content(scored(3, weights=weights * 0))["labeled"]


def test_classes_have_their_ap_unless_no_image_is_known_to_hold_them() -> None:
    targets, weights = np.array([[1, 0, 1], [0, 0, 0]]), np.array([[1, 1, 0], [1, 1, 1]])
    scores = np.array([[0.1, 0.2, 0.3], [0.9, 0.2, 0.3]])
    saved = scored(2, classes=("a", "b", "c"), scores=scores, targets=targets, weights=weights)
    assert content(saved)["average_precision"] == [0.5, None, None]


def test_boxes_are_whole_tenths_of_a_pixel_with_the_top_scoring_detection_first() -> None:
    with_cat = annotate([[5, 6, 7, 8.5]], difficult=[True], image_id="000000")
    shown = content(
        scored(1),
        replace(with_cat, image_size=(100, 200)),
        detections={
            "000000": detect([[0, 0, 10, 10], [1.26, 2, 3, 4]], [0.123456, 0.25], labels=[1, 0])
        },
        proposals={"000000": Proposals(torch.tensor([[1.0, 2, 3, 4]]), None)},
    )

    assert shown["sizes"] == [[200, 100]]
    assert shown["objects"] == [[[0, 1, 50, 60, 70, 85]]]
    assert shown["detections"] == [[[0, 0.25, 13, 20, 30, 40], [1, 0.1235, 0, 0, 100, 100]]]
    assert shown["proposals"] == [[[10, 20, 30, 40]]]


def test_an_image_without_boxes_has_empty_lists() -> None:
    nothing = {"000000": Proposals(torch.zeros(0, 4), None)}
    shown = content(scored(1), detections={}, proposals=nothing)

    assert (shown["objects"], shown["detections"], shown["proposals"]) == ([[]], [[]], [[]])
    assert shown["verdicts"] is None  # where objects are is not known
    assert shown["box_score"] == 0


def test_of_one_class_an_image_keeps_the_ten_top_scoring() -> None:
    scores = [number / 100 for number in range(1, 13)]
    detections = detect([[0, 0, 9, 9]] * 12, scores, labels=[0] * 11 + [1])
    shown = content(scored(1), detections={"000000": detections})

    kept = [(label, score) for label, score, *_ in shown["detections"][0]]
    assert kept == [(1, 0.12), *[(0, score / 100) for score in range(11, 1, -1)]]


def test_three_quarters_of_the_present_classes_keep_a_box_to_begin_with() -> None:
    detections = {
        f"{number:06d}": detect([[0, 0, 9, 9]], [score])
        for number, score in enumerate([0.1, 0.2, 0.3, 0.4, 0.5, 0.9])
    }
    present = np.array([[1, 0]] * 5 + [[0, 0]])

    shown = content(scored(6, targets=present), detections=detections)
    assert shown["box_score"] == pytest.approx(0.2)


def test_without_labels_the_class_of_the_highest_image_score_counts_as_present() -> None:
    scores = np.array([[0.6, 0.1], [0.2, 0.3], [0.9, 0.8], [0.7, 0.1], [0.0, 0.4]])
    found = [(0, 0.5), (1, 0.4), (0, 0.3), (0, 0.2), (1, 0.1)]
    detections = {
        f"{number:06d}": detect([[0, 0, 9, 9]] * 2, [score, 0.001], [label, 1 - label])
        for number, (label, score) in enumerate(found)
    }

    unlabeled = scored(5, scores=scores, weights=np.zeros((5, 2)))
    assert content(unlabeled, detections=detections)["box_score"] == pytest.approx(0.2)


def test_detections_that_were_chosen_are_all_shown_from_the_start() -> None:
    boxes = detect([[0, 0, 9, 9]] * 30, [score / 100 for score in range(30)])
    shown = content(scored(1), detections={"000000": boxes}, every_box=True)

    assert len(shown["detections"][0]) == 30
    assert shown["box_score"] == 0


# The page


def test_names_from_outside_cannot_end_their_element(tmp_path: Path) -> None:
    ids = ("a", HOSTILE)
    shown = content(scored(2, ids=ids, classes=(HOSTILE, "dog")))
    page = write_gallery_page(tmp_path, shown | {"title": HOSTILE}).read_bytes()

    assert b"alert" in page
    assert b"</script><script>alert" not in page
    assert page.count(b"<script") == page.count(b"</script>") == 2
    assert page.count(b"<!--") == 0
    read = content_of(tmp_path / "index.html")
    assert (read["names"], read["classes"], read["title"]) == (list(ids), [HOSTILE, "dog"], HOSTILE)

    (data,) = re.findall(rb'<script type="application/json" id="data">(.*)</script>', page)
    assert data.isascii()
    assert not set(data) & set(b"<>&")


def test_only_the_page_s_own_script_and_style_may_run(tmp_path: Path) -> None:
    text = write_gallery_page(tmp_path, content(scored(1))).read_text()

    policy = next(
        str(attrs["content"])
        for tag, attrs in PageTags(text).found
        if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy"
    )
    rules = {words[0]: words[1:] for words in map(str.split, policy.split(";"))}
    for tag in ("script", "style"):
        (text_of_tag,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL)
        digest = b64encode(sha256(text_of_tag.encode()).digest()).decode()
        assert rules[f"{tag}-src"] == [f"'sha256-{digest}'"]
    assert rules["default-src"] == ["'none'"]
    assert rules["img-src"] == ["'self'", "file:", "data:"]
    assert "unsafe" not in policy


def test_the_page_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    text = write_gallery_page(tmp_path, content(scored(1))).read_text()

    tags = PageTags(text).found
    loads = [value for _, attrs in tags for key, value in attrs.items() if key in ("src", "href")]
    assert loads == ["data:,"]
    assert text.replace('"http://www.w3.org/2000/svg"', "").count("://") == 0
    assert not any(key.startswith("on") for _, attrs in tags for key in attrs)
    assert ".innerHTML" not in text


def test_a_page_of_five_thousand_images_is_written_within_seconds(tmp_path: Path) -> None:
    classes = tuple(f"class {number}" for number in range(20))
    scores = scored(5000, classes, scores=np.random.default_rng(0).random((5000, 20)))
    detections = detect([[1, 2, 30, 40]] * 20, [0.5] * 20, labels=range(20))
    annotations = [annotate([[1, 2, 30, 40]], image_id=image_id) for image_id in scores.ids]

    start = time.process_time()
    shown = content(scores, *annotations, detections=dict.fromkeys(scores.ids, detections))
    page = write_gallery_page(tmp_path, shown)

    assert time.process_time() - start < 15  # 2 on an idle core
    assert page.stat().st_size < 10_000_000
