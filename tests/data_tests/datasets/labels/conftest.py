"""Folders of small images."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Saves white images of 100x50 below a folder, each of its own size if one is given."""

    def save_images(*names: str, size: tuple[int, int] = (100, 50)) -> Path:
        for name in names:
            path = tmp_path / "photographs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", size, "white").save(path, format="PNG")
        return tmp_path / "photographs"

    return save_images
