"""JSON of any origin, refused by the name of its file."""

import json
from pathlib import Path
from typing import Any


def read_json(path: Path, *, description: str) -> Any:
    """The content of a file that exists.

    Args:
        path: of the file, UTF-8.
        description: of the file for the message, such as ``a file of detections``.

    Raises:
        ValueError: not JSON, or nested too deeply; names the file.
    """
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not {description} ({error})") from error
