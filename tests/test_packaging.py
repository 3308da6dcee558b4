"""What the wheel holds."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names in the wheel; built without isolation, so that no network is asked."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    listed = subprocess.run(
        ["git", "-C", str(PROJECT), "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in listed:
        if (PROJECT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((PROJECT / name).read_bytes())
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", str(source), "--no-deps", "--quiet"),
            *("--no-build-isolation", "--no-index", "--wheel-dir", str(folder)),
        ],
        check=True,
    )
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return archive.namelist()


def test_every_room_travels(wheel: list[str]) -> None:
    for name in (
        "data/datasets/voc.py",
        "localizer/model.py",
        "wsddn/loss.py",
        "tools/evaluation/evaluate.py",
    ):
        assert name in wheel


def test_settings_templates_and_type_marks_travel(wheel: list[str]) -> None:
    templates = [f"tools/pages/templates/{name}" for name in ("report.html", "gallery.html")]
    expected = ["tools/configs/demo.yaml", *templates, "data/py.typed"]
    expected += ["tools/visdom_page/packages.yaml"]
    assert [name for name in expected if name not in wheel] == []


def test_nothing_else_travels(wheel: list[str]) -> None:
    kinds = {Path(name).suffix for name in wheel if ".dist-info/" not in name}
    assert kinds <= {".py", ".typed", ".yaml", ".json", ".html", ".svg"}
    assert not any(name.startswith(("tests/", "runs/", "VOCdevkit/")) for name in wheel)
