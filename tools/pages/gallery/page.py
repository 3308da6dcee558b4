"""The gallery's page: one file with its script, its style and its data, and nothing else may run.

The policy in the page names the digests of its script and of its style, so no other script runs,
whatever a name holds; names reach the page as JSON that cannot end its element, and the script
shows them as text.
"""

import json
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from tools.files.atomic import write_atomically

PAGE = "index.html"
OURS = b'<meta name="generator" content="tools.gallery">'


def write_gallery_page(folder: Path, content: Mapping[str, Any]) -> Path:
    """Write ``index.html`` beside its place, then rename.

    Args:
        folder: that holds ``thumbs``.
        content: of ``gallery_content``.

    Returns:
        The path of the page.
    """
    templates = Environment(loader=PackageLoader("tools.pages"), autoescape=True)
    templates.filters["digest"] = _digest
    page = templates.get_template("gallery.html").render(data=script_json(content))
    path = folder / PAGE
    write_atomically(path, page.encode())
    return path


def check_ours(folder: Path) -> None:
    """Refuse a folder whose page is another's.

    Raises:
        FileExistsError: its ``index.html`` is no gallery.
    """
    path = folder / PAGE
    if path.exists() and not (path.is_file() and OURS in path.read_bytes()[:4096]):
        raise FileExistsError(f"{path}: not the page of a gallery (--out names another folder)")


def script_json(content: Any) -> str:
    """JSON for a script element: ASCII without a sign that could end the element or a line."""
    text = json.dumps(content, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _digest(text: str) -> str:
    """A source expression of a content-security policy for an inline script or style."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
