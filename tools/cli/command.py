"""What every command does around its work: settings, signals, and errors in one line.

Exit codes: 0 done, 2 bad input or usage, 1 failure while running, 143 after SIGTERM, 130 after
SIGINT. Torch is imported with the work, after the settings are read, so ``--help`` is quick.
"""

import dataclasses
import difflib
import importlib
import io
import re
import sys
import traceback
from argparse import RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from docstring_parser import DocstringStyle
from jsonargparse import ArgumentParser, DefaultHelpFormatter, set_parsing_settings

from tools.cli.allocator import keep_freed_memory, without_collection
from tools.cli.console import (
    printable,
    put,
    saying,
    show_suggestion,
    suggest,
    until_closed,
)
from tools.cli.signals import Interrupted, install_signal_handlers
from tools.cli.words import is_flag, is_list, types_of, with_one_value

BAD_INPUT = (
    ValueError,
    TypeError,
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
    ModuleNotFoundError,
)

MOST_VALUES = 100_000  # of a file of settings
CONFIGS = Path(__file__).parents[1] / "configs"
CONFIG_HELP = "YAML file with any of these settings, or the name of one of tools/configs"
# How the parser names a setting with a value that it refuses, and the types that need a word.
REFUSED = re.compile(r'Parser key "([\w.]+)"[^:]*:\s*(.*)', flags=re.DOTALL)
KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"}
EPILOG = "Lists are written with blanks, --image-sizes 512 736; a flag without a value is true."

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Settings = TypeVar("Settings", bound="DataclassInstance")

set_parsing_settings(
    docstring_parse_style=DocstringStyle.GOOGLE,
    import_path_denylist=["*"],  # settings are values, they name no code
    import_path_allowlist=["localizer.settings"],  # how the parser notes ``BoxSettings | None``
)


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """A command, called with the words after its name.

    Attributes:
        name: after ``python -m tools.``.
        settings_type: a dataclass; its fields are the options, nested dataclasses their groups.
        work: dotted name of the module whose ``run`` gets the settings; imported after they are
            read.
        about: the command's docstring, shown by ``--help``.
    """

    name: str
    settings_type: type[Any]
    work: str
    about: str

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        """Read ``argv``, or the words of this process, do the work and return the exit code."""
        install_signal_handlers()
        for stream in (sys.stdout, sys.stderr):  # Windows' encodings, for example, lack characters
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        arguments = list(sys.argv[1:] if argv is None else argv)
        debug = "--debug" in arguments
        try:
            arguments = [argument for argument in arguments if argument != "--debug"]
            with until_closed(sys.stdout):
                settings = parse_settings(self.settings_type, self.name, arguments, self.about)
            keep_freed_memory()
            with saying("loading the libraries"), without_collection():
                work = importlib.import_module(self.work)
            suggest()
            work.run(settings)
            show_suggestion()
        except Interrupted as stop:
            put(f"{stop}\n", sys.stderr)
            return stop.exit_code
        except Exception as error:
            if debug:
                traceback.print_exc()
            put(f"error: {_one_line(error)}\n", sys.stderr)
            return 2 if isinstance(error, BAD_INPUT) else 1
        return 0


class _HelpFormatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Keeps the lines of a command's docstring."""


class _Parser(ArgumentParser):
    """Shows and suggests options with dashes."""

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        return _with_dashes(super().format_help(*args, **kwargs))

    def _print_message(self, message: str, file: Any = None) -> None:
        put(message, file or sys.stdout)

    def error(self, message: str, ex: Exception | None = None) -> Any:
        if refused := re.search(r"Importing '([^']+)' is not allowed", message):
            message = f"{refused[1]}: settings are values, they name no module or class"
        unknown = _unknown_setting(message)
        if unknown:
            names = [option[2:] for action in self._actions for option in action.option_strings]
            known = {name.rpartition(".")[2]: name for name in names} | {n: n for n in names}
            begun = [name for name in known if name.startswith(unknown)]
            near = begun or difflib.get_close_matches(unknown, known, n=1)
            hint = f"did you mean --{known[near[0]]}?" if near else "see --help"
            message = f"unknown setting --{unknown} ({hint})".replace("_", "-")
        elif refused := REFUSED.match(message):
            message = _describe_refused(*refused.groups())
        raise ValueError(_with_dashes(message) if message.startswith("argument --") else message)


def _describe_refused(name: str, said: str) -> str:
    """The parser's message of a value that is of another type, in words of settings."""
    option = f"--{name.replace('_', '-')}"
    found = re.findall(r"Expected an? (?:<class '(\w+)'>|typing\.Literal\[([^\]]*)\])", said)
    kinds = [KINDS.get(kind, "") if kind else f"one of {names}" for kind, names in found]
    value = re.search(r"(?:Got|Given) value: ?(.*)$", said, flags=re.DOTALL)
    if not kinds or value is None:
        return f"{option}: {said}"
    wanted = " or ".join(filter(None, kinds)).replace("'", "")
    return f"{option} is {wanted}, got {value[1]!r}"


def _with_dashes(text: str) -> str:
    return re.sub(r"(?<=--)\w[\w.+]*", lambda option: option[0].replace("_", "-"), text)


def _unknown_setting(message: str) -> str | None:
    """The unknown setting that a parser's message names, None for a message of another kind."""
    match = re.search(r"nrecognized arguments: --([\w.\-]+)", message)
    if match:
        return match[1].replace("-", "_")
    match = re.search(r"^(?:Group '([\w.]+)' does not accept o|O)ption '([\w.]+)'", message)
    return ".".join(filter(None, match.groups())) if match else None


def parse_settings(
    settings_type: type[Settings], name: str, arguments: Sequence[str], about: str = ""
) -> Settings:
    """Arguments of a command to an instance of ``settings_type``.

    Raises:
        ValueError: an unknown setting, a value that the settings refuse, or a config that is not
            there.
    """
    is_help = any(word in ("-h", "--help") for word in arguments)
    # to read them from the sources is slow, and only the help shows them
    set_parsing_settings(docstring_parse_attribute_docstrings=is_help)
    parser = _Parser(
        prog=f"python -m tools.{name}",
        usage="%(prog)s [--config FILE] [options]",
        description=about,
        epilog=EPILOG,
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help=CONFIG_HELP)
    parser.add_class_arguments(settings_type)
    types = types_of(settings_type) | {"--config": Path}
    for action in parser._actions:
        kind = types.get(f"--{action.dest}")
        if is_list(kind):
            action.metavar = "ITEM ..."
        elif is_flag(kind):
            action.metavar = f"[{action.metavar or action.dest.upper()}]"
    words = [_with_config_file(word) for word in with_one_value(arguments, types)]
    try:
        parsed = parser.parse_args(words)
    except RecursionError as error:
        raise ValueError("--config: nested too deeply") from error
    return _instance(settings_type, parser, parsed)


def settings_from(settings_type: type[Settings], values: Mapping[str, Any]) -> Settings:
    """The settings that ``to_dict`` has made plain values of; what is missing gets its default.

    The only value of a list may stand for itself: what is a list now may have been one value once.

    Raises:
        ValueError: an unknown setting, or a value that the settings refuse.
    """
    parser = _parser_of(settings_type)
    types = types_of(settings_type, prefix="")
    plain = {
        name: [value] if is_list(types.get(name)) and isinstance(value, str) else value
        for name, value in values.items()
    }
    return _instance(settings_type, parser, parser.parse_object(plain))


@cache
def _parser_of(settings_type: type[Any]) -> ArgumentParser:
    """To make one takes as long as to use it, and several runs may be read."""
    parser = _Parser()
    parser.add_class_arguments(settings_type)
    return parser


def _instance(settings_type: type[Settings], parser: ArgumentParser, parsed: Any) -> Settings:
    values = parser.instantiate(parsed)
    names = [field.name for field in dataclasses.fields(settings_type)]
    return settings_type(**{name: values[name] for name in names})


def _with_config_file(word: str) -> str:
    """The word, with the file of a config in place of its name."""
    option, _, name = word.partition("=")
    return f"{option}={config_file(name)}" if option == "--config" and name else word


def config_file(name: str) -> Path:
    """The file of that name, or the one of ``tools/configs``; ``.yaml`` may be left out there.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it does not hold settings; names it.
    """
    path, packaged = Path(name), CONFIGS / f"{name.removesuffix('.yaml')}.yaml"
    if path.is_file():
        _check_config(path)
        return path
    if path.name == name and packaged.is_file():
        return packaged
    near = difflib.get_close_matches(path.stem, sorted(p.stem for p in CONFIGS.glob("*.yaml")), n=1)
    hint = f"did you mean --config {near[0]}?" if near else f"by name: those of {CONFIGS}"
    raise FileNotFoundError(f"--config {name}: no such file ({hint})")


def _check_config(path: Path) -> None:
    """Refuse by its name what is no YAML of settings; the parser's messages do not tell it."""
    try:
        read_yaml(path)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a file of settings ({error})") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """Names and values of a file, which runs no code.

    Raises:
        ValueError: not YAML, no names, or references in it stand for more values than any settings
            have: a few lines could be billions.
        RecursionError: nested too deeply.
    """
    import yaml  # takes a moment, which no help needs

    text = path.read_text(encoding="utf-8")
    try:
        if _expanded(yaml.compose(text, yaml.SafeLoader), {}) > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES} values")
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    if not isinstance(content, dict):
        raise ValueError("a name and a value a line are wanted")
    return content


def _expanded(node: Any, counted: dict[int, int]) -> int:
    """Values of a node of YAML with those that references stand for."""
    if node is None or isinstance(node.value, str):
        return 1
    if id(node) not in counted:
        counted[id(node)] = MOST_VALUES  # one that holds itself has no end
        items = [item for item in node.value for item in (item if type(item) is tuple else (item,))]
        counted[id(node)] = 1 + sum(_expanded(item, counted) for item in items)
    return counted[id(node)]


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename and error.strerror:
        return printable(f"{error.filename}: {error.strerror}")
    return printable(" ".join(str(error).split())) or type(error).__name__
