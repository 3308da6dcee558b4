"""Rows of the result tables made: trained, evaluated, kept as small JSON files, written out."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data.datasets.settings import ImageSettings
from data.datasets.sources import open_source
from tools.cli.command import CONFIGS, parse_settings
from tools.cli.console import echo, suggest
from tools.evaluation.evaluate import run as evaluate
from tools.evaluation.settings import EvaluateSettings
from tools.files.atomic import write_atomically, write_json
from tools.pages.numbers import metrics_of, models_of, read_report
from tools.pipelines.result_rows import KINDS, RESULTS, Row, read_rows
from tools.pipelines.result_tables import PAGE, empty_page, with_tables
from tools.pipelines.settings import MakeResultsSettings
from tools.preparation.proposals import run as make_proposals
from tools.preparation.settings import MakeProposalsSettings
from tools.runs.environment import environment
from tools.runs.folder import evaluation_folder


def run(settings: MakeResultsSettings) -> None:
    """Make the missing rows, then write the tables."""
    rows, folder = read_rows(settings.rows), settings.results or RESULTS
    chosen = [row for row in rows if row.name.startswith(settings.only)]
    if not chosen:
        raise ValueError(f"--only {settings.only}: no row's name begins so")
    folder.mkdir(parents=True, exist_ok=True)
    _write_tables(rows, folder)
    if not settings.tables_only:
        root = open_source(ImageSettings(voc_root=settings.voc_root)).root
        by_name = {row.name: row for row in rows}
        for row in chosen:
            if row.also and settings.also_images is None:
                echo(f"row {row.name} is left out: it needs --also-images")
                continue
            for seed in row.seeds:
                result = row.result(folder, seed)
                if not result.is_file():
                    write_json(result, _make(row, seed, by_name, settings, root))
                    _write_tables(rows, folder)
    echo(f"tables: {folder / PAGE}")
    suggest()  # what the last evaluation has suggested


def _write_tables(rows: Sequence[Row], folder: Path) -> None:
    page = folder / PAGE
    text = page.read_text(encoding="utf-8") if page.is_file() else empty_page(rows)
    write_atomically(page, with_tables(text, rows, folder).encode())


def _make(
    row: Row, seed: int, rows: Mapping[str, Row], settings: MakeResultsSettings, root: Path
) -> dict[str, Any]:
    """Train and evaluate; gives what the row's file says."""
    echo(f"row {row.name}, seed {seed}")
    folder, command = _train(rows[row.training or row.name], seed, settings, root)
    commands = [command]
    shows_corloc = "corloc" in (KINDS[row.kind].columns or ("corloc",))
    words = ["--split", row.split, "--name", row.name, *row.evaluation]
    words += ["--corloc-split", "trainval" if row.split == "test" and shows_corloc else row.split]
    words += ["--run-dir", str(folder)]
    if KINDS[row.kind].takes_proposals or row.proposals:
        files = ("test", "trainval") if row.split == "test" else ("trainval",)
        words += [
            "--proposals",
            *(_proposals(file, settings, voc_root=root, split=file) for file in files),
        ]
    for option, others in (("--also-runs", row.also_runs), ("--rescore-from", row.rescore_from)):
        made = [_train(rows[other], seed, settings, root) for other in others]
        commands += [command for _, command in made]
        words += [option, *(str(other) for other, _ in made)] if made else []
    place = ["--voc-root", str(root)]
    evaluate(parse_settings(EvaluateSettings, "evaluate", words + place))
    commands.append(_command("evaluate", words, settings, seed))
    report = read_report(evaluation_folder(folder, row.name))
    (numbers,) = models_of(report).values()
    return {
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
    }


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
        words += ["--proposals", _proposals("trainval", settings, voc_root=root, split="trainval")]
    if kind.takes_proposals and row.also:
        words += [_proposals("also", settings, voc_root=None, images=settings.also_images)]
    place = ["--voc-root", str(root), "--resume", "auto", *_weights(row, settings)]
    place += ["--feature-cache", str(settings.runs / "features")]
    kind.train(parse_settings(kind.settings, kind.command, words + place))
    return folder, _command(kind.command, words, settings, seed)


def _command(name: str, words: Sequence[str], settings: MakeResultsSettings, seed: int) -> str:
    """A command with short names for what lies in the folder of runs and for further images."""
    short = {str(settings.also_images): "MORE", str(settings.also_labels): "MORE.csv"}
    text = shlex.join(
        short.get(word, word.replace(str(CONFIGS), "tools/configs")) for word in words
    )
    for folder in (settings.runs / "proposals", settings.runs):
        text = text.replace(f"{folder}/", "")
    return f"python -m tools.{name} {text.replace(f'-seed{seed}', '')}"


def _proposals(name: str, settings: MakeResultsSettings, **images: Any) -> str:
    """A file of proposals, made anew where images or the way of making them have changed."""
    out = settings.runs / "proposals" / f"{name}.npz"
    make_proposals(MakeProposalsSettings(out=out, **images))
    return str(out)


def _weights(row: Row, settings: MakeResultsSettings) -> list[str]:
    """``--weights FILE`` when the folder of weights has one for the row's backbone."""
    if settings.weights_dir is None or not row.backbone:
        return []
    files = sorted(settings.weights_dir.glob(f"{row.backbone}*.pth"))
    return ["--weights", str(files[0])] if files else []
