"""Boxes marked by keys alone, saved, and what the next tools.boxes makes of them."""

import csv
import json
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from playwright.sync_api import Page, expect
from torchvision.ops import box_iou

from data.datasets.folder import FolderSource
from data.datasets.voc import VOCSource
from data.synthetic.dataset import SYNTHETIC_CLASSES
from data.types import Detections
from tests.tools_tests.conftest import process_as_before
from tests.tools_tests.pages.conftest import OpenPage, content_of, needs_chromium
from tests.worlds import SMALL_BOXES, write_labeled_images, write_small_recipes
from tools.boxes import main
from tools.files.detections import read_detections
from tools.runs.folder import read_settings

pytestmark = needs_chromium

BOXED = f"--images photographs --quality fast {SMALL_BOXES}".split()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_voc: Path) -> Path:
    """A folder with labeled images that were boxed once; only read."""
    folder = tmp_path_factory.mktemp("home")
    dataset = VOCSource(tiny_voc, classes=SYNTHETIC_CLASSES).open("train")
    write_labeled_images(folder / "photographs", dataset, folder / "labels.csv")
    write_small_recipes(folder)
    box(folder, "--labels", "labels.csv", "--out", "boxed")
    return folder


def box(folder: Path, *words: str) -> None:
    with process_as_before(), pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("VOC_ROOT", raising=False)
        assert main([*BOXED, *words]) == 0


def boxes_in(folder: Path) -> dict[str, Detections]:
    return read_detections(folder / "boxes" / "detections.json")[1]


class Marked(NamedTuple):
    """A box of the table of the large view when it was marked."""

    image: str
    class_name: str
    mark: str
    new_class: str = ""


def mark(page: Page, mark: str) -> Marked:
    """Mark the chosen box by keys; a relabeled one gets the class before or behind its own."""
    name = page.inner_text("#large-name")
    class_name = page.locator("#boxes tr[aria-current] th").inner_text()
    key = {"accepted": "a", "rejected": "x", "absent": "0", "relabeled": "r"}[mark]
    page.keyboard.press(key)
    if mark != "relabeled":
        return Marked(name, class_name, mark)
    expect(page.locator("#new-class")).to_be_focused()
    place = SYNTHETIC_CLASSES.index(class_name)
    page.keyboard.press("ArrowDown" if place == 0 else "ArrowUp")
    page.keyboard.press("Enter")
    return Marked(name, class_name, mark, SYNTHETIC_CLASSES[place - 1 if place else 1])


def save(page: Page, key: str, folder: Path) -> Path:
    with page.expect_download() as download:
        page.keyboard.press(key)
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def review(page: Page, marks: list[str]) -> list[Marked]:
    """Mark the boxes of one image after the other, as many as there are marks."""
    for key in ("5", "Home", "Enter"):
        page.keyboard.press(key)
    done: list[Marked] = []
    while len(done) < len(marks):
        for _ in range(page.locator("#boxes tbody tr").count()):
            if len(done) < len(marks):
                done.append(mark(page, marks[len(done)]))
        page.keyboard.press("j")
    page.keyboard.press("Escape")
    return done


def same_boxes(boxes: torch.Tensor, others: torch.Tensor) -> list[bool]:
    """Whether each of the boxes overlaps another one by half or more."""
    found: list[bool] = (box_iou(boxes, others) >= 0.5).any(dim=1).tolist()
    return found


def test_ten_boxes_marked_by_keys_are_saved_and_used_by_the_next_run(
    home: Path, open_page: OpenPage, tmp_path: Path
) -> None:
    address = (home / "boxed" / "gallery" / "index.html").as_uri()
    page = open_page(address, also=(home / "photographs").as_uri())
    marks = ["accepted", "rejected", "relabeled", "absent"] * 2 + ["accepted", "relabeled"]
    done = review(page, marks)
    reviewed, coco = save(page, "s", tmp_path), save(page, "S", tmp_path)

    with reviewed.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["mark"]]
    found = [Marked(row["image"], row["class"], row["mark"], row["new_class"]) for row in rows]
    assert sorted(found) == sorted(done)

    words = ["--reviewed", str(reviewed), "--out", str(tmp_path / "again")]
    box(home, "--labels", "labels.csv", *words)
    boxes, kept = boxes_in(tmp_path / "again"), 0
    for row in rows:
        corners = torch.tensor([[float(row[side]) for side in ("x1", "y1", "x2", "y2")]])
        now, before = (
            boxes[row["image"]][boxes[row["image"]].labels == SYNTHETIC_CLASSES.index(name)]
            for name in (row["new_class"] or row["class"], row["class"])
        )
        if row["mark"] in ("accepted", "relabeled"):
            assert corners[0].tolist() in now.boxes.tolist()
            kept += 1
        if row["mark"] != "accepted":
            assert not any(same_boxes(before.boxes, corners))
    assert kept == 6

    trained = read_settings(tmp_path / "again" / "runs" / "localizer")
    corrected = FolderSource(home / "photographs", tmp_path / "again" / "corrected_labels.csv")
    assert trained.labels == corrected.where
    labels = {image: set(row.labels) for image, row in corrected.rows.items()}
    first = FolderSource(home / "photographs", home / "labels.csv").rows
    touched = {one.image for one in done}
    assert {name for name in first if labels[name] != set(first[name].labels)} <= touched
    for one in done:
        if one.mark == "relabeled":
            assert one.new_class in labels[one.image]
        if one.mark == "absent":
            others = {row.new_class for row in done if row.image == one.image}
            assert one.class_name not in labels[one.image] - others

    saved = FolderSource(home / "photographs", coco)
    assert sum(len(row.objects or ()) for row in saved.rows.values()) == 6
    assert {row["mark"] for row in json.loads(coco.read_text())["annotations"]} == {
        *("accepted", "relabeled")
    }
    shown = content_of(tmp_path / "again" / "gallery" / "index.html")["marks"]
    assert sum(map(len, shown.values())) == 10
