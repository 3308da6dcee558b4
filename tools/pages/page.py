"""Pages from the templates of this room."""

from base64 import b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader

from tools.files.atomic import write_atomically


def write_page(path: Path, template: str, **content: Any) -> None:
    """Write a page or a drawing, whole or not at all; every text in it is escaped."""
    page = _templates().get_template(template).render(**content)
    write_atomically(path, page.encode(errors="backslashreplace"))


@cache
def _templates() -> Environment:
    templates = Environment(loader=PackageLoader("tools.pages"), autoescape=True)
    templates.filters |= {"digest": _digest, "quoted": _quoted}
    templates.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return templates


def _quoted(text: str) -> str:
    """A value in the part of an address behind #."""
    return quote(text, safe="", errors="surrogateescape")


def _digest(text: str) -> str:
    """Source expression of the content-security policy for an inline script or style."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
