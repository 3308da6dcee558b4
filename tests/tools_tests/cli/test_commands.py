"""The console script: every command by its name."""

import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tools
from tools.cli.commands import list_commands, main
from tools.cli.console import CLOSED_OUTPUT

PROJECT = Path(tools.__file__).parents[1]


def test_the_installed_script_is_this_function() -> None:
    scripts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, name = scripts["wsddn"].partition(":")
    assert getattr(importlib.import_module(module), name) is main


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_every_command_is_listed_with_the_first_line_of_its_help(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split()[0] for line in lines] == list_commands()
    for name, line in zip(list_commands(), lines, strict=True):
        about = importlib.import_module(f"tools.{name}").__doc__ or ""
        assert line.split(maxsplit=1)[1] == about.splitlines()[0]


def test_the_list_fits_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    main([])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) > 2 + len(list_commands())


def test_the_list_comes_without_torch() -> None:
    program = "import sys; from tools.cli.commands import main; main([]); print(*sys.modules)"
    listed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PROJECT
    )
    assert not {"torch", "numpy", "jsonargparse"} & {*listed.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize("name", ["make_proposals", "make-proposals"])
def test_a_command_gets_the_words_after_its_name_and_gives_its_code(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--out", "proposals.csv"]) == 2
    assert capsys.readouterr().err == "error: --out ends in .npz, got proposals.csv\n"


@pytest.mark.parametrize(
    ("word", "hint"),
    [("boxs", "did you mean boxes?"), ("zzz", "see wsddn --help"), ("__init__", "see wsddn")],
)
def test_an_unknown_command_is_refused_with_a_suggestion(
    word: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"error: {word}: no such command ({hint}")


WARNS = "from tools.cli.console import echo, warn; warn('one'); echo('line'); raise ValueError"
LISTS = "from tools.cli.commands import main; raise SystemExit(main({}))"


@pytest.mark.parametrize(
    "program",
    [WARNS, *map(LISTS.format, ([], ["describe", "--help"], ["describe", "--print_config"]))],
)
def test_output_that_nobody_reads_ends_every_command_without_a_word(program: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        ended = subprocess.run(
            [sys.executable, "-c", program],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=PROJECT,
        )

    assert ended.returncode == CLOSED_OUTPUT
    assert ended.stderr == ("warning: one\n" if program == WARNS else "")


def test_an_error_that_nobody_reads_is_still_the_exit_code_of_a_closed_output() -> None:
    program = LISTS.format(["no_such_command"])
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        ended = subprocess.run(
            [sys.executable, "-c", program], stderr=closed, check=False, cwd=PROJECT
        )

    assert ended.returncode == CLOSED_OUTPUT
