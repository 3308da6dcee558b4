"""The heatmap threshold that ``evaluate --choose-threshold`` keeps in the folder of a run."""

from dataclasses import asdict, dataclass
from pathlib import Path

from data.json_files import read_json
from tools.files.atomic import write_json

FILE = "box_threshold.json"


@dataclass(frozen=True, slots=True)
class ChosenThreshold:
    """A threshold of boxes, and what it was chosen by.

    Attributes:
        threshold: fraction of a heatmap's range, in (0, 1].
        weights_sha256: of the model; it is for no other weights.
        chosen_on: the images in words.
        metric: name in ``report.json`` of what was compared; empty where no boxes were known.
        curve: that metric by threshold; empty likewise.
    """

    threshold: float
    weights_sha256: str
    chosen_on: str
    metric: str
    curve: dict[float, float]


def write_threshold(run_dir: Path, chosen: ChosenThreshold) -> None:
    """Keep it, instead of an earlier one."""
    write_json(run_dir / FILE, asdict(chosen))


def read_threshold(run_dir: Path) -> ChosenThreshold | None:
    """What is kept in the folder of a run; None without any.

    Raises:
        ValueError: the file holds something else; names it.
    """
    path = run_dir / FILE
    if not path.is_file():
        return None
    content = read_json(path, description="a chosen threshold")
    try:
        curve = {float(threshold): float(value) for threshold, value in content["curve"].items()}
        chosen = ChosenThreshold(**content | {"curve": curve})
        if not 0 < chosen.threshold <= 1:
            raise ValueError(f"{chosen.threshold} is not in (0, 1]")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{path}: not a chosen threshold ({error}); evaluate --choose-threshold true writes one"
        ) from error
    return chosen
