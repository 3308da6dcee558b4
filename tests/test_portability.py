"""What Windows and macOS lack is not needed, and text is UTF-8 there too."""

import ast
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PACKAGES = ("data", "localizer", "wsddn", "tools")
SOURCES = [path for package in PACKAGES for path in sorted((PROJECT / package).rglob("*.py"))]
# Libraries are loaded first, as they are: what they need elsewhere is theirs to know. What is
# deleted then is in Python on Linux and not on Windows.
WITHOUT_POSIX = """
import contextlib, os, pkgutil, signal, sys, time
from importlib import import_module

def load():
    for package in map(import_module, PACKAGES):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            try:
                import_module(module.name)
            except ModuleNotFoundError as error:
                if error.name != "mlflow":  # of an extra
                    raise
    import_module("tests.conftest")
    import_module("tests.tools_tests.conftest")

load()
for name in [name for name in sys.modules if name.partition(".")[0] in (*PACKAGES, "tests")]:
    del sys.modules[name]
modules = "fcntl resource pwd grp termios tty pty syslog posix readline curses _posixsubprocess"
sys.modules.update(dict.fromkeys(modules.split()))
kept = "NSIG SIGABRT SIGFPE SIGILL SIGINT SIGSEGV SIGTERM SIG_DFL SIG_IGN"
names = {signal: [name for name in dir(signal) if name.isupper() and name not in kept.split()]}
names[os] = (
    "chown chroot fork forkpty getegid geteuid getgid getpgid getpgrp getuid killpg lchown "
    "getloadavg mkfifo mknod nice register_at_fork sched_getaffinity setsid statvfs sysconf "
    "uname wait3 wait4"
).split()
names[time] = ["tzset", "clock_gettime"]
for module, gone in names.items():
    for name in gone:
        with contextlib.suppress(AttributeError):
            delattr(module, name)
load()

from data.parallel import usable_cores
from tools.cli.signals import install_signal_handlers

install_signal_handlers()
assert usable_cores() == os.cpu_count()
"""


def test_nothing_is_imported_that_posix_alone_has() -> None:
    program = f"PACKAGES = {PACKAGES}\n{WITHOUT_POSIX}"
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stderr


def test_text_files_are_opened_as_utf_8() -> None:
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                modes = [a.value for a in node.args if isinstance(a, ast.Constant)]
                is_text = node.func.attr in ("read_text", "write_text")
                is_text |= node.func.attr == "open" and modes in (["r"], ["w"], ["x"], ["a"])
                if is_text and "encoding" not in {keyword.arg for keyword in node.keywords}:
                    found.append(f"{path.relative_to(PROJECT)}:{node.lineno}")
    assert found == []
