"""Progress passes everything through and says now and then how far it is."""

import re

import pytest
from rich.console import Console

from tools.engine import progress
from tools.engine.progress import track


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_passes_every_item_through(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Console, "is_terminal", is_terminal)

    assert list(track(iter("abc"), "letters", total=3)) == ["a", "b", "c"]
    assert list(track([], "letters", total=3, done=3)) == []


def test_without_a_terminal_a_line_now_and_then_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    list(track([1, 2], "epoch 3", total=4, done=2, size=8))

    pattern = r"epoch 3: {}/4, \d+\.\d images/s, {} s left"
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(pattern.format(3, r"\d+"), lines[0])
    assert re.fullmatch(pattern.format(4, 0), lines[1])


def test_without_a_terminal_quick_work_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    list(track(range(1000), "letters", total=1000))

    assert capsys.readouterr() == ("", "")
