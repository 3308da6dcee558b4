"""The rooms, their direction, and the page that describes them."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
ROOMS = ("data", "localizer", "wsddn", "tools")
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LINT_IMPORTS, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture
def copy_of_the_rooms(tmp_path: Path) -> Path:
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    for room in ROOMS:
        shutil.copytree(
            PROJECT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__")
        )
    return tmp_path


def test_every_import_points_down() -> None:
    done = lint_imports(PROJECT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("data/collate.py", "from localizer.loss import multilabel_bce"),
        ("data/voc.py", "from tools.engine.progress import say"),
        ("localizer/boxes.py", "from tools.engine.progress import say"),
        ("localizer/boxes.py", "from wsddn.scores import image_scores"),
        ("wsddn/scores.py", "from tools.engine.progress import say"),
        ("wsddn/loss.py", "from localizer.loss import multilabel_bce"),
        ("tools/engine/loop.py", "from tools.jobs.evaluate import run"),
    ],
)
def test_a_planted_upward_import_is_found(copy_of_the_rooms: Path, module: str, line: str) -> None:
    planted = copy_of_the_rooms / module
    planted.write_text(planted.read_text() + f"\n{line}\n")
    done = lint_imports(copy_of_the_rooms)
    assert done.returncode == 1, done.stdout
    assert "BROKEN" in done.stdout


def test_every_file_that_the_page_names_exists() -> None:
    page = (PROJECT / "ARCHITECTURE.md").read_text()
    named = re.findall(r"`((?:data|localizer|wsddn|tools)/[a-z0-9_/]+\.py)`", page)
    assert named
    assert [name for name in named if not (PROJECT / name).is_file()] == []


@pytest.mark.parametrize("room", ["data", "localizer", "wsddn", "tools/engine"])
def test_every_module_of_a_room_stands_on_the_page(room: str) -> None:
    page = (PROJECT / "ARCHITECTURE.md").read_text()
    modules = [path.name for path in (PROJECT / room).glob("*.py") if path.stem != "__init__"]
    assert [name for name in modules if f"{name}`" not in page] == []


def test_the_detector_may_import_no_module_of_the_localizer_but_its_trunks() -> None:
    contracts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (ours,) = (one for one in contracts["contracts"] if one.get("source_modules") == ["wsddn"])
    modules = {path.stem for path in (PROJECT / "localizer").glob("*.py")} - {"__init__", "trunks"}
    assert {name.removeprefix("localizer.") for name in ours["forbidden_modules"]} == modules


def test_every_command_has_its_job() -> None:
    commands = {path.stem for path in (PROJECT / "tools").glob("*.py")} - {"__init__"}
    jobs = {path.stem for path in (PROJECT / "tools" / "jobs").glob("*.py")} - {"__init__"}
    assert commands == jobs


def test_no_command_shadows_the_standard_library() -> None:
    names = {path.stem for path in (PROJECT / "tools").glob("*.py")} - {"__init__"}
    assert names & sys.stdlib_module_names == set()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_announces_itself_and_does_nothing_else(room: str) -> None:
    text = (PROJECT / room / "__init__.py").read_text()
    assert re.fullmatch(r'""".+"""\n', text, flags=re.DOTALL)
