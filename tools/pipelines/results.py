"""Rows of the result tables: trained, evaluated, kept as small JSON files, and written out."""

import shlex
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from data.datasets.settings import ImageSettings
from data.datasets.sources import open_source
from data.evaluation.metrics import METRICS
from data.json_files import read_json
from tools.cli.command import CONFIGS, parse_settings
from tools.cli.console import echo, suggest
from tools.evaluation.evaluate import run as evaluate
from tools.evaluation.settings import EvaluateSettings
from tools.files.atomic import write_atomically, write_json
from tools.pages.numbers import headings, markdown_table, metrics_of, models_of, read_report
from tools.pipelines.settings import MakeResultsSettings
from tools.preparation.proposals import run as make_proposals
from tools.preparation.settings import MakeProposalsSettings
from tools.runs.environment import PROJECT, environment
from tools.runs.folder import evaluation_folder
from tools.runs.kinds import (
    TrainClassifierSettings,
    TrainLocalizerSettings,
    TrainWsddnSettings,
)
from tools.runs.settings import TrainSettings
from tools.training.localizer import run as train_localizer
from tools.training.wsddn import run as train_wsddn

RESULTS = PROJECT / "tools" / "results"
TABLES = RESULTS / "README.md"
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
CLASSES = "classes"  # of a table: the detector's rows class by class


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    Attributes:
        name: of its files.
        title: in the table.
        config: file in tools/configs.
        settings: options added to it, for the training.
        seeds: one training each.
        backbone: whose weights it needs, empty for none.
        kind: which table it is in, a key of ``KINDS``.
        split: evaluated on; those of val are trained on train.
        training: the row whose training is evaluated, empty for its own.
        evaluation: options of evaluate.
        also_runs: the rows of further detectors, same seed, whose scores are averaged with its own.
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

    def result(self, seed: int) -> Path:
        """File of one training."""
        return RESULTS / f"{self.name}-seed{seed}.json"

    def results(self) -> list[dict[str, Any]]:
        """What its trainings have reached so far."""
        files = [self.result(seed) for seed in self.seeds]
        return [read_json(file, description="a result") for file in files if file.is_file()]


def run(settings: MakeResultsSettings) -> None:
    """Make the missing rows, then write the tables."""
    rows = read_rows()
    if not settings.tables_only:
        root = open_source(ImageSettings(voc_root=settings.voc_root)).root
        by_name = {row.name: row for row in rows}
        for row in rows:
            if row.also and settings.also_images is None:
                continue
            for seed in row.seeds:
                if row.name.startswith(settings.only) and not row.result(seed).is_file():
                    _make(row, seed, by_name, settings, root)
                    _write_tables(rows)
    _write_tables(rows)
    suggest()  # what the last evaluation has suggested


def _write_tables(rows: Sequence[Row]) -> None:
    write_atomically(TABLES, with_tables(TABLES.read_text(encoding="utf-8"), rows).encode())
    echo(f"tables: {TABLES}")


def read_rows() -> list[Row]:
    """The rows in the order of the file."""
    content = yaml.safe_load((CONFIGS / "results.yaml").read_text(encoding="utf-8"))
    lists = ("settings", "seeds", "evaluation", "also_runs", "rescore_from")
    return [
        Row(name, **row | {key: tuple(row.get(key, ())) for key in lists})
        for name, row in content.items()
    ]


def with_tables(page: str, rows: Sequence[Row]) -> str:
    """The page with the tables between its marks written anew.

    Raises:
        ValueError: the marks of a table are missing.
    """
    for kind in (*KINDS, CLASSES):
        begin, end = marks(kind)
        before, found_begin, rest = page.partition(begin)
        _, found_end, after = rest.partition(end)
        if not (found_begin and found_end):
            raise ValueError(f"{TABLES}: the marks {begin} and {end} are missing")
        text = class_table(rows) if kind == CLASSES else table(rows, kind)
        page = f"{before}{begin}\n{text}\n{end}{after}"
    return page


def marks(kind: str) -> tuple[str, str]:
    """Lines before and after a table."""
    return f"<!-- {kind} table: written by tools.make_results -->", f"<!-- end of {kind} table -->"


def table(rows: Sequence[Row], kind: str) -> str:
    """Means over the seeds with their sample deviation; rows without results say so."""
    of_kind = [(row.title, row.results()) for row in rows if row.kind == kind]
    columns = {name: METRICS[name].heading for name in KINDS[kind].columns} or headings(
        (result["metrics"] for _, results in of_kind for result in results), headline=True
    )
    lines = []
    for title, results in of_kind:
        if not results:
            lines.append([title, *[""] * len(columns), "not yet run", ""])
            continue
        cells = [_spread([result["metrics"].get(key) for result in results]) for key in columns]
        minutes = statistics.mean(result["seconds"] for result in results) / 60
        lines.append([title, *cells, f"{len(results)}", f"{minutes:.0f}"])
    return markdown_table([kind, *columns.values(), "seeds", "minutes"], *lines)


def class_table(rows: Sequence[Row]) -> str:
    """The first detector class by class, means over its seeds."""
    results = next((row.results() for row in rows if row.kind == "detector"), [])
    lines = [
        [
            name,
            *(
                _spread([result["per_class"][name].get(key) for result in results])
                for key in OF_BOXES
            ),
        ]
        for name in (results[0]["per_class"] if results else ())
    ]
    return markdown_table(["class", *(METRICS[key].heading for key in OF_BOXES)], *lines)


def _make(
    row: Row, seed: int, rows: Mapping[str, Row], settings: MakeResultsSettings, root: Path
) -> None:
    echo(f"row {row.name}, seed {seed}")
    folder, command = _train(rows[row.training or row.name], seed, settings, root)
    commands = [command]
    shows_corloc = "corloc" in (KINDS[row.kind].columns or ("corloc",))
    words = ["--split", row.split, "--name", row.name, *row.evaluation]
    words += ["--corloc-split", "trainval" if row.split == "test" and shows_corloc else row.split]
    words += ["--run-dir", str(folder)]
    if KINDS[row.kind].takes_proposals or row.proposals:
        files = ("test", "trainval") if row.split == "test" else ("trainval",)
        words += ["--proposals", *(str(_proposals(file, settings, root)) for file in files)]
    for option, others in (("--also-runs", row.also_runs), ("--rescore-from", row.rescore_from)):
        made = [_train(rows[other], seed, settings, root) for other in others]
        commands += [command for _, command in made]
        words += [option, *(str(other) for other, _ in made)] if made else []
    place = ["--voc-root", str(root)]
    evaluate(parse_settings(EvaluateSettings, "evaluate", words + place))
    commands.append(_command("evaluate", words, settings, seed))
    report = read_report(evaluation_folder(folder, row.name))
    (numbers,) = models_of(report).values()
    write_json(
        row.result(seed),
        {
            "row": row.name,
            "seed": seed,
            "commands": commands,
            "split": numbers["split"],
            "corloc_split": numbers["corloc_split"],
            "metrics": metrics_of(numbers),
            "per_class": numbers["per_class"],
            "threshold_curve": numbers["threshold_curve"],
            "weights_sha256": numbers["weights_sha256"],
            "seconds": numbers["seconds"],
            "evaluation_seconds": numbers["evaluation_seconds"],
            "environment": {k: v for k, v in environment().items() if k not in ("command",)},
        },
    )


def _train(row: Row, seed: int, settings: MakeResultsSettings, root: Path) -> tuple[Path, str]:
    """The run of a row, trained unless it exists, and the command that makes it."""
    folder, kind = settings.runs / f"{row.name}-seed{seed}", KINDS[row.kind]
    echo(f"training in {folder}")
    words = ["--config", str(CONFIGS / row.config), *row.settings, "--seed", str(seed)]
    if row.split == "val":
        words += ["--split", "train"]
    words += ["--run-dir", str(folder)]
    if row.also:
        words += ["--also-images", f"{settings.also_images}"]
        words += ["--also-labels", f"{settings.also_labels}"]
    if kind.takes_proposals:
        words += ["--proposals", str(_proposals("trainval", settings, root))]
        words += [str(_further_proposals(settings))] if row.also else []
    place = ["--voc-root", str(root), "--resume", "auto", *_weights(row, settings)]
    place += ["--feature-cache", str(settings.runs / "features")]
    kind.train(parse_settings(kind.settings, kind.command, words + place))
    return folder, _command(kind.command, words, settings, seed)


def _command(name: str, words: Sequence[str], settings: MakeResultsSettings, seed: int) -> str:
    """A command with short names for what lies in the folder of runs and for further images."""
    text = shlex.join(word.replace(str(CONFIGS), "tools/configs") for word in words)
    for folder in (settings.runs / "proposals", settings.runs):
        text = text.replace(f"{folder}/", "")
    for place, short in ((settings.also_images, "MORE"), (settings.also_labels, "MORE.csv")):
        text = text.replace(f" {place} ", f" {short} ")
    return f"python -m tools.{name} {text.replace(f'-seed{seed}', '')}"


def _proposals(split: str, settings: MakeResultsSettings, root: Path) -> Path:
    """The file of a split; made anew where images or the way of making them have changed."""
    out = settings.runs / "proposals" / f"{split}.npz"
    make_proposals(MakeProposalsSettings(voc_root=root, split=split, out=out))
    return out


def _further_proposals(settings: MakeResultsSettings) -> Path:
    """The file of ``--also-images``."""
    out = settings.runs / "proposals" / "also.npz"
    make_proposals(MakeProposalsSettings(voc_root=None, images=settings.also_images, out=out))
    return out


def _weights(row: Row, settings: MakeResultsSettings) -> list[str]:
    """``--weights FILE`` when the folder of weights has one for the row's backbone."""
    if settings.weights_dir is None or not row.backbone:
        return []
    files = sorted(settings.weights_dir.glob(f"{row.backbone}*.pth"))
    return ["--weights", str(files[0])] if files else []


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if len(known) < len(values):  # a class without objects, or a row that is older than the metric
        return "n/a"
    mean = statistics.mean(known)
    if len(known) == 1:
        return f"{mean:.3f}"
    return f"{mean:.3f} ± {statistics.stdev(known):.3f}"
