"""The rooms and the direction of their imports."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

PROJECT = Path(__file__).parents[1]
TOP = ("data", "localizer", "wsddn", "tools")
ROOMS = sorted(
    path.parent.relative_to(PROJECT).as_posix()
    for top in TOP
    for path in (PROJECT / top).rglob("__init__.py")
)
COMMANDS = {path.stem for path in (PROJECT / "tools").glob("*.py")} - {"__init__"}
# A module and an import that points up from it, one for every pair of neighboring rooms.
PLANTED = [
    ("data/collate.py", "localizer.loss"),
    ("data/evaluation/overlap.py", "data.datasets.voc"),
    ("localizer/boxes.py", "wsddn.scores"),
    ("localizer/loss.py", "tools.cli.console"),
    ("wsddn/loss.py", "localizer.loss"),
    ("tools/training/loop.py", "tools.pipelines.demo"),
    ("tools/exports/detect.py", "tools.training.run"),
    ("tools/evaluation/metrics.py", "tools.exports.detect"),
    ("tools/pages/report.py", "tools.evaluation.metrics"),
    ("tools/prediction/localizer.py", "tools.pages.draw"),
    ("tools/inputs/samples.py", "tools.prediction.opening"),
    ("tools/runs/folder.py", "tools.inputs.samples"),
    ("tools/models/device.py", "tools.runs.folder"),
    ("tools/loggers/backend.py", "tools.models.device"),
    ("tools/files/atomic.py", "tools.loggers.logger"),
    ("tools/cli/signals.py", "tools.files.atomic"),
]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [command, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False
    )


def imports_of_commands(graph: grimp.ImportGraph) -> set[tuple[str, str]]:
    """(importer, command) of every room's module that imports a command."""
    return {
        (importer, command)
        for command in (f"tools.{name}" for name in COMMANDS)
        for importer in graph.find_modules_that_directly_import(command)
        if importer.count(".") > 1 or not importer.startswith("tools.")
    }


def test_every_import_points_down() -> None:
    done = lint_imports(PROJECT)
    assert done.returncode == 0, done.stdout


def test_imports_that_point_up_are_found(tmp_path: Path) -> None:
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    for top in TOP:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PROJECT / top, tmp_path / top, ignore=ignored)
    for module, target in PLANTED:
        with (tmp_path / module).open("a") as file:
            file.write(f"\nimport {target}\n")

    done = lint_imports(tmp_path)

    assert done.returncode == 1
    found = set(re.findall(r"([\w.]+) -> ([\w.]+) \(l\.\d+\)", done.stdout))
    planted = {(path.removesuffix(".py").replace("/", "."), to) for path, to in PLANTED}
    assert planted - found == set()


def test_no_room_imports_a_command() -> None:
    assert imports_of_commands(grimp.build_graph(*TOP, cache_dir=None)) == set()


def test_a_room_that_imports_a_command_is_found() -> None:
    graph = grimp.build_graph(*TOP, cache_dir=None)
    graph.add_import(importer="tools.pages.report", imported="tools.evaluate")
    assert imports_of_commands(graph) == {("tools.pages.report", "tools.evaluate")}


def test_the_detector_may_import_no_module_of_the_localizer_but_its_backbones() -> None:
    contracts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (ours,) = (one for one in contracts["contracts"] if one.get("source_modules") == ["wsddn"])
    modules = {path.stem for path in (PROJECT / "localizer").glob("*.py")} - {
        "__init__",
        "backbones",
    }
    assert {name.removeprefix("localizer.") for name in ours["forbidden_modules"]} == modules


def test_no_command_shadows_the_standard_library() -> None:
    assert COMMANDS & sys.stdlib_module_names == set()


def test_no_room_has_the_name_of_a_command() -> None:
    rooms = {path.parent.name for path in (PROJECT / "tools").glob("*/__init__.py")}
    assert rooms & COMMANDS == set()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_announces_itself_and_does_nothing_else(room: str) -> None:
    text = (PROJECT / room / "__init__.py").read_text()
    assert re.fullmatch(r'"""[^"\n]+"""\n', text)
