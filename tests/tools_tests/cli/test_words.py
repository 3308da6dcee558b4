"""How lists and flags are written on a command line, for every setting of every command."""

from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml

from data.datasets.settings import LabelSettings
from tools.cli.command import parse_settings
from tools.cli.commands import list_commands
from tools.cli.words import is_flag, is_list, types_of
from tools.exports.settings import DetectSettings

TYPES = {
    name: types_of(import_module(f"tools.{name}").main.settings_type) for name in list_commands()
}
LISTS = [(name, o) for name, types in TYPES.items() for o in types if is_list(types[o])]
FLAGS = [(name, o) for name, types in TYPES.items() for o in types if is_flag(types[o])]
ITEMS: dict[Any, list[Any]] = {
    int: [96, 160],
    float: [0.25, 1.0],
    str: ["cat", "-dog", "traffic light", "a,b", "no", "7", "[x", "é😀"],
    Path: ["runs/a b", "-c"],
    Literal["folders"] | Path: ["folders", "runs/a b"],
}


def read(capsys: pytest.CaptureFixture[str], name: str, option: str, *words: str) -> Any:
    """What the parser makes of one option, before the settings are checked together."""
    settings_type = import_module(f"tools.{name}").main.settings_type
    with pytest.raises(SystemExit):
        parse_settings(settings_type, name, [*words, "--print-config"])
    value = yaml.safe_load(capsys.readouterr().out)
    for part in option.removeprefix("--").split("."):
        value = value[part]
    return value


def written(option: str) -> str:
    return option.replace("_", "-")


@pytest.mark.parametrize(("name", "option"), LISTS)
def test_a_list_is_written_with_blanks_as_well_as_in_brackets(
    name: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    item = get_args(TYPES[name][option])[0]
    items = list(get_args(item)) if get_origin(item) is Literal else ITEMS[item]
    words = [str(value) for value in items]

    assert read(capsys, name, option, written(option), *words) == items
    assert read(capsys, name, option, f"{written(option)}={words[0]}") == items[:1]
    assert read(capsys, name, option, written(option), str(items)) == items
    assert read(capsys, name, option, written(option), *str(items[:2]).split(" ")) == items[:2]
    assert read(capsys, name, option, f"{option}=[]") == []


@pytest.mark.parametrize(("name", "option"), FLAGS)
def test_a_flag_without_a_value_is_true(
    name: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert read(capsys, name, option, written(option)) is True
    assert read(capsys, name, option, written(option), "false") is False
    assert read(capsys, name, option, f"{written(option)}=true") is True


def test_every_type_of_several_values_and_every_flag_is_known() -> None:
    for name, types in TYPES.items():
        for option, kind in types.items():
            several = any(word in str(kind).lower() for word in ("tuple", "list", "sequence"))
            assert several == is_list(kind), (name, option)
            assert ("bool" in str(kind)) == is_flag(kind), (name, option)


def test_a_list_ends_where_the_next_option_begins() -> None:
    words = "--run-dir r --formats coco yolo --draw false --out o --replace"

    settings = parse_settings(DetectSettings, "detect", words.split())
    assert (settings.formats, settings.draw, settings.replace) == (("coco", "yolo"), False, True)


@pytest.mark.parametrize("words", [["--classes=--a", "b"], ["--classes", "[--a, b]"]])
def test_a_class_may_begin_with_two_dashes(words: list[str]) -> None:
    assert parse_settings(LabelSettings, "any", words).classes == ("--a", "b")


@pytest.mark.parametrize("value", ["-1", "-.5", "-1e-4"])
def test_a_negative_number_is_a_value(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    option = "--model.pooling_value"
    assert read(capsys, "train_localizer", option, written(option), value) == float(value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--formats", "argument --formats: expected one argument"),
        ("--image-url", "argument --image-url: expected one argument"),
        ("--replace maybe", "maybe"),
        ("--out a b", "unrecognized arguments: b"),
        ("--run r", r"unknown setting --run \(did you mean --run-dir\?\)"),
        ("--rep", r"unknown setting --rep \(did you mean --replace\?\)"),
    ],
)
def test_words_that_no_option_takes_are_refused(words: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_settings(DetectSettings, "detect", ["--run-dir=r", "--out=o", *words.split()])


def test_help_tells_how_lists_and_flags_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_settings(DetectSettings, "detect", ["--out", "o", "-h"])

    text = capsys.readouterr().out
    assert "--formats ITEM ..." in text
    assert "--replace [{true,false}]" in text
    assert text.endswith("a flag without a value is true.\n")
