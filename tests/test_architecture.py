"""The rooms, the direction of their imports, and the page that describes them."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import grimp
import pytest
import torch

from data.synthetic.dataset import SYNTHETIC_CLASSES

PROJECT = Path(__file__).parents[1]
PAGE = (PROJECT / "ARCHITECTURE.md").read_text()
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
    modules = {path.stem for path in (PROJECT / "localizer").glob("*.py")}
    modules -= {"__init__", "backbones", "measured", "near_infrared", "timm_features"}
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


# The page


def definitions() -> dict[str, str]:
    """Module by name of every public function and class of the packages below tools."""
    modules: dict[str, str] = {}
    for top in ("data", "localizer", "wsddn"):
        for path in (PROJECT / top).rglob("*.py"):
            module = ".".join(path.relative_to(PROJECT).with_suffix("").parts)
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                    modules[node.name] = module
    return modules


def test_the_flows_of_the_page_run_as_they_stand(
    tiny_voc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flows = re.findall(r"```python\n(.+?)```", PAGE, flags=re.DOTALL)
    assert len(flows) == 2
    program = "\n".join(flows)
    known = definitions()
    names = {node.id for node in ast.walk(ast.parse(program)) if isinstance(node, ast.Name)}
    space: dict[str, Any] = {
        name: getattr(import_module(known[name]), name) for name in names & known.keys()
    }
    space |= {"voc_root": tiny_voc, "classes": SYNTHETIC_CLASSES, "torch": torch}
    space["replace"] = replace
    torch.manual_seed(0)

    exec(program, space)

    assert space["heatmaps"].logits.shape[0] == len(SYNTHETIC_CLASSES)
    assert len(space["detections"].boxes)
    assert 0 <= space["ap"].mean <= 1


def test_the_page_is_short_and_names_every_room() -> None:
    assert len(PAGE.splitlines()) <= 90
    for room in ROOMS:
        name = room.split("/")[-1] if room.count("/") == 1 else None
        assert name is None or f"`{name}`" in PAGE, room


def test_every_file_that_the_page_names_exists() -> None:
    named = re.findall(r"`((?:data|localizer|wsddn|tools)/[a-z0-9_/]+\.py)`", PAGE)
    assert [name for name in named if not (PROJECT / name).is_file()] == []
