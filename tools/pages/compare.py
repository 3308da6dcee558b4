"""Numbers and curves of several runs side by side."""

from pathlib import Path
from typing import Any

from data.datasets.sources import chosen_split
from tools.cli.console import echo, saying, table
from tools.files.atomic import write_atomically, write_json
from tools.loggers.metrics_file import read_metrics
from tools.pages.charts import charts
from tools.pages.page import write_page
from tools.pages.report import (
    headings,
    headline_table,
    markdown_table,
    metrics_of,
    models_of,
    read_report,
)
from tools.pages.settings import CompareRunsSettings
from tools.runs.folder import evaluation_folder, read_settings


def run(settings: CompareRunsSettings) -> None:
    """Read every run, then write."""
    models: dict[str, dict[str, Any]] = {}
    curves: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for name, folder in _named(settings.runs).items():
        evaluated = settings.name or settings.split
        evaluated = evaluated or chosen_split("", read_settings(folder).val_split)
        report = read_report(evaluation_folder(folder, evaluated))
        models |= {f"{name} {model}": numbers for model, numbers in models_of(report).items()}
        for tag, points in read_metrics(folder / "metrics.jsonl").items():
            if settings.curves in tag and len(points) > 1:
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
    with saying("drawing the curves"):
        drawn = charts(curves)
    write_page(
        settings.out / "compare.html",
        "compare.html",
        title=f"{len(models)} models",
        columns=columns,
        models=models,
        charts=drawn,
    )
    echo(*table(*zip(*rows, strict=True)), f"page: {settings.out / 'compare.html'}")


def _named(folders: tuple[Path, ...]) -> dict[str, Path]:
    """Folders by their last name, or by as much of their path as tells them apart."""
    for parts in range(1, max(len(folder.absolute().parts) for folder in folders) + 1):
        named = {"/".join(folder.absolute().parts[-parts:]): folder for folder in folders}
        if len(named) == len(folders):
            return named
    raise ValueError(f"--runs: two names of one folder among {', '.join(map(str, folders))}")
