"""The demo: a synthetic data set, two localizers, proposals, a detector, one report."""

import time
from collections.abc import Mapping
from pathlib import Path

from data.datasets.settings import ImageSettings
from data.datasets.voc_layout import image_ids
from data.synthetic.dataset import write_synthetic_voc
from tools.cli.command import CONFIGS, parse_settings
from tools.cli.console import echo
from tools.evaluation.evaluate import run as evaluate
from tools.evaluation.settings import EvaluateSettings
from tools.models.device import choose_device
from tools.pages.draw import write_jpeg
from tools.pages.predictions import box_sheet
from tools.pipelines.settings import DemoSettings
from tools.prediction.opening import open_predictions, open_split
from tools.prediction.predictions import Predictions
from tools.preparation.proposals import run as make_proposals
from tools.preparation.settings import MakeProposalsSettings
from tools.runs.folder import locked_run
from tools.runs.kinds import TrainLocalizerSettings, TrainWsddnSettings
from tools.runs.saved import load_run
from tools.training.localizer import run as train_localizer
from tools.training.wsddn import run as train_wsddn


def run(settings: DemoSettings) -> None:
    """Draw, train three models, evaluate them on test."""
    start = time.monotonic()
    voc_root = settings.run_dir / "data"
    with locked_run(settings.run_dir):
        if not (voc_root / "VOC2007").is_dir():
            echo(f"drawing {settings.num_train + settings.num_test} images into {voc_root}")
            write_synthetic_voc(
                voc_root,
                num_train=settings.num_train,
                num_val=0,
                num_test=settings.num_test,
                seed=settings.seed,
            )
        for split, wanted in (("train", settings.num_train), ("test", settings.num_test)):
            drawn = len(image_ids(voc_root, split))
            if drawn != wanted:
                raise ValueError(
                    f"{voc_root}: {drawn} {split} images, {wanted} are asked for (another "
                    "--run-dir draws them)"
                )
        plain, robust = (_localizer(settings, voc_root, robust=robust) for robust in (False, True))
        for split in ("train", "test"):
            echo(f"proposals of {split}")
            out = _proposals(settings, split)
            # drawn figures are found at one size of edge boxes, in three fifths of the time
            make_proposals(
                MakeProposalsSettings(voc_root=voc_root, split=split, out=out, edge_sizes=(350,))
            )
        detector = _detector(settings, voc_root, plain)
        evaluate(
            EvaluateSettings(
                run_dir=plain,
                voc_root=voc_root,
                beside=(robust, detector),
                proposals=(_proposals(settings, "test"),),
                split="test",
                corloc_split="",
            )
        )
        _draw(settings, voc_root, {"localizer": plain, "detector": detector})
        echo(f"the whole demo took {time.monotonic() - start:.0f} s")


def _localizer(settings: DemoSettings, voc_root: Path, *, robust: bool) -> Path:
    """One training, or what is left of it; gives its folder."""
    folder = settings.run_dir / ("localizer_robust" if robust else "localizer")
    words = _words(settings, voc_root, "demo.yaml", folder)
    words += ["--model.robust", str(robust).lower()]
    train_localizer(parse_settings(TrainLocalizerSettings, "train_localizer", words))
    return folder


def _detector(settings: DemoSettings, voc_root: Path, localizer: Path) -> Path:
    """The detector on a localizer's backbone, or what is left of its training; gives its folder."""
    folder = settings.run_dir / "detector"
    words = _words(settings, voc_root, "demo_wsddn.yaml", folder)
    words += ["--from-localizer", str(localizer)]
    words += ["--proposals", str(_proposals(settings, "train"))]
    words += ["--feature-cache", str(settings.run_dir / "features")]
    train_wsddn(parse_settings(TrainWsddnSettings, "train_wsddn", words))
    return folder


def _draw(settings: DemoSettings, voc_root: Path, runs: Mapping[str, Path]) -> None:
    """Four test images as each of the runs sees them, on one sheet."""
    device, seen = choose_device("auto", "auto"), dict[str, Predictions]()
    for name, folder in runs.items():
        saved = load_run(folder)
        dataset = open_split(saved, ImageSettings(voc_root=voc_root), "test")
        proposals = [_proposals(settings, "test")] if saved.takes_proposals else []
        seen[name] = open_predictions(saved, dataset, device, cached=True, proposals=proposals)
    drawn = settings.run_dir / "sheet.jpg"
    write_jpeg(drawn, box_sheet(seen, count=4))
    echo(f"heatmaps, boxes (magenta) and true boxes (dashed green) of four images: {drawn}")


def _proposals(settings: DemoSettings, split: str) -> Path:
    return settings.run_dir / "proposals" / f"{split}.npz"


def _words(settings: DemoSettings, voc_root: Path, config: str, folder: Path) -> list[str]:
    words = [
        *("--config", str(CONFIGS / config), "--run-dir", str(folder)),
        *("--voc-root", str(voc_root), "--seed", str(settings.seed), "--resume", "auto"),
    ]
    return words + (["--loop.epochs", str(settings.epochs)] if settings.epochs else [])
