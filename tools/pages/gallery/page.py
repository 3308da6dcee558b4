"""The gallery's page: one file with script, style and data.

Its content-security policy allows only the script and the style with the digests that it lists, so
no text in a name can run. Names are JSON that cannot end its element; the script shows them as
text.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.pages.page import write_page

PAGE = "index.html"
OURS = b'<meta name="generator" content="tools.gallery">'


def write_gallery_page(folder: Path, content: Mapping[str, Any]) -> Path:
    """Write ``index.html``, complete or not at all.

    Args:
        folder: the one with ``thumbs``.
        content: from ``gallery_content``.

    Returns:
        The path of the page.
    """
    path = folder / PAGE
    write_page(path, "gallery.html", data=content)
    return path


def check_ours(folder: Path) -> None:
    """Refuse a folder with another ``index.html``.

    Raises:
        FileExistsError: its ``index.html`` is not a gallery's.
    """
    path = folder / PAGE
    if path.exists() and not (path.is_file() and OURS in path.read_bytes()[:4096]):
        raise FileExistsError(f"{path}: not the page of a gallery (--out names another folder)")
