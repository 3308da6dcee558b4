"""What every training does around its model: starting, resuming, logging, summing up."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from data.datasets.image_set import ImageSet
from tools.cli.console import echo, track
from tools.cli.settings import flatten, to_dict
from tools.cli.signals import check_interrupted
from tools.evaluation.metrics import Evaluation
from tools.files.atomic import write_json
from tools.inputs.features import FeatureCache
from tools.inputs.samples import Samples, training_batches
from tools.loggers.logger import Logger, open_logger
from tools.models.device import Device
from tools.models.pretrained import imagenet_weights, read_weights
from tools.runs.checkpoint import load_checkpoint, read_checkpoint, weights_sha256
from tools.training.loop import Criterion, train
from tools.training.optim import build_optimizer, build_scheduler
from tools.training.settings import TrainSettings
from tools.training.state import TrainingState

# A resumed run must be the run that was interrupted; these may differ from it.
FREE_TO_CHANGE = frozenset(
    (
        *("run_dir", "voc_root", "images", "labels", "proposals"),
        *("resume", "feature_cache", "feature_cache_limit", "weights", "device"),
        *("eval_image_sizes", "support_iou", "loop.workers", "loop.checkpoint_every"),
    )
)
FREE_PREFIXES = ("boxes.", "visdom.")
DIGESTS = "digests."

Settings = TypeVar("Settings", bound=TrainSettings)


def refuse_existing(settings: TrainSettings) -> None:
    """Refuse a folder with a run that is not to be continued.

    Raises:
        FileExistsError: the folder holds a run, and ``--resume`` is not given.
    """
    if not settings.resume and (settings.run_dir / "settings.yaml").exists():
        raise FileExistsError(
            f"{settings.run_dir}: holds a run already (--resume auto continues it)"
        )


def resolved(settings: Settings, classes: tuple[str, ...]) -> Settings:
    """The settings that a later command needs to find the same images and classes again."""
    return dataclasses.replace(
        settings,
        classes=classes,
        images=settings.images and settings.images.absolute(),
        labels=settings.labels and settings.labels.absolute(),
    )


def feature_cache(settings: TrainSettings) -> FeatureCache | None:
    """Where the features of a frozen backbone are kept; None when the backbone learns."""
    if not settings.frozen_backbone:
        return None
    return FeatureCache(settings.feature_cache, settings.feature_cache_limit)


def dataset_digest(dataset: ImageSet) -> str:
    """Of names, labels and contents of the images; not of where they are."""
    digest = sha256()
    files = zip(dataset.ids, dataset.paths, strict=True)
    for image_id, path in track(files, f"checksums of {dataset.split}", total=len(dataset)):
        check_interrupted()
        with path.open("rb") as file:
            content = file_digest(file, "sha256").hexdigest()
        digest.update(f"{image_id}\n{content}\n".encode(errors="surrogateescape"))
    for labels in (dataset.targets, dataset.weights):
        digest.update(labels.numpy().tobytes())
    return digest.hexdigest()


def split_digests(dataset: ImageSet, validation: ImageSet | None) -> dict[str, str]:
    """Digests of the images that are trained and validated on, by option."""
    digests = {f"--split {dataset.split}": dataset_digest(dataset)}
    if validation is not None:
        digests[f"--val-split {validation.split}"] = dataset_digest(validation)
    return digests


def backbone_weights(settings: TrainSettings, backbone: str) -> Mapping[str, Tensor] | None:
    """Published weights that the backbone starts from; None for random ones."""
    if settings.weights is not None:
        return read_weights(settings.weights)
    return imagenet_weights(backbone) if settings.pretrained else None


def training_mode(settings: TrainSettings, model: nn.Module, features: nn.Module) -> None:
    """Everything learns; batch norms of a trained backbone keep the statistics that they have."""
    model.train()
    for module in features.modules():
        if isinstance(module, nn.BatchNorm2d) and settings.has_trained_backbone:
            module.eval()


def steps_per_epoch(settings: TrainSettings, images: int) -> int:
    """Steps in which this number of images is seen once."""
    batches = math.ceil(images / settings.loop.batch_size)
    return math.ceil(batches / settings.loop.accumulate)


def new_state(
    settings: TrainSettings,
    model: nn.Module,
    *,
    head: nn.Module,
    backbone: nn.Module,
    device: Device,
    images: int,
    builder: dict[str, Any],
    since: float,
    digests: Mapping[str, str],
) -> TrainingState:
    """A model before its first step.

    Args:
        settings: of the run.
        model: whose weights are saved.
        head: its part that learns at the full rate.
        backbone: its part that learns at ``optim.backbone_factor`` of it, where it is not frozen.
        device: for the number format.
        images: in an epoch.
        builder: how to build the model again, as plain values.
        since: monotonic time of the command's start.
        digests: of the files that a resumed run must find unchanged, by the option that names them.
    """
    optimizer = build_optimizer(
        [p for p in head.parameters() if p.requires_grad],
        settings.optim,
        backbone=[p for p in backbone.parameters() if p.requires_grad],
    )
    scheduler = build_scheduler(
        optimizer,
        settings.optim,
        epochs=settings.loop.epochs,
        steps_per_epoch=steps_per_epoch(settings, images),
    )
    return TrainingState(
        model=model,
        optimizer=optimizer,
        scheduler=scheduler,
        scaler=torch.amp.GradScaler(device.kind, enabled=device.amp == "fp16"),
        settings={**to_dict(settings), "digests": dict(digests)},
        builder=builder,
        since=since,
        averaging=settings.optim.average,
    )


def resume(state: TrainingState, settings: TrainSettings) -> bool:
    """Load what ``--resume`` names; False when there is nothing to continue.

    Raises:
        ValueError: the checkpoint is of a run with other settings, or of another model.
    """
    if not settings.resume:
        return False
    if settings.resume == "auto":
        content = load_checkpoint(settings.run_dir / "checkpoints")
    else:
        content = read_checkpoint(Path(settings.resume))
    if content is None:
        return False
    _refuse_other_settings(content["settings"], state.settings)
    state.load(content)
    echo(f"continuing from step {state.step} (epoch {state.epoch + 1}, batch {state.batch})")
    return True


def _refuse_other_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    old, new = flatten(before), flatten(now)
    for name, value in new.items():
        if name in FREE_TO_CHANGE or name.startswith(FREE_PREFIXES):
            continue
        if old.get(name) == value:
            continue
        if name.startswith(DIGESTS):
            raise ValueError(
                f"{name.removeprefix(DIGESTS)}: not the same content as when the run was started "
                "(start another --run-dir)"
            )
        raise ValueError(
            f"--{name.replace('_', '-')}: the run was started with {old.get(name)}, now "
            f"{value} (resume with the same settings, or start another --run-dir)"
        )


def open_run_logger(state: TrainingState, settings: TrainSettings, *, resumed: bool) -> Logger:
    """The run's logger; what a resumed run will log again is taken out first."""
    return open_logger(
        settings.run_dir,
        settings.visdom,
        resume_step=state.step if resumed else None,
        again=("validation/",) if state.evaluated < state.epoch else (),
    )


def fit(
    state: TrainingState,
    criterion: Criterion,
    inputs: Sequence[Samples],
    settings: TrainSettings,
    *,
    device: Device,
    logger: Logger,
    end_of_epoch: Callable[[TrainingState], float],
) -> None:
    """Train to the last epoch on images at their sizes; see ``tools.training.loop.train``."""
    train(
        state,
        criterion,
        lambda epoch, first: training_batches(
            inputs,
            seed=settings.seed,
            epoch=epoch,
            first=first,
            batch_size=settings.loop.batch_size,
            flip=settings.flip,
            workers=settings.loop.workers,
        ),
        steps_per_epoch=steps_per_epoch(settings, len(inputs[0])),
        settings=settings.loop,
        device=device,
        logger=logger,
        checkpoints=settings.run_dir / "checkpoints",
        end_of_epoch=end_of_epoch,
    )


def log_evaluation(logger: Logger, evaluation: Evaluation, dataset: ImageSet, step: int) -> None:
    """Means, class-wise APs of boxes and of image labels, and precision against recall."""
    for name, mean in evaluation.metrics.items():
        logger.scalar(f"validation/{name}", mean, step)
    for label, (name, row) in enumerate(evaluation.per_class.items()):
        for key, tag in (("box_map_11point", "box_ap"), ("image_map", "ap")):
            value = row[key]
            if value is not None:
                logger.scalar(f"validation/{tag}/{name}", value, step)
        known = dataset.weights[:, label] > 0
        if dataset.targets[known, label].any():
            scores = torch.from_numpy(evaluation.scores[:, label])[known]
            logger.pr_curve(f"validation/{name}", dataset.targets[known, label], scores, step)


def finish(state: TrainingState, run_dir: Path) -> None:
    """Write and print the summary; a finished run that is resumed gives the same one."""
    digest = weights_sha256(state.weights())
    summary = {"seconds": state.seconds, "step": state.step, "epochs": state.epoch}
    write_json(run_dir / "training.json", {"weights_sha256": digest, **summary})
    size = sum(path.stat().st_size for path in (run_dir / "events").glob("*"))
    echo(
        f"trained {state.epoch} epochs in {state.seconds:.0f} s, {size / 1e6:.1f} MB of events, "
        f"weights_sha256 {digest}"
    )
