"""The demo: a synthetic world, two trainings, one report."""

import time
from pathlib import Path

from data.synthetic import write_synthetic_voc
from data.voc import image_ids
from tools.demo import DemoSettings
from tools.engine.command import parse_settings
from tools.engine.device import choose_device
from tools.engine.progress import say
from tools.engine.run_folder import locked
from tools.evaluate import EvaluateSettings
from tools.jobs.evaluate import evaluate_runs
from tools.jobs.train_localizer import run as train_localizer
from tools.train_localizer import TrainLocalizerSettings

CONFIG = Path(__file__).parents[1] / "configs" / "demo.yaml"


def run(settings: DemoSettings) -> None:
    """Draw, train twice, evaluate on test."""
    start = time.monotonic()
    world = settings.run_dir / "world"
    with locked(settings.run_dir):
        if not (world / "VOC2007").is_dir():
            say(f"drawing {settings.num_train + settings.num_test} pictures into {world}")
            write_synthetic_voc(
                world,
                num_train=settings.num_train,
                num_val=0,
                num_test=settings.num_test,
                seed=settings.seed,
            )
        for split, wanted in (("train", settings.num_train), ("test", settings.num_test)):
            there = len(image_ids(world, split))
            if there != wanted:
                raise ValueError(
                    f"{world}: {there} {split} pictures, {wanted} are asked for (name another "
                    "--run-dir)"
                )
        plain, robust = (_train(settings, world, robust=robust) for robust in (False, True))
        evaluation = EvaluateSettings(
            run_dir=plain,
            voc_root=world,
            beside=robust,
            report_dir=settings.run_dir,
            split="test",
            corloc_split="",
        )
        evaluate_runs(evaluation, choose_device("auto", "bf16"))
        say(f"the whole demo took {time.monotonic() - start:.0f} s")


def _train(settings: DemoSettings, world: Path, *, robust: bool) -> Path:
    """One training, or what is left of it; gives its folder."""
    folder = settings.run_dir / ("localizer_robust" if robust else "localizer")
    words = [
        *("--config", str(CONFIG), "--run-dir", str(folder), "--voc-root", str(world)),
        *("--model.robust", str(robust).lower(), "--seed", str(settings.seed), "--resume", "auto"),
    ]
    if settings.epochs:
        words += ["--loop.epochs", str(settings.epochs)]
    train_localizer(parse_settings(TrainLocalizerSettings, "train_localizer", words))
    return folder
