"""Commit, versions and hardware of a run."""

import json
from importlib import metadata
from pathlib import Path

from tools.runs.environment import environment, write_environment


def test_the_environment_names_versions_and_hardware(tmp_path: Path) -> None:
    write_environment(tmp_path)

    written = json.loads((tmp_path / "environment.json").read_text())
    assert written == environment()
    assert written["torch"] == metadata.version("torch")
    assert written["python"].startswith("3.")
    assert written["processor"]
    assert written["threads"] >= 1
