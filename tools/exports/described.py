"""A folder with a model's weights and a JSON file that describes them; how far outputs differ."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from data.json_files import read_json
from localizer.model import Localizer
from tools.models.pretrained import read_weights
from tools.runs.checkpoint import weights_sha256
from wsddn.model import WSDDN


def load_described(
    about: Path,
    weights: Path,
    build: Callable[[dict[str, Any]], Localizer | WSDDN],
    *,
    what: str,
    command: str,
) -> Localizer | WSDDN:
    """The model, on the CPU and in evaluation mode.

    Args:
        about: the JSON file, with ``weights_sha256``.
        weights: file of the weights.
        build: makes the model that the content of the JSON file describes, with any weights.
        what: the model, in words, for a folder that has none.
        command: that writes such folders.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or the two do not belong together.
    """
    if not about.is_file():
        raise FileNotFoundError(f"{about}: no {what} in this folder ({command} writes one)")
    content = read_json(about, description=f"a file of {command}")
    try:
        digest, model = content["weights_sha256"], build(content)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{about}: not a file of {command} ({error})") from error
    state = read_weights(weights)
    if weights_sha256(state) != digest:
        raise ValueError(f"{weights}: not the weights that {about.name} describes")
    model.load_state_dict(state)
    return model.eval()


def relative_difference(given: Tensor, expected: Tensor) -> float:
    """The largest difference, as a fraction of the largest value expected."""
    return float((given - expected).abs().max() / expected.abs().max())
