"""Numbers and curves of several runs side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data.datasets.sources import chosen_split
from data.evaluation.metrics import METRICS
from tools.cli.console import echo, saying, table
from tools.files.atomic import write_atomically, write_json
from tools.loggers.metrics_file import read_metrics
from tools.pages.charts import draw, embedded, line_charts, sorted_classes
from tools.pages.numbers import (
    class_metric,
    column_of,
    headings,
    headline_table,
    is_number,
    markdown_table,
    measured,
    metrics_of,
    models_of,
    read_report,
    three_digits,
)
from tools.pages.page import write_page
from tools.pages.settings import CompareRunsSettings
from tools.runs.folder import evaluation_folder, read_settings

Cell = tuple[str, bool]  # text, and whether it is the best of its line
BETTER_HIGH = {
    name
    for name, metric in METRICS.items()
    if metric.is_fraction and (not name.startswith("errors_") or name == "errors_hit")
}


def run(settings: CompareRunsSettings) -> None:
    """Read every run, then write."""
    models: dict[str, dict[str, Any]] = {}
    trained: dict[str, dict[str, Any]] = {}
    curves: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for name, folder in _named(settings.runs).items():
        evaluated = settings.name or settings.split
        evaluated = evaluated or chosen_split("", read_settings(folder).val_split)
        report = read_report(evaluation_folder(folder, evaluated))
        models |= {f"{name} {model}": numbers for model, numbers in models_of(report).items()}
        trained[name] = report.get("settings", {})
        for tag, points in read_metrics(folder / "metrics.jsonl").items():
            if settings.curves in tag and len(points) > 1 and not tag.startswith("baseline/"):
                curves.setdefault(tag, {})[name] = points
    settings.out.mkdir(parents=True, exist_ok=True)
    metrics = {name: metrics_of(numbers) for name, numbers in models.items()}
    rows, columns = headline_table("model", metrics), headings(metrics.values())
    shown = ("split", "seconds", *columns)
    write_json(
        settings.out / "compare.json",
        {name: {key: numbers.get(key) for key in shown} for name, numbers in models.items()},
    )
    write_atomically(settings.out / "compare.md", f"{markdown_table(*rows)}\n".encode())
    key, _ = class_metric(models)
    with saying("drawing the curves"):
        drawn = line_charts(curves, x="iteration")
        charts = embedded(draw(drawn)).values()
    write_page(
        settings.out / "compare.html",
        "compare.html",
        title=f"{len(models)} models",
        doubts=_doubts(models),
        settings=_differing(trained),
        runs=[*trained],
        numbers=_numbers(models, measured(columns, metrics)),
        models=[*models],
        class_heading=METRICS[key].heading.replace("mAP", "AP"),
        classes=_by_class(models, key),
        charts=charts,
    )
    echo(*table(*zip(*rows, strict=True)), f"page: {settings.out / 'compare.html'}")


def _doubts(models: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Why the numbers may not be compared."""
    doubts = []
    splits = {name: numbers.get("split", "") for name, numbers in models.items()}
    if len({*splits.values()}) > 1:
        named = ", ".join(f"{name}: {split}" for name, split in splits.items())
        doubts.append(f"Evaluated on different images ({named}).")
    if len({tuple(numbers["per_class"]) for numbers in models.values()}) > 1:
        doubts.append("The models know different classes.")
    return doubts


def _differing(trained: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Cell]]:
    """Settings of the trainings that are not the same in all runs, a cell for each run."""
    keys = dict.fromkeys(key for settings in trained.values() for key in settings)
    values = {key: [settings.get(key, "") for settings in trained.values()] for key in keys}
    return {
        key: [(str(value), False) for value in of_runs]
        for key, of_runs in values.items()
        if key != "run_dir" and any(value != of_runs[0] for value in of_runs)
    }


def _numbers(
    models: Mapping[str, Mapping[str, Any]], columns: Mapping[str, str]
) -> dict[str, list[Cell]]:
    """What was evaluated and every number of it, a cell for each model."""
    every = models.values()
    minutes = ["" if m.get("seconds") is None else f"{m['seconds'] / 60:.0f}" for m in every]
    lines = {"split": [m.get("split", "") for m in every], "minutes of training": minutes}
    plain = {name: [(text, False) for text in texts] for name, texts in lines.items()}
    return plain | {
        heading: _cells([m.get(key) for m in every], may_win=key in BETTER_HIGH)
        for key, heading in columns.items()
    }


def _by_class(models: Mapping[str, Mapping[str, Any]], key: str) -> dict[str, list[Cell]]:
    """A number of every class, a cell for each model; classes by that of the first model."""
    columns = [column_of(numbers, key) for numbers in models.values()]
    classes = dict.fromkeys(name for column in columns for name in column)
    return {
        name: _cells([column.get(name) for column in columns], may_win=True)
        for name in sorted_classes({name: columns[0].get(name) for name in classes})
    }


def _cells(values: Sequence[float | None], *, may_win: bool) -> list[Cell]:
    known = [value for value in values if is_number(value)]
    best = max(known) if may_win and len(known) > 1 else None
    return [(three_digits(value), value is not None and value == best) for value in values]


def _named(folders: tuple[Path, ...]) -> dict[str, Path]:
    """Folders by their last name, or by as much of their path as tells them apart."""
    for parts in range(1, max(len(folder.absolute().parts) for folder in folders) + 1):
        named = {"/".join(folder.absolute().parts[-parts:]): folder for folder in folders}
        if len(named) == len(folders):
            return named
    raise ValueError(f"--runs: two names of one folder among {', '.join(map(str, folders))}")
