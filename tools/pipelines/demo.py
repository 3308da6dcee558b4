"""The demo: a synthetic data set, two localizers, proposals, a detector, one report."""

import time
from pathlib import Path

from data.datasets.voc_layout import image_ids
from data.synthetic.dataset import write_synthetic_voc
from tools.cli.command import CONFIGS, parse_settings
from tools.cli.console import echo
from tools.evaluation.evaluate import run as evaluate
from tools.evaluation.settings import EvaluateSettings
from tools.pipelines.settings import DemoSettings
from tools.preparation.proposals import run as make_proposals
from tools.preparation.settings import MakeProposalsSettings
from tools.runs.folder import locked_run
from tools.runs.kinds import TrainLocalizerSettings, TrainWsddnSettings
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
            out = settings.run_dir / "proposals" / f"{split}.npz"
            # drawn figures are found at one size of edge boxes, in three fifths of the time
            make_proposals(
                MakeProposalsSettings(voc_root=voc_root, split=split, out=out, edge_sizes=(350,))
            )
        evaluate(
            EvaluateSettings(
                run_dir=plain,
                voc_root=voc_root,
                beside=(robust, _detector(settings, voc_root, plain)),
                proposals=settings.run_dir / "proposals" / "test.npz",
                split="test",
                corloc_split="",
            )
        )
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
    words += ["--proposals", str(settings.run_dir / "proposals" / "train.npz")]
    words += ["--feature-cache", str(settings.run_dir / "features")]
    train_wsddn(parse_settings(TrainWsddnSettings, "train_wsddn", words))
    return folder


def _words(settings: DemoSettings, voc_root: Path, config: str, folder: Path) -> list[str]:
    words = [
        *("--config", str(CONFIGS / config), "--run-dir", str(folder)),
        *("--voc-root", str(voc_root), "--seed", str(settings.seed), "--resume", "auto"),
    ]
    return words + (["--loop.epochs", str(settings.epochs)] if settings.epochs else [])
