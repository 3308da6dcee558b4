"""Training of a localizer, from labels to a checkpoint."""

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data.image_metrics import eval_classification
from data.image_set import ImageSet
from localizer.loss import localizer_step, multilabel_bce
from localizer.model import Localizer
from tools.engine.checkpoint import load_checkpoint, read_checkpoint, weights_sha256
from tools.engine.datasets import check_pictures_exist, open_dataset
from tools.engine.device import Device, choose_device, seed_everything
from tools.engine.evaluation import evaluate_localizer, evaluation_mode
from tools.engine.heat_pictures import box_sheet, log_heat_pictures
from tools.engine.logger import Logger, open_logger
from tools.engine.loop import TrainingState, build_optimizer, build_scheduler, train
from tools.engine.progress import say
from tools.engine.run_folder import flat, locked, plain, write_json, write_settings
from tools.engine.samples import training_batches
from tools.engine.saved_runs import build_model, open_samples
from tools.engine.weights import imagenet_weights, read_weights
from tools.train_localizer import TrainLocalizerSettings

# A resumed run must be the run that was interrupted; these may differ from it.
FREE_TO_CHANGE = frozenset(
    ("run_dir", "voc_root", "images", "labels", "resume", "feature_cache", "weights", "device")
)
FREE_PREFIXES = ("boxes.", "visdom.", "loop.workers", "loop.checkpoint_every")


def run(settings: TrainLocalizerSettings) -> None:
    """Train to the last epoch, or go on until there."""
    check_pictures_exist(settings)
    _refuse_existing(settings)
    with locked(settings.run_dir):
        _train(settings)


def _train(settings: TrainLocalizerSettings) -> None:
    start = time.monotonic()
    device = choose_device(settings.device, settings.amp)
    seed_everything(settings.seed, deterministic=settings.deterministic)
    dataset = open_dataset(settings, settings.split)
    settings = dataclasses.replace(
        settings,
        classes=dataset.classes,
        images=settings.images and settings.images.absolute(),
        labels=settings.labels and settings.labels.absolute(),
    )
    validation = open_dataset(settings, settings.val_split) if settings.val_split else None
    model = _build(settings, dataset, device)
    steps_per_epoch = math.ceil(len(dataset) / settings.loop.batch_size)
    optimizer = build_optimizer(
        list(model.classifier.parameters()),
        settings.optim,
        trunk=[p for p in model.features.parameters() if p.requires_grad],
    )
    state = TrainingState(
        model=model,
        optimizer=optimizer,
        scheduler=build_scheduler(
            optimizer, settings.optim, epochs=settings.loop.epochs, steps_per_epoch=steps_per_epoch
        ),
        scaler=torch.amp.GradScaler(device.kind, enabled=settings.amp == "fp16"),
        settings=plain(settings),
        builder=plain(settings.model),
        since=start,
    )
    resumed = _resume(state, settings)
    if state.evaluated == settings.loop.epochs:
        _finish(settings, state)
        return
    write_settings(settings.run_dir, plain(dataclasses.replace(settings, resume="")))

    cache = settings.feature_cache if settings.frozen_trunk else None
    scales, fed = open_samples(
        model,
        dataset,
        image_sizes=settings.image_sizes,
        resize=settings.resize,
        feature_cache=cache,
        device=device,
    )
    _training_mode(model, fed, keep_statistics=settings.pretrained or settings.weights is not None)
    seen = validation or dataset  # what the pictures of each epoch show
    seen_scales, _ = open_samples(
        model,
        seen,
        image_sizes=settings.eval_image_sizes or settings.image_sizes,
        resize=settings.resize,
        feature_cache=cache,
        device=device,
    )

    with open_logger(
        settings.run_dir,
        settings.visdom,
        resume_step=state.step if resumed else None,
        again=("validation/",) if state.evaluated < state.epoch else (),
    ) as logger:
        if not resumed:
            _log_baseline(dataset, logger)

        def end_of_epoch(state: TrainingState) -> float:
            log_heat_pictures(
                logger,
                fed,
                seen_scales,
                seen,
                device,
                epoch=state.epoch - 1,
                step=state.step,
                is_first=state.epoch == 1,
            )
            if validation is None:
                return state.epoch  # without a validation the last epoch is the best
            found = evaluate_localizer(fed, seen_scales, validation, settings.boxes, device)
            for name, value in found.metrics.items():
                logger.scalar(f"validation/{name}", value, state.step)
            for name, row in found.per_class.items():
                if row["image_map"] is not None:
                    logger.scalar(f"validation/ap/{name}", row["image_map"], state.step)
            image_map = found.metrics["image_map"]
            say(f"epoch {state.epoch}: image mAP {image_map:.4f} on {settings.val_split}")
            return image_map

        train(
            state,
            lambda batch: localizer_step(fed, scales[0].prepare(batch, device)),
            lambda epoch, first: training_batches(
                scales,
                seed=settings.seed,
                epoch=epoch,
                first=first,
                batch_size=settings.loop.batch_size,
                flip=settings.flip,
                workers=settings.loop.workers,
            ),
            steps_per_epoch=steps_per_epoch,
            settings=settings.loop,
            device=device,
            logger=logger,
            checkpoints=settings.run_dir / "checkpoints",
            end_of_epoch=end_of_epoch,
        )
        with evaluation_mode(fed):
            final = box_sheet([("localizer", fed, seen_scales, settings.boxes)], seen, device)
        logger.image("final_boxes", final, state.step)
        metrics = {"best_image_map": state.best} if validation else {}
        logger.settings(flat(plain(settings)), metrics)
    _finish(settings, state)


def _build(settings: TrainLocalizerSettings, dataset: ImageSet, device: Device) -> Localizer:
    state_dict = None
    if settings.weights is not None:
        state_dict = read_weights(settings.weights)
    elif settings.pretrained:
        state_dict = imagenet_weights(settings.model.trunk)
    try:
        model = build_model(plain(settings.model), len(dataset.classes), state_dict)
    except ValueError as error:
        raise ValueError(f"{settings.weights or settings.model.trunk}: {error}") from error
    if settings.frozen_trunk:
        model.features.requires_grad_(False)
    device.place(model)
    return model


def _training_mode(model: Localizer, fed: nn.Module, *, keep_statistics: bool) -> None:
    """Everything learns; batch norms of a pretrained trunk keep the statistics of ImageNet."""
    model.train()
    fed.train()
    for module in model.features.modules():
        if keep_statistics and isinstance(module, nn.BatchNorm2d):
            module.eval()


def _refuse_existing(settings: TrainLocalizerSettings) -> None:
    if not settings.resume and (settings.run_dir / "settings.yaml").exists():
        raise FileExistsError(
            f"{settings.run_dir}: holds a run already (--resume auto goes on with it)"
        )


def _resume(state: TrainingState, settings: TrainLocalizerSettings) -> bool:
    """Load what ``--resume`` names; False when there is nothing to go on from."""
    if not settings.resume:
        return False
    if settings.resume == "auto":
        content = load_checkpoint(settings.run_dir / "checkpoints")
    else:
        content = read_checkpoint(Path(settings.resume))
    if content is None:
        return False
    _refuse_other_settings(content["settings"], plain(settings))
    state.load(content)
    say(f"going on from step {state.step} (epoch {state.epoch + 1}, batch {state.batch})")
    return True


def _refuse_other_settings(before: dict[str, Any], now: dict[str, Any]) -> None:
    old, new = flat(before), flat(now)
    for name, value in new.items():
        if name in FREE_TO_CHANGE or name.startswith(FREE_PREFIXES):
            continue
        if old.get(name) != value:
            raise ValueError(
                f"--{name.replace('_', '-')}: the run was started with {old.get(name)}, now "
                f"{value} (resume with the same settings, or start another --run-dir)"
            )


def _log_baseline(dataset: ImageSet, logger: Logger) -> None:
    """What a model that answers every picture with logits of 0 reaches, to compare with."""
    logits = torch.zeros_like(dataset.targets)
    loss = multilabel_bce(logits, dataset.targets, dataset.weights)
    metrics = eval_classification(
        logits.sigmoid().double().numpy(),
        dataset.targets.double().numpy(),
        dataset.weights.double().numpy(),
    )
    logger.scalar("baseline/loss", loss, 0)
    logger.scalar("baseline/metric1", metrics.mean_average_precision, 0)
    logger.scalar("baseline/metric2", metrics.mean_f_beta, 0)
    logger.scalar("baseline/recall", metrics.mean_recall, 0)


def _finish(settings: TrainLocalizerSettings, state: TrainingState) -> None:
    """Sum up; a finished run that is resumed gives the same again."""
    digest = weights_sha256(state.model.state_dict())
    summary = {"seconds": state.seconds, "step": state.step, "epochs": state.epoch}
    write_json(settings.run_dir / "training.json", {"weights_sha256": digest, **summary})
    say(f"trained {state.epoch} epochs in {state.seconds:.0f} s, weights_sha256 {digest}")
