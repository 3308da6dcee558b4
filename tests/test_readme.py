"""What the README says can be done, and the tables of results."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from tools.cli.command import parse_settings
from tools.cli.commands import list_commands
from tools.pipelines.result_rows import RESULTS, read_rows
from tools.pipelines.result_tables import with_tables

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text()
RESULTS_PAGE = (PROJECT / "tools" / "results" / "README.md").read_text()
RANKS_PAGE = (PROJECT / "tools" / "training" / "README.md").read_text()
HELP = [import_module(f"tools.{name}").main.about for name in list_commands()]
COMMANDS = [
    re.findall(
        r"^(?:python -m tools\.|wsddn |torchrun --nproc-per-node 8 -m tools\.)(\w[^#\n]+)",
        text,
        flags=re.MULTILINE,
    )
    for text in (f"{README}\n{RESULTS_PAGE}\n{RANKS_PAGE}", "\n".join(HELP))
]


@pytest.mark.parametrize("command", [command.strip() for shown in COMMANDS for command in shown])
def test_a_command_that_is_shown_is_understood_and_needs_no_quotes(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    name, *words = command.split()

    parse_settings(import_module(f"tools.{name}").main.settings_type, name, words)
    assert shlex.join([name, *words]) == " ".join([name, *words])


def test_the_readme_and_the_help_show_commands() -> None:
    assert min(map(len, COMMANDS)) >= 4


def test_the_readme_shows_what_comes_out_before_it_says_how() -> None:
    assert any("![" in line for line in README.splitlines()[:30])


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    for target in re.findall(r"(?:^|`)make (\w+)", README, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_the_table_of_commands_lists_each_of_them() -> None:
    rows = re.findall(r"^\| (`.+?) \|", README.partition("## Commands")[2], flags=re.MULTILINE)
    listed = re.findall(r"`(\w+)`", " ".join(rows))
    assert sorted(listed) == list_commands()


def test_the_tables_are_those_of_the_result_files() -> None:
    assert with_tables(RESULTS_PAGE, read_rows(), RESULTS) == RESULTS_PAGE


def test_every_result_file_belongs_to_a_row() -> None:
    wanted = {row.result(RESULTS, seed) for row in read_rows() for seed in row.seeds}
    assert set(RESULTS.glob("*.json")) <= wanted


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 220


def test_every_relative_link_leads_somewhere() -> None:
    for page in [*PROJECT.glob("*.md"), *PROJECT.glob("tools/*/README.md")]:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
