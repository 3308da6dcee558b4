"""A visdom of our own, as pip installs it."""

import shutil
from pathlib import Path

import pytest

from tools.visdom_page.assets import packages_for, visdom_folder, wanted_files

INSTALLED = visdom_folder()
VERSION = (INSTALLED / "VERSION").read_text().strip()
WANTED = wanted_files(packages_for(VERSION))
ADDED = (*WANTED, "version.built")
FILES = {name: f"content of {name}".encode() for name in WANTED}
WHOLE = {**FILES, "version.built": VERSION.encode()}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package without added files."""
    copy = tmp_path / "packages" / "visdom"
    shutil.copytree(INSTALLED, copy, ignore=shutil.ignore_patterns("__pycache__", "*.map"))
    for name in ADDED:
        (copy / "static" / name).unlink(missing_ok=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return copy


@pytest.fixture
def static(package: Path) -> Path:
    """The part of the page that the package holds."""
    return package / "static"


@pytest.fixture
def cached(tmp_path: Path) -> Path:
    """Where a page is made complete."""
    return tmp_path / "cache" / "wsddn-localizer" / f"visdom-{VERSION}"
