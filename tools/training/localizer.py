"""Training of a localizer, from labels to a checkpoint."""

import time

import torch

from data.datasets.image_set import ImageSet
from data.evaluation.image_metrics import eval_classification
from localizer.loss import localizer_losses, multilabel_bce
from localizer.model import Localizer
from tools.cli.console import echo
from tools.cli.settings import flatten, to_dict
from tools.evaluation.split import evaluate
from tools.inputs.datasets import check_images_exist, open_dataset
from tools.inputs.opening import open_samples
from tools.loggers.logger import Logger
from tools.models.build import build_model
from tools.models.device import Device, choose_device, evaluation_mode
from tools.pages.heatmaps import box_sheet, log_heatmaps
from tools.prediction.predictions import LocalizerPredictions
from tools.runs.environment import write_environment
from tools.runs.folder import locked_run, write_settings
from tools.training.run import (
    backbone_weights,
    feature_cache,
    finish,
    fit,
    log_evaluation,
    new_state,
    open_run_logger,
    refuse_existing,
    resolved,
    resume,
    split_digests,
    training_mode,
)
from tools.training.seeds import seed_everything
from tools.training.settings import TrainLocalizerSettings
from tools.training.state import TrainingState


def run(settings: TrainLocalizerSettings) -> None:
    """Train to the last epoch, or continue a run until there."""
    check_images_exist(settings)
    refuse_existing(settings)
    with locked_run(settings.run_dir):
        _train(settings)


def _train(settings: TrainLocalizerSettings) -> None:
    start = time.monotonic()
    device = choose_device(settings.device, settings.amp)
    seed_everything(settings.seed, deterministic=settings.deterministic)
    dataset = open_dataset(settings, settings.split)
    settings = resolved(settings, dataset.classes)
    validation = open_dataset(settings, settings.val_split) if settings.val_split else None
    model = _build(settings, dataset, device)
    state = new_state(
        settings,
        model,
        head=model.classifier,
        backbone=model.features,
        device=device,
        images=len(dataset),
        builder=to_dict(settings.model),
        since=start,
        digests=split_digests(dataset, validation),
    )
    resumed = resume(state, settings)
    write_settings(settings.run_dir, {**to_dict(settings), "resume": ""})
    if state.evaluated == settings.loop.epochs:
        finish(state, settings.run_dir)
        return
    write_environment(settings.run_dir)

    cache = feature_cache(settings)
    inputs, module = open_samples(
        model,
        dataset,
        image_sizes=settings.image_sizes,
        resize=settings.resize,
        feature_cache=cache,
        device=device,
    )
    module.train()
    training_mode(settings, model, model.features)
    seen = validation or dataset  # what the images of each epoch show
    validation_inputs, _ = open_samples(
        model,
        seen,
        image_sizes=settings.eval_image_sizes or settings.image_sizes,
        resize=settings.resize,
        feature_cache=cache,
        device=device,
    )

    predictions = LocalizerPredictions(module, validation_inputs, seen, device, settings.boxes)

    with open_run_logger(state, settings, resumed=resumed) as logger:
        if not resumed:
            _log_baseline(dataset, logger)

        def end_of_epoch(state: TrainingState) -> float:
            log_heatmaps(
                logger,
                predictions,
                epoch=state.epoch - 1,
                step=state.step,
                is_first=state.epoch == 1,
            )
            if validation is None:
                return state.epoch  # without a validation the last epoch is the best
            evaluation = evaluate(predictions)
            log_evaluation(logger, evaluation, validation, state.step)
            image_map = evaluation.metrics["image_map"]
            echo(f"epoch {state.epoch}: image mAP {image_map:.4f} on {settings.val_split}")
            return image_map

        fit(
            state,
            lambda batch: localizer_losses(module, inputs[0].prepare(batch, device)),
            inputs,
            settings,
            device=device,
            logger=logger,
            end_of_epoch=end_of_epoch,
        )
        with evaluation_mode(module):
            final = box_sheet({"localizer": predictions})
        logger.image("final_boxes", final, state.step)
        metrics = {"best_image_map": state.best} if validation else {}
        logger.settings(flatten(to_dict(settings)), metrics)
    finish(state, settings.run_dir)


def _build(settings: TrainLocalizerSettings, dataset: ImageSet, device: Device) -> Localizer:
    state_dict = backbone_weights(settings, settings.model.backbone)
    try:
        model = build_model(to_dict(settings.model), len(dataset.classes), state_dict)
    except ValueError as error:
        raise ValueError(f"{settings.weights or settings.model.backbone}: {error}") from error
    if settings.frozen_backbone:
        model.features.requires_grad_(False)
    device.place(model)
    return model


def _log_baseline(dataset: ImageSet, logger: Logger) -> None:
    """What a model that answers every image with logits of 0 reaches, to compare with."""
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
