"""The size of functions: one that takes or does too much is two ideas."""

import ast
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PARAMETERS, LINES = 7, 45  # most of a function; self and the docstring do not count

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(text: str) -> Iterator[tuple[Function, int, int]]:
    """Each function of a module, its number of parameters and of lines of its body."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, Function):
            names = [
                a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            ]
            body = node.body[bool(ast.get_docstring(node)) :]
            last = body[-1].end_lineno if body else None
            lines = last - body[0].lineno + 1 if last else 0
            yield node, len(names) - (names[:1] in (["self"], ["cls"])), lines


def too_large(text: str) -> list[str]:
    """Names of the functions that are."""
    return [
        function.name
        for function, parameters, lines in functions(text)
        if parameters > PARAMETERS or lines > LINES
    ]


def test_no_function_takes_or_does_too_much() -> None:
    found = {
        f"{path.relative_to(PROJECT)}: {name}"
        for room in ("data", "localizer", "wsddn", "tools")
        for path in (PROJECT / room).rglob("*.py")
        for name in too_large(path.read_text())
    }
    assert found == set()


def test_functions_that_do_are_found() -> None:
    takes = "class A:\n def allowed(self, a, b, c, d, *, e, f, g): pass\n"
    takes += "def many(a, b, c, d, e, f, g, *, h): pass\n"
    does = "def allowed():\n '''Docs.'''\n" + " a = 1\n" * 45 + "def long():\n" + " a = 1\n" * 46

    assert too_large(takes + does) == ["many", "long"]
