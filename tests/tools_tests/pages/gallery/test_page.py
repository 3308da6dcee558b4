"""The gallery's page in a browser, opened from disk: choices, layers, keys, and no network."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from data.types import Proposals, no_detections
from tests.tools_tests.pages.conftest import OpenPage, content_of, needs_chromium, serving
from tests.worlds import annotate, detect, image_set
from tools.files.reviewed import MarkedBox, read_reviewed
from tools.files.scores import SavedScores
from tools.pages.gallery.content import gallery_content
from tools.pages.gallery.page import write_gallery_page

pytestmark = needs_chromium

HOSTILE = "<img src=x onerror=\"document.title='hacked'\"></script><script>document.title='hacked'"
CLASSES = ("cat", HOSTILE, "<b>cow</b>")
COUNT = 40


def gallery(folder: Path, count: int = COUNT, **changes: Any) -> Path:
    """A page of images of 80 x 60, all with the same small thumbnail's content.

    Scores of cats rise in pairs, 0, 0, .05, .05, ...; cats are present from .25 on, and the last
    but one is ignored. Every third image has a cat, detected exactly, and a difficult cow, detected
    at another place.
    """
    names = [f"image {number:04d}" for number in range(count - 1)] + [f"z {HOSTILE}"]
    cats = np.arange(count) // 2 * 2 / count
    weights = np.ones((count, 3))
    weights[count - 2] = 0
    scores = SavedScores(
        tuple(names),
        CLASSES,
        np.stack([cats, 1 - cats, np.full(count, 0.5)], axis=1),
        np.stack([cats >= 0.25, cats < 0.5, cats < 0], axis=1).astype(float),
        weights,
    )
    boxes = [[10.0, 10, 40, 50], [50.0, 20, 70, 40]]
    cat_and_cow = annotate(boxes, labels=[0, 2], difficult=[False, True])
    detected = detect([boxes[0], [0, 0, 9, 9]], [0.8, 0.05], labels=[0, 2])
    annotations, detections = [], {}
    for number, name in enumerate(names):
        objects = annotate([]) if number % 3 else cat_and_cow
        annotations.append(replace(objects, image_id=name, image_size=(60, 80)))
        detections[name] = no_detections() if number % 3 else detected
    images = image_set(annotations, CLASSES)
    options: dict[str, Any] = {
        "detections": detections,
        "proposals": dict.fromkeys(names, Proposals(torch.tensor(boxes[:1] * 10), None)),
        "heatmap": {names[-1]: {0: "heatmap.jpg"}},
    }
    files = [f"{number}.jpg" for number in range(count)]
    content = gallery_content(images, scores, files, **options | changes)
    content |= {"title": HOSTILE, "count": 5}
    thumbs = folder / "thumbs"
    thumbs.mkdir()
    Image.new("RGB", (80, 60), "teal").save(thumbs / "heatmap.jpg")
    for file in files:
        (thumbs / file).hardlink_to(thumbs / "heatmap.jpg")
    return write_gallery_page(folder, content)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery with everything; tests only read it."""
    made = tmp_path_factory.mktemp("gallery")
    gallery(made)
    return made


@pytest.fixture
def page(open_page: OpenPage, folder: Path) -> Page:
    return open_page((folder / "index.html").as_uri())


def images_in(page: Page, end: str) -> list[int]:
    cells = page.locator(f"#{end} .cell").all()
    return [int(str(cell.get_attribute("data-image"))) for cell in cells]


def count_in(page: Page, kind: str, where: str = "main") -> int:
    return page.locator(f"{where} svg rect.{kind}").count()


def resize(page: Page, width: int, height: int) -> None:
    """Change the window's size and wait until the page knows it."""
    page.evaluate("window.addEventListener('resize', () => { window.resized = true })")
    if page.viewport_size != {"width": width, "height": height}:
        page.set_viewport_size({"width": width, "height": height})
        wait_for(page, "window.resized === true")


def wait_for(page: Page, condition: str) -> None:
    """Wait until it holds; the page's policy forbids playwright's wait_for_function."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(25)
    raise TimeoutError(condition)


def press(page: Page, *keys: str) -> str | None:
    """Presses keys one after the other; returns the number of the image that has the focus."""
    for key in keys:
        page.keyboard.press(key)
    number: str | None = page.evaluate("document.activeElement.dataset.image")
    return number


# The address


def test_the_address_says_what_is_shown_and_opens_it_again(
    page: Page, folder: Path, open_page: OpenPage
) -> None:
    place = (folder / "index.html").as_uri()
    page.locator("#class").select_option("2")
    page.locator("#filter").select_option("score-right")
    page.keyboard.press("Escape")
    press(page, "ArrowRight", "Enter")
    address = page.url
    assert address.startswith(f"{place}#")

    again = open_page(address)
    expect(again.locator("#large")).to_be_visible()
    assert again.locator("#class").input_value() == "2"
    assert again.locator("#filter").input_value() == "score-right"
    expect(again.locator("#large-name")).to_have_text(page.inner_text("#large-name"))
    press(again, "Escape")
    assert "large" not in again.url
    assert again.title() == HOSTILE


@pytest.mark.parametrize("number", [0, 9, 20, 21, 38])
def test_an_image_that_an_address_names_is_listed_and_current(
    number: int, folder: Path, open_page: OpenPage
) -> None:
    page = open_page(f"{(folder / 'index.html').as_uri()}#class=cat&image=image+{number:04d}")

    assert page.locator(".cell.current").get_attribute("data-image") == f"{number}"
    assert page.locator("#class").input_value() == "0"
    shown = [*images_in(page, "highest"), *images_in(page, "lowest")]
    assert number in shown


@pytest.mark.parametrize("words", ["", "image=nobody", "class=dog&score=x&filter=none", "%%%"])
def test_an_address_that_names_nothing_that_is_there_changes_nothing(
    words: str, folder: Path, open_page: OpenPage
) -> None:
    page = open_page(f"{(folder / 'index.html').as_uri()}#{words}")

    assert page.locator("#class").input_value() == "0"
    assert images_in(page, "highest")[:2] == [38, 39]
    assert page.locator(".cell.current").get_attribute("data-image") == "38"


# What is listed


def test_the_highest_and_the_lowest_are_listed_and_ties_by_name(page: Page) -> None:
    assert images_in(page, "highest") == [38, 39, 36, 37, 34]
    assert images_in(page, "lowest") == [0, 1, 2, 3, 4]
    names = page.locator("#lowest .cell .name").all_text_contents()
    assert names == [f"image {number:04d}" for number in range(5)]


def test_a_cell_tells_score_truth_and_whether_it_is_right(page: Page) -> None:
    def words(end: str, place: int) -> list[str]:
        return page.locator(f"#{end} .cell .words").nth(place).inner_text().split("\n")

    assert words("highest", 0) == ["0.950", "\N{EN DASH}", "ignored", "image 0038"]
    assert words("highest", 1) == ["0.950", "✓", "present", f"z {HOSTILE}", "box ✓"]
    page.select_option("#class", "1")
    assert words("lowest", 2) == ["0.100", "✓", "absent", "image 0036"]


def test_how_many_can_be_chosen(page: Page) -> None:
    resize(page, 1280, 4000)
    for typed, shown, lowest in (("0", 5, 5), ("2", 2, 2), ("9999", 40, 0)):
        page.fill("#count", typed)
        press(page, "Enter")

        assert len(images_in(page, "highest")) == shown
        assert len(images_in(page, "lowest")) == lowest
        assert page.input_value("#count") == str(shown)


def test_only_what_is_right_or_wrong_can_be_shown(page: Page) -> None:
    for choice, highest in (
        ("score-right", [39, 36, 37, 34, 35]),  # 38 is ignored
        ("score-wrong", [20, 21, 18, 19, 16]),  # present from 10 on, above .5 from 22 on
        ("box-right", [39, 36, 33, 30, 27]),
        ("box-wrong", []),
    ):
        page.select_option("#filter", choice)
        assert images_in(page, "highest") == highest


def test_boxes_below_the_chosen_score_are_hidden_and_not_judged(page: Page) -> None:
    assert count_in(page, "detection") == 4
    assert page.inner_text("#box-score-value") == "0.794"  # of the slider's steps the one below .8
    page.locator("#box-score").fill("0")
    assert page.inner_text("#box-score-value") == "1.000"
    assert count_in(page, "detection") == 0

    page.locator("#box-score").fill("-0.1")
    page.select_option("#class", "2")
    page.select_option("#filter", "box-wrong")
    assert images_in(page, "highest") == []  # the cows' boxes have .05

    page.locator("#box-score").fill("-2")
    assert images_in(page, "highest") == [0, 3, 6, 9, 12]
    assert "box ✗" in page.locator("#highest .cell").first.inner_text()


def test_a_class_is_chosen_by_list_button_and_key(page: Page) -> None:
    page.select_option("#class", label="<b>cow</b>")
    assert images_in(page, "highest") == [0, 1, 2, 3, 4]
    assert "<b>cow</b>: present in 0 of 39 images, 1 ignored" in page.inner_text("#status")

    page.click("#previous")
    assert page.input_value("#class") == "1"
    press(page, "p", "p")  # there is none before the first
    assert page.input_value("#class") == "0"
    press(page, "n")
    assert images_in(page, "highest") == [0, 1, 2, 3, 4]
    assert page.locator("#next").is_enabled()


# Layers


def test_boxes_of_the_chosen_class_are_drawn_where_they_are(page: Page) -> None:
    with_cat = page.locator('#highest [data-image="39"]')
    assert with_cat.locator("svg").get_attribute("viewBox") == "0 0 80 60"
    for kind in ("truth", "detection"):
        box = with_cat.locator(f"rect.{kind}")
        sides = [box.get_attribute(side) for side in ("x", "y", "width", "height")]
        assert sides == ["10", "10", "30", "40"]
    assert with_cat.locator("text").all_text_contents() == ["0.800"]
    assert page.locator('#highest [data-image="37"] rect').count() == 0


def test_a_layer_is_switched_by_key_and_by_button(page: Page) -> None:
    for key, kind, drawn in (("2", "truth", 4), ("3", "detection", 4), ("4", "proposal", 100)):
        button = page.locator(f'#layers button:has(kbd:text-is("{key}"))')
        at_first = kind != "proposal"
        for pressed in (not at_first, at_first):
            press(page, key)
            assert count_in(page, kind) == (drawn if pressed else 0)
            assert button.get_attribute("aria-pressed") == str(pressed).lower()
        button.click()
        assert count_in(page, kind) == (0 if at_first else drawn)


def test_boxes_of_other_classes_come_with_their_names(page: Page) -> None:
    page.locator("#box-score").fill("-4")
    press(page, "5")

    texts = page.locator('#highest [data-image="39"] text').all_text_contents()
    assert texts == ["cat", "<b>cow</b>", "<b>cow</b> 0.050", "cat 0.800"]
    assert count_in(page, "difficult") == 4


def test_heatmap_takes_the_place_of_the_image_where_there_is_some(page: Page) -> None:
    def sources() -> list[str | None]:
        cells = page.locator("#highest .cell img").all()
        return [image.get_attribute("src") for image in cells[:2]]

    assert sources() == ["thumbs/38.jpg", "thumbs/39.jpg"]
    press(page, "1")
    assert sources() == ["thumbs/38.jpg", "thumbs/heatmap.jpg"]
    press(page, "n", "End")
    assert page.locator('[data-image="39"] img').first.get_attribute("src") == "thumbs/39.jpg"


def test_layers_of_nothing_are_not_offered(open_page: OpenPage, tmp_path: Path) -> None:
    path = gallery(tmp_path, detections=None, proposals=None, heatmap={})

    page = open_page(path.as_uri())

    shown = page.locator("#layers button:visible kbd").all_text_contents()
    assert shown == ["2", "5"]
    assert page.locator("#box-score").is_hidden()
    filters = page.locator("#filter option").all_text_contents()
    assert filters == ["all images", "score right", "score wrong"]
    press(page, "1", "4")
    assert count_in(page, "proposal") == 0


# Keys


def test_keys_move_from_image_to_image_and_from_end_to_end(page: Page) -> None:
    for keys, image in (
        (["j"], "39"),
        (["ArrowRight"], "36"),
        (["k", "ArrowLeft", "ArrowLeft"], "38"),  # there is none before the first
        (["End"], "4"),
        (["ArrowUp"], "34"),
        (["ArrowDown"], "4"),
        (["Home"], "38"),
    ):
        assert press(page, *keys) == image


def test_rows_are_those_of_the_window_and_a_slash_moves_to_the_classes(page: Page) -> None:
    page.fill("#count", "20")
    press(page, "Escape")
    resize(page, 800, 800)

    columns = (800 - 2 * 16 + 8) // (190 + 8)  # margins, gaps, the slider's width to begin with
    assert press(page, "Home", "ArrowDown") == str(images_in(page, "highest")[columns])

    press(page, "/", "j")  # the last one types, it does not move
    assert page.evaluate("document.activeElement.id") == "class"
    assert press(page, "Escape") is not None


def test_enter_opens_the_large_view_and_escape_closes_it(page: Page) -> None:
    large = page.locator("#large")
    assert large.is_hidden()
    press(page, "Enter")
    assert large.is_visible()
    assert page.inner_text("#large-name") == "image 0038"
    press(page, "ArrowRight")
    assert page.inner_text("#large-name") == f"z {HOSTILE}"
    assert count_in(page, "truth", "#stage") == 1
    press(page, "2")
    assert count_in(page, "truth", "#stage") == 0
    page.locator('#large-layers [data-layer="truth"]').click()
    assert count_in(page, "truth", "#stage") == 1
    rows = page.locator("#large-scores tr").all_text_contents()
    assert rows == ["cat0.950✓present", "<b>cow</b>0.500✓absent", f"{HOSTILE}0.050✓absent"]
    press(page, "Escape")
    assert large.is_hidden()
    expect(page.locator('#highest [data-image="39"]')).to_be_focused()


def test_the_large_view_opens_by_mouse_and_turns_to_the_classes(page: Page) -> None:
    page.click('#lowest [data-image="3"]')
    assert page.inner_text("#large-name") == "image 0003"
    page.click("#after")
    assert page.inner_text("#large-place") == "5. lowest of cat"
    press(page, "n")
    assert page.inner_text("#large-place") == f"1. highest of {HOSTILE}"
    press(page, "/")
    assert page.locator("#large").is_hidden()
    page.wait_for_timeout(100)  # the event of closing comes a little later
    assert page.evaluate("document.activeElement.id") == "class"


def test_keys_are_explained_in_the_page(page: Page) -> None:
    press(page, "?")
    explained = set(page.locator("#help kbd").all_text_contents())
    assert {*"←→↑↓jkfnp/12345bBaxr0usS", "Enter", "Esc", "Home", "End"} <= explained
    press(page, "2", "Escape")  # the first has no effect while the help is open
    assert page.locator("#help").is_hidden()
    assert count_in(page, "truth") == 4


# Marks


def saved(page: Page, key: str, folder: Path) -> str:
    """The text of the file that a key saves."""
    with page.expect_download() as download:
        press(page, key)
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path.read_text(encoding="utf-8")


def test_marks_are_made_in_the_grid_and_stay_in_the_browser(page: Page) -> None:
    assert page.inner_text("#marked") == "0 of 14 boxes marked"
    press(page, "ArrowRight", "a")
    press(page, "ArrowRight", "ArrowRight", "x")  # an image without boxes cannot be marked
    page.locator('#highest [data-image="36"]').focus()
    press(page, "x")

    page.reload()
    assert page.inner_text("#marked") == "2 of 14 boxes marked"
    texts = page.locator("#highest text").all_text_contents()
    assert texts == ["0.800 ✓", "0.800 ✗"]
    assert count_in(page, "rejected") == 1
    press(page, "u")
    assert page.inner_text("#marked") == "1 of 14 boxes marked"


def test_boxes_are_chosen_and_marked_one_after_the_other_in_the_large_view(page: Page) -> None:
    page.locator("#box-score").fill("-4")
    page.locator('#highest [data-image="39"]').click()
    press(page, "5")
    rows = page.locator("#boxes tbody tr")
    current = page.locator("#boxes tr[aria-current]")
    assert rows.all_text_contents() == ["cat0.800", "<b>cow</b>0.050"]
    assert current.all_text_contents() == ["cat0.800"]
    assert count_in(page, "chosen", "#stage") == 2  # with its halo

    press(page, "b")
    assert current.all_text_contents() == ["<b>cow</b>0.050"]
    press(page, "B", "a")
    assert current.all_text_contents() == ["<b>cow</b>0.050"]
    press(page, "r")
    expect(page.locator("#new-class")).to_be_focused()
    press(page, "Home", "Enter")
    expect(page.locator("#relabel")).to_be_hidden()
    assert rows.all_text_contents() == ["cat0.800✓ accepted", "<b>cow</b>0.050→ relabeled cat"]
    page.locator("#marks button").nth(1).click()
    assert rows.nth(1).inner_text().endswith("✗ rejected")
    press(page, "r", "Escape")
    assert page.locator("#large").is_visible()
    assert rows.nth(1).inner_text().endswith("✗ rejected")


def test_an_absent_class_has_no_other_mark_in_its_image(page: Page, tmp_path: Path) -> None:
    page.locator('#highest [data-image="39"]').click()
    press(page, "a", "0")
    assert [line.split(",")[-2] for line in saved(page, "s", tmp_path).splitlines()[1:]] == [
        "absent"
    ]
    press(page, "x")
    assert "absent" not in saved(page, "s", tmp_path)


def test_marks_are_saved_as_csv_with_the_other_boxes_of_their_images(
    page: Page, tmp_path: Path
) -> None:
    page.locator("#box-score").fill("-4")
    page.locator('#highest [data-image="39"]').focus()
    press(page, "a")
    page.locator('#highest [data-image="36"]').focus()
    press(page, "r", "ArrowDown", "Enter")
    saved(page, "s", tmp_path)

    boxes = read_reviewed(tmp_path / "reviewed.csv").boxes
    cat, cow = (10.0, 10.0, 40.0, 50.0), (0.0, 0.0, 9.0, 9.0)
    unmarked = MarkedBox("<b>cow</b>", cow, 0.05, "", "")
    assert boxes == {
        "image 0036": [MarkedBox("cat", cat, 0.8, "relabeled", HOSTILE), unmarked],
        f"z {HOSTILE}": [MarkedBox("cat", cat, 0.8, "accepted", ""), unmarked],
    }


def test_accepted_and_relabeled_boxes_are_saved_as_coco(page: Page, tmp_path: Path) -> None:
    for image, keys in ((39, "a"), (36, "x")):
        page.locator(f'#highest [data-image="{image}"]').focus()
        press(page, keys)
    content = json.loads(saved(page, "S", tmp_path))

    assert [image["file_name"] for image in content["images"]] == ["image 0036", f"z {HOSTILE}"]
    (box,) = content["annotations"]
    assert (box["bbox"], box["image_id"], box["category_id"]) == ([10, 10, 30, 40], 2, 1)
    assert [category["name"] for category in content["categories"]] == list(CLASSES)


def test_images_with_and_without_marks_can_be_shown(page: Page) -> None:
    page.locator('#highest [data-image="39"]').focus()
    press(page, "a")
    page.select_option("#filter", "marked")
    assert images_in(page, "highest") == [39]
    page.select_option("#filter", "unmarked")
    assert images_in(page, "highest") == [36, 33, 30, 27, 24]


def test_marks_of_a_file_are_there_to_begin_with_also_on_boxes_that_have_their_new_class(
    open_page: OpenPage, tmp_path: Path
) -> None:
    content = content_of(gallery(tmp_path, 6))
    rows = [["<b>cow</b>", 0.5, "relabeled", "cat", 100, 100, 400, 500]]
    content |= {"marks": {"image 0000": rows, "gone.jpg": rows}, "key": "another"}
    page = open_page(write_gallery_page(tmp_path, content).as_uri())

    assert page.inner_text("#marked") == "1 of 2 boxes marked"
    texts = page.locator('#highest [data-image="0"] text').all_text_contents()
    assert texts == ["0.800 →cat"]


def test_the_large_view_shows_the_image_as_it_is_on_disk(
    open_page: OpenPage, tmp_path: Path
) -> None:
    content, original = content_of(gallery(tmp_path, 6)), tmp_path / "of 800 pixels.png"
    Image.new("RGB", (800, 600), "navy").save(original)
    content["originals"] = [original.as_uri()] * 6
    page = open_page(write_gallery_page(tmp_path, content).as_uri())
    press(page, "Enter")
    wait_for(page, "stage.img.naturalWidth === 800")

    files = {f"/thumbs/{path.name}": path for path in (tmp_path / "thumbs").iterdir()}
    files |= {f"/originals/{row}": original for row in range(6)}
    with serving({"/": tmp_path / "index.html", **files}) as server:
        page = open_page(server.address)
        press(page, "Enter")
        wait_for(page, "stage.img.naturalWidth === 800")


# Many images, small windows, screen readers


def test_of_five_thousand_images_only_those_in_sight_are_in_the_page(
    open_page: OpenPage, tmp_path: Path
) -> None:
    path = gallery(tmp_path, count=5000, proposals=None)

    page = open_page(path.as_uri())
    page.fill("#count", "5000")
    assert page.locator(".cell").count() < 100
    assert press(page, "Enter", "End") == "1"
    wait_for(page, "document.querySelectorAll('.cell').length < 100")
    assert page.locator('#highest [data-image="1"]').is_visible()
    milliseconds = page.evaluate(
        "const start = performance.now(); chooseClass(1); performance.now() - start"
    )
    assert milliseconds < 2000  # 40 on an idle core


@pytest.mark.parametrize("width", [800, 1280])
def test_nothing_reaches_over_the_edge(width: int, page: Page) -> None:
    resize(page, width, 800)
    page.select_option("#class", "1")

    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    press(page, "Escape", "Enter")
    stage = page.locator("#stage .frame").bounding_box()
    assert stage is not None
    assert stage["x"] >= 0
    assert stage["x"] + stage["width"] <= width
    assert stage["width"] > 300
    assert stage["width"] / stage["height"] == pytest.approx(80 / 60, rel=0.01)


def test_images_have_words_and_buttons_are_buttons(page: Page) -> None:
    press(page, "1")
    texts = [image.get_attribute("alt") for image in page.locator("#highest img").all()]
    assert texts[:2] == ["image 0038", f"heatmap of cat in z {HOSTILE}"]
    for button in page.locator("button").all():
        assert (button.get_attribute("aria-label") or button.text_content() or "").strip()
        assert button.get_attribute("type") == "button"
    for field in page.locator("select, input").all():
        name = field.get_attribute("id")
        assert page.locator(f'label[for="{name}"]').count() == 1


def test_classes_are_listed_by_ap_and_gone_through_in_that_order(
    open_page: OpenPage, tmp_path: Path
) -> None:
    content = content_of(gallery(tmp_path, 6)) | {"average_precision": [0.25, None, 1.0]}
    page = open_page(write_gallery_page(tmp_path, content).as_uri())

    listed = page.locator("#class option").evaluate_all("all => all.map((one) => one.value)")
    assert listed == ["2", "0", "1"]
    assert page.locator("#class option").first.text_content() == "<b>cow</b> (AP 1.000)"
    page.select_option("#class", "2")
    assert page.is_disabled("#previous")
    press(page, "n", "n", "n")
    assert page.input_value("#class") == "1"
    assert page.is_disabled("#next")


# Safety


def test_names_are_shown_and_never_run(page: Page) -> None:
    assert page.title() == HOSTILE
    assert page.inner_text("#title") == HOSTILE
    options = page.locator("#class option").all_text_contents()
    assert [option.partition(" (AP ")[0] for option in options] == list(CLASSES)
    assert page.locator("#highest .cell .name").nth(1).text_content() == f"z {HOSTILE}"
    assert page.locator("script").count() == 2
    assert page.locator("b b, img[src=x]").count() == 0


def test_a_script_of_another_does_not_run(browser: Browser, folder: Path, tmp_path: Path) -> None:
    planted = '<script>window.hacked = 1</script><img src="x" onerror="window.hacked = 1">'
    text = (folder / "index.html").read_text().replace("<main>", f"<main>{planted}")
    (tmp_path / "planted.html").write_text(text)
    warnings: list[str] = []

    page = browser.new_page()
    page.on("console", lambda message: warnings.append(message.text))
    page.goto((tmp_path / "planted.html").as_uri())
    page.wait_for_load_state("networkidle")

    assert page.title() == HOSTILE
    assert not page.evaluate("'hacked' in window")
    assert sum("Content Security Policy" in text for text in warnings) == 2
    page.close()


def test_images_are_seen_from_disk_and_from_the_server(open_page: OpenPage, folder: Path) -> None:
    seen = "[...document.images].filter((image) => image.naturalWidth === 80).length === 10"
    wait_for(open_page((folder / "index.html").as_uri()), seen)

    thumbs = {f"/thumbs/{path.name}": path for path in (folder / "thumbs").iterdir()}
    with serving({"/": folder / "index.html", **thumbs}) as server:
        wait_for(open_page(server.address), seen)
