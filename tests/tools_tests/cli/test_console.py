"""Progress passes everything through and says now and then how far it is; lines are plain."""

import re
import signal
import time
from datetime import datetime
from pathlib import Path

import pytest
from rich.console import Console

from tools.cli.console import (
    also_to,
    echo,
    saying,
    show_progress,
    show_suggestion,
    suggest,
    table,
    track,
    warn,
)
from tools.cli.signals import Interrupted, install_signal_handlers

OBEYED = "a\nb\r\t\x1b[31m\x9b\u202e\u2028\udcff"  # lines, colors, direction, and what is no text


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_passes_every_item_through(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Console, "is_terminal", is_terminal)

    assert list(track(iter("abc"), "letters", total=3)) == ["a", "b", "c"]
    assert list(track([], "letters", total=3, done=3)) == []


def test_without_a_terminal_a_line_now_and_then_says_how_far_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    list(show_progress([1, 2], "epoch 3", total=4, done=2, size=8, interval=0.0))

    pattern = r"epoch 3: {}/4, \d+\.\d images/s, {} s left"
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(pattern.format(3, r"\d+"), lines[0])
    assert re.fullmatch(pattern.format(4, 0), lines[1])


def test_what_is_new_is_told_beside_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    news = iter(["", "loss 0.5"])

    list(show_progress([1, 2], "epoch 3", total=2, interval=0.0, news=lambda: next(news)))

    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"epoch 3: 1/2, \d+\.\d images/s, \d+ s left", first)
    assert re.fullmatch(r"epoch 3: 2/2, loss 0\.5, \d+\.\d images/s, 0 s left", second)


def test_the_bar_is_no_wider_than_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Console, "is_terminal", True)
    monkeypatch.setenv("COLUMNS", "80")
    news = "loss 0.08888, mAP 0.888"

    list(show_progress([1, 2], "epoch 100/100", total=5011, done=5009, size=32, news=lambda: news))

    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    lines = re.split(r"[\r\n]+", shown)
    assert max(map(len, lines)) <= 80
    assert any(f"{news}, " in line for line in lines)


@pytest.mark.parametrize(("seconds", "said"), [(0.0, "reading a\\nb ...\n"), (60.0, "")])
def test_work_that_takes_longer_than_some_seconds_is_named(
    seconds: float, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with saying("reading a\nb", after=seconds):
        time.sleep(0.1 if said else 0)

    assert capsys.readouterr() == ("", said)


def test_the_last_suggestion_is_shown_as_it_can_be_typed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    suggest("python", "first")
    suggest("python", Path("my run"), "[a,b]")
    show_suggestion()
    suggest()
    show_suggestion()

    assert capsys.readouterr().out == "next: python 'my run' '[a,b]'\n"


def test_without_a_terminal_quick_work_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    list(track(range(1000), "letters", total=1000))

    assert capsys.readouterr() == ("", "")


def test_a_signal_ends_the_items_before_the_next_one() -> None:
    install_signal_handlers()
    items, done = track([1, 2, 3], "numbers", total=3), [0, 0]

    done[0] = next(items)
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(Interrupted):
        done[1] = next(items)
    assert done == [1, 0]


def test_what_a_terminal_would_obey_is_shown_as_an_escape(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = r"a\nb\r\t\x1b[31m\x9b\u202e\u2028\udcff"

    with also_to(tmp_path / "log.txt"):
        echo(OBEYED, "second line")
        warn(OBEYED)

    assert capsys.readouterr() == (f"{shown}\nsecond line\n", f"warning: {shown}\n")
    lines = [line.split(" ", 2) for line in (tmp_path / "log.txt").read_text().splitlines()]
    assert [line for *_, line in lines] == [shown, "second line", f"warning: {shown}"]
    for day, clock, _ in lines:
        datetime.fromisoformat(f"{day} {clock}")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full device")
def test_a_log_on_a_full_disk_costs_one_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log.txt").symlink_to("/dev/full")

    with also_to(tmp_path / "log.txt"), also_to(tmp_path / "other.txt"):
        echo("one", "two")

    out, err = capsys.readouterr()
    assert out == "one\ntwo\n"
    assert err.startswith(f"warning: {tmp_path / 'log.txt'}: No space left on device; ")
    assert err.count("\n") == 1
    assert len((tmp_path / "other.txt").read_text().splitlines()) == 3


def test_a_log_that_cannot_be_opened_costs_one_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with also_to(tmp_path):
        echo("one", "two")

    out, err = capsys.readouterr()
    assert out == "one\ntwo\n"
    assert err.startswith(f"warning: {tmp_path}: Is a directory; ")
    assert err.count("\n") == 1


def test_text_of_every_script_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    echo("für später/图 1.jpg: <b>кошка</b> 🐈")

    assert capsys.readouterr().out == "für später/图 1.jpg: <b>кошка</b> 🐈\n"


def test_a_table_has_its_names_on_the_left_and_numbers_on_the_right() -> None:
    assert table(("class", "AP", "of"), ("cat", "0.5", "8 images"), ("a\n[b]", "n/a", "-")) == [
        "class    AP  of",
        "─" * 21,
        "cat     0.5  8 images",
        r"a\n[b]  n/a  -",
    ]


def test_a_table_that_is_too_wide_folds_words_and_goes_on_below() -> None:
    heads = ["class", *(f"trainval {number}" for number in range(8))]
    first, second = "x" * 60, "two words"

    lines = table(heads, (first, *["1 / 2 (+3)"] * 8), (second, *["n/a"] * 8))

    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert text.count("class") == text.count(second) == 2
    assert text.count("x") == 120
    assert text.count("1 / 2 (+3)") == 8


def test_on_a_terminal_a_table_is_as_wide_as_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Console, "is_terminal", True)
    monkeypatch.setenv("COLUMNS", "200")

    assert table(("class", "AP"), ("x" * 100, "0.5"))[2] == "x" * 100 + "  0.5"
