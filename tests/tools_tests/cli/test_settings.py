"""Settings as plain values and as the words of a command."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tools.cli.command import parse_settings
from tools.cli.settings import to_options
from tools.runs.settings import OptimSettings


@dataclass(frozen=True)
class Some:
    """Settings of a command that exists in this test only."""

    out: Path = Path("a")
    classes: tuple[str, ...] = ()
    sizes: tuple[int, ...] = (1, 2)
    rate: float | None = None
    optim: OptimSettings = field(default_factory=OptimSettings)


NAMES = ("red car", "a,b", "x: y", "no", "#1", 'it\'s "it"', "10", "null", "")


@pytest.mark.parametrize("names", [NAMES, (*NAMES, "[z]"), ("--cat", "-h", "[z]"), ("-1", "é")])
def test_options_of_settings_give_the_same_settings_again(names: tuple[str, ...]) -> None:
    settings = Some(Path("my runs"), names, (3,), 0.5, OptimSettings(lr=0.5, step_epochs=2))
    words = to_options(settings, Some())

    assert parse_settings(Some, "some", words) == settings
    assert words[:2] == ["--out=my runs", "--classes"]
    assert words[-5:] == ["--sizes", "3", "--rate=0.5", "--optim.lr=0.5", "--optim.step-epochs=2"]


def test_a_list_is_written_with_blanks_where_its_words_are_plain() -> None:
    assert to_options(Some(classes=NAMES), Some()) == ["--classes", *NAMES]
    assert to_options(Some(sizes=()), Some()) == ["--sizes", "[]"]


def test_defaults_and_other_settings_need_no_words() -> None:
    assert to_options(Some(), Some()) == []
    assert to_options(Some(sizes=(3,), rate=1), Some(), {"rate"}) == ["--rate=1"]
