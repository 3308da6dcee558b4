"""Pages from the templates of this room."""

from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from tools.files.atomic import write_atomically


def write_page(path: Path, template: str, **content: Any) -> None:
    """Write a page, whole or not at all; every text in it is escaped."""
    templates = Environment(loader=PackageLoader("tools.pages"), autoescape=True)
    templates.filters["digest"] = _digest
    templates.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    page = templates.get_template(template).render(**content)
    write_atomically(path, page.encode(errors="backslashreplace"))


def _digest(text: str) -> str:
    """Source expression of the content-security policy for an inline script or style."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
