"""Rows of the README's tables: trained, evaluated, kept as small JSON files, and written out."""

import json
import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tools.engine.checkpoint import write_atomically
from tools.engine.command import parse_settings
from tools.engine.progress import say
from tools.engine.report import COLUMNS
from tools.engine.run_folder import PROJECT, environment, write_json
from tools.engine.settings import require_voc_root
from tools.evaluate import EvaluateSettings
from tools.jobs.evaluate import run as evaluate
from tools.jobs.train_localizer import run as train_localizer
from tools.make_results import MakeResultsSettings
from tools.train_localizer import TrainLocalizerSettings

CONFIGS = PROJECT / "tools" / "configs"
RESULTS = PROJECT / "tools" / "results"
README = PROJECT / "README.md"
BEGIN, END = "<!-- results: written by tools.make_results -->", "<!-- end of results -->"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    Attributes:
        name: of its files.
        title: in the table.
        config: file in tools/configs.
        settings: words added to it.
        seeds: one training each.
        trunk: whose weights it needs, empty for none.
    """

    name: str
    title: str
    config: str
    settings: tuple[str, ...]
    seeds: tuple[int, ...]
    trunk: str

    def result(self, seed: int) -> Path:
        """File of one training."""
        return RESULTS / f"{self.name}-seed{seed}.json"


def run(settings: MakeResultsSettings) -> None:
    """Fill in what is missing, then write the tables."""
    rows = read_rows()
    if not settings.tables_only:
        root = require_voc_root(settings.voc_root)
        for row in rows:
            for seed in row.seeds:
                if row.name.startswith(settings.only) and not row.result(seed).is_file():
                    _make(row, seed, settings, root)
                    _write_tables(rows)
    _write_tables(rows)


def _write_tables(rows: Sequence[Row]) -> None:
    write_atomically(README, with_tables(README.read_text(), rows).encode())
    say(f"tables written into {README.name}")


def read_rows() -> list[Row]:
    """The rows in the order of the file."""
    content = yaml.safe_load((CONFIGS / "results.yaml").read_text())
    return [
        Row(
            name,
            row["title"],
            row["config"],
            tuple(row.get("settings", ())),
            tuple(row["seeds"]),
            row.get("trunk", ""),
        )
        for name, row in content.items()
    ]


def with_tables(readme: str, rows: Sequence[Row]) -> str:
    """The README with the part between the marks replaced by today's tables.

    Raises:
        ValueError: the marks are missing.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{README}: the marks {BEGIN} and {END} are missing")
    return f"{before}{BEGIN}\n{table(rows)}\n{END}{after}"


def table(rows: Sequence[Row]) -> str:
    """Means over the seeds with their sample deviation; rows without results say so."""
    heads = [*COLUMNS.values(), "seeds", "minutes"]
    lines = ["| localizer | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for row in rows:
        found = [
            json.loads(row.result(seed).read_text())
            for seed in row.seeds
            if row.result(seed).is_file()
        ]
        if not found:
            lines.append(f"| {row.title} |" + " |" * len(COLUMNS) + " not yet run | |")
            continue
        cells = [_spread([result["metrics"][key] for result in found]) for key in COLUMNS]
        minutes = statistics.mean(result["seconds"] for result in found) / 60
        lines.append(f"| {row.title} | " + " | ".join(cells) + f" | {len(found)} | {minutes:.0f} |")
    return "\n".join(lines)


def _make(row: Row, seed: int, settings: MakeResultsSettings, root: Path) -> None:
    folder = settings.runs / f"{row.name}-seed{seed}"
    say(f"row {row.name}, seed {seed}, in {folder}")
    words = ["--config", str(CONFIGS / row.config), *row.settings, "--seed", str(seed)]
    place = ["--run-dir", str(folder), "--voc-root", str(root), "--resume", "auto"]
    place += ["--feature-cache", str(settings.runs / "features"), *_weights(row, settings)]
    train_localizer(parse_settings(TrainLocalizerSettings, "train_localizer", words + place))
    evaluate(EvaluateSettings(run_dir=folder, voc_root=root))
    report = json.loads((folder / "report.json").read_text())
    numbers: Mapping[str, Any] = report.get("localizer") or report["localizer_robust"]
    shown = shlex.join(word.replace(str(CONFIGS), "tools/configs") for word in words)
    write_json(
        row.result(seed),
        {
            "row": row.name,
            "seed": seed,
            "command": f"python -m tools.train_localizer {shown} --run-dir RUN",
            "split": numbers["split"],
            "corloc_split": numbers["corloc_split"],
            "metrics": {key: numbers[key] for key in COLUMNS},
            "per_class": numbers["per_class"],
            "threshold_curve": numbers["threshold_curve"],
            "weights_sha256": numbers["weights_sha256"],
            "seconds": numbers["seconds"],
            "evaluation_seconds": numbers["evaluation_seconds"],
            "environment": {k: v for k, v in environment().items() if k not in ("command",)},
        },
    )


def _weights(row: Row, settings: MakeResultsSettings) -> list[str]:
    """``--weights FILE`` when the folder of weights has one for the row's trunk."""
    if settings.weights_dir is None or not row.trunk:
        return []
    files = sorted(settings.weights_dir.glob(f"{row.trunk}*.pth"))
    return ["--weights", str(files[0])] if files else []


def _spread(values: Sequence[float]) -> str:
    mean = statistics.mean(values)
    if len(values) == 1:
        return f"{mean:.3f}"
    return f"{mean:.3f} ± {statistics.stdev(values):.3f}"
