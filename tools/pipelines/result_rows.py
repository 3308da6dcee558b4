"""Rows of the result tables: how each is trained and evaluated, and what its files say."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from data.json_files import read_json
from tools.cli.command import CONFIGS
from tools.runs.environment import PROJECT
from tools.runs.kinds import (
    TrainClassifierSettings,
    TrainLocalizerSettings,
    TrainWsddnSettings,
)
from tools.runs.settings import TrainSettings
from tools.training.localizer import run as train_localizer
from tools.training.wsddn import run as train_wsddn

RESULTS = PROJECT / "tools" / "results"
OF_BOXES = ("box_map_11point", "box_map_area", "corloc")
OF_PARTS = ("box_map_area_one", "box_map_area_several")
OF_DETECTORS = (*OF_BOXES, *OF_PARTS, "image_map", "box_recall", "errors_part")
OF_CLASSIFIERS = ("image_map", "accuracy", "tail_accuracy", "f2", "recall")


@dataclass(frozen=True, slots=True)
class Kind:
    """A table: how its rows are trained, and what it shows of them.

    Attributes:
        command: that trains.
        settings: of the training.
        train: runs it.
        columns: names of metrics; without any the headline metrics of its rows.
        takes_proposals: in training and evaluation.
    """

    command: str
    settings: type[TrainSettings]
    train: Callable[[Any], None]
    columns: tuple[str, ...] = ()
    takes_proposals: bool = False


_DETECTOR = Kind("train_wsddn", TrainWsddnSettings, train_wsddn, OF_DETECTORS, True)
KINDS: dict[str, Kind] = {
    "localizer": Kind("train_localizer", TrainLocalizerSettings, train_localizer),
    "classifier": Kind(
        "train_classifier", TrainClassifierSettings, train_localizer, OF_CLASSIFIERS
    ),
    "detector": _DETECTOR,
    "ablation": _DETECTOR,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    Attributes:
        name: of its files.
        title: in the table.
        config: file in tools/configs, or one with its whole path.
        settings: options added to it, for the training.
        seeds: one training each.
        backbone: it needs the weights of this one, empty for none.
        kind: which table it is in, a key of ``KINDS``.
        split: evaluated on; those of val are trained on train.
        training: the training of this row is evaluated, empty for its own.
        evaluation: options of evaluate.
        also_runs: rows of further detectors, same seed; the mean of all their scores is read.
        rescore_from: the rows of the localizers that rescore, same seed.
        proposals: whether a localizer's boxes are taken from proposals.
        also: whether the further images of ``--also-images`` are learned from too.
    """

    name: str
    title: str
    config: str
    settings: tuple[str, ...]
    seeds: tuple[int, ...]
    backbone: str = ""
    kind: str = "localizer"
    split: str = "test"
    training: str = ""
    evaluation: tuple[str, ...] = ()
    also_runs: tuple[str, ...] = ()
    rescore_from: tuple[str, ...] = ()
    proposals: bool = False
    also: bool = False

    def result(self, folder: Path, seed: int) -> Path:
        """File of one training."""
        return folder / f"{self.name}-seed{seed}.json"

    def results(self, folder: Path) -> list[dict[str, Any]]:
        """What its trainings have reached so far."""
        files = [self.result(folder, seed) for seed in self.seeds]
        return [read_json(file, description="a result") for file in files if file.is_file()]


def read_rows(file: Path | None = None) -> list[Row]:
    """The rows of a YAML file in its order; those of the project without a file.

    Raises:
        ValueError: with the file and the row, for what is no row, or names a row, a table or a
            config that does not exist.
    """
    file = file or CONFIGS / "results.yaml"
    lists = ("settings", "seeds", "evaluation", "also_runs", "rescore_from")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        rows = [
            Row(name, **row | {key: tuple(row.get(key, ())) for key in lists})
            for name, row in content.items()
        ]
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{file}: not a file of rows ({error})") from error
    names = {row.name for row in rows}
    for row in rows:
        others = {row.training or row.name, *row.also_runs, *row.rescore_from}
        wrong = [f"{name} is no row" for name in sorted(others - names)]
        wrong += [] if row.seeds else ["no seeds"]
        wrong += [f"{row.kind} is no table"] if row.kind not in KINDS else []
        wrong += [] if (CONFIGS / row.config).is_file() else [f"{row.config} is no config"]
        if wrong:
            raise ValueError(f"{file}: row {row.name}: {', '.join(wrong)}")
    return rows
