"""Commit, versions and hardware of a run."""

import json
import os
from importlib import metadata
from pathlib import Path

import pytest

from tools.runs import environment as of_run
from tools.runs.environment import environment, write_environment


def test_the_environment_names_versions_and_hardware(tmp_path: Path) -> None:
    write_environment(tmp_path)

    written = json.loads((tmp_path / "environment.json").read_text())
    assert written == environment()
    assert written["torch"] == metadata.version("torch")
    assert written["python"].startswith("3.")
    assert written["processor"]
    assert written["threads"] >= 1


def test_a_library_that_is_not_installed_under_its_name_does_not_end_a_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    assert environment()["opencv-contrib-python-headless"] is None


def test_without_git_no_commit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    assert environment()["commit"] is None


def test_a_git_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "git").write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(of_run, "SECONDS", 0.2)

    assert environment()["commit"] is None
