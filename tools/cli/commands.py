"""``wsddn``: every command of the package by its name."""

import ast
import difflib
import importlib
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from tools.cli.console import printable, put

FOLDER = Path(__file__).parents[1]
USAGE = "usage: wsddn COMMAND [options]   (wsddn COMMAND --help tells its options)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first word names, ``python -m tools.NAME``, and return its code.

    Without words, or with ``--help``, the commands are listed. No module of a command is imported
    but that of the one that runs.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        put("\n".join((USAGE, "", *_lines(), "")), sys.stdout)
        return 0
    name, commands = words[0].replace("-", "_"), list_commands()
    if name not in commands:
        near = difflib.get_close_matches(name, commands, n=1)
        hint = f"did you mean {near[0]}?" if near else "see wsddn --help"
        put(f"error: {printable(words[0])}: no such command ({hint})\n", sys.stderr)
        return 2
    code: int = importlib.import_module(f"tools.{name}").main(words[1:])
    return code


def list_commands() -> list[str]:
    """Names of the modules of ``tools`` that are commands, sorted."""
    return sorted(path.stem for path in FOLDER.glob("[!_]*.py"))


def _lines() -> list[str]:
    """Each command with the first line of its docstring, folded at the width of the terminal."""
    names, columns = list_commands(), shutil.get_terminal_size().columns
    first = max(map(len, names)) + 4
    return [
        textwrap.fill(
            f"  {name:{first - 2}}{_first_line(FOLDER / f'{name}.py')}",
            max(columns, 2 * first),
            subsequent_indent=" " * first,
        )
        for name in names
    ]


def _first_line(path: Path) -> str:
    about = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    return (about or "").partition("\n")[0]
