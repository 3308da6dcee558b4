"""Training of a detector, from labels and proposals to a checkpoint."""

import dataclasses
import time
from collections.abc import Mapping
from functools import partial
from hashlib import file_digest
from pathlib import Path

from torch import Tensor

from data.checks import name_first
from data.datasets.image_set import ImageSet
from data.types import Proposals
from tools.cli.console import echo, warn
from tools.cli.settings import flatten, to_dict
from tools.evaluation.metrics import Evaluation
from tools.evaluation.split import evaluate
from tools.inputs.datasets import check_images_exist, open_dataset
from tools.inputs.opening import open_proposal_samples
from tools.inputs.rois import read_proposals
from tools.loggers.logger import Logger
from tools.models.build import build_detector
from tools.models.device import choose_device
from tools.pages.detections import log_detections
from tools.prediction.predictions import DetectorPredictions
from tools.runs.environment import write_environment
from tools.runs.folder import locked_run, write_settings
from tools.runs.saved import load_run
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
from tools.training.settings import TrainWsddnSettings
from tools.training.state import TrainingState
from wsddn.criterion import wsddn_losses
from wsddn.model import WSDDN


def run(settings: TrainWsddnSettings) -> None:
    """Train to the last epoch, or continue a run until there."""
    check_images_exist(settings)
    refuse_existing(settings)
    with locked_run(settings.run_dir):
        _train(settings)


def _train(settings: TrainWsddnSettings) -> None:
    start = time.monotonic()
    device = choose_device(settings.device, settings.amp)
    seed_everything(settings.seed, deterministic=settings.deterministic)
    dataset = open_dataset(settings, settings.split)
    settings = resolved(settings, dataset.classes)
    settings = dataclasses.replace(
        settings,
        proposals=settings.proposals.absolute(),
        from_localizer=settings.from_localizer and settings.from_localizer.absolute(),
    )
    validation = open_dataset(settings, settings.val_split) if settings.val_split else None
    digests = split_digests(dataset, validation)
    with settings.proposals.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    read = partial(
        read_proposals,
        settings.proposals,
        min_size=settings.min_size,
        max_proposals=settings.max_proposals,
    )
    proposals = read(dataset)
    dataset = _with_proposals(dataset, proposals)

    model = _build(settings)
    device.place(model)
    state = new_state(
        settings,
        model,
        head=model.head,
        backbone=model.features,
        device=device,
        images=len(dataset),
        builder=to_dict(settings.model),
        since=start,
        digests=digests | {"--proposals": digest},
    )
    resumed = resume(state, settings)
    write_settings(settings.run_dir, {**to_dict(settings), "resume": ""})
    if state.evaluated == settings.loop.epochs:
        finish(state, settings.run_dir)
        return
    write_environment(settings.run_dir)

    cache = feature_cache(settings)
    feed = partial(
        open_proposal_samples, model, resize=settings.resize, feature_cache=cache, device=device
    )
    inputs, module = feed(dataset, proposals, image_sizes=settings.image_sizes)
    training_mode(settings, model, model.features)
    if validation is not None:
        sizes = settings.eval_image_sizes or settings.image_sizes
        validation_inputs, _ = feed(validation, read(validation), image_sizes=sizes)
        predictions = DetectorPredictions(
            module, validation_inputs, validation, device, settings.flip, settings.support_iou
        )

    with open_run_logger(state, settings, resumed=resumed) as logger:

        def end_of_epoch(state: TrainingState) -> float:
            if validation is None:
                return state.epoch  # without a validation the last epoch is the best
            evaluation = evaluate(predictions)
            _log_evaluation(logger, evaluation, validation, state)
            return evaluation.metrics["box_map_11point"]

        fit(
            state,
            lambda batch: wsddn_losses(
                module,
                inputs[0].prepare(batch, device),
                spatial_weight=settings.spatial_weight,
                drop_fraction=settings.drop_proposals,
            ),
            inputs,
            settings,
            device=device,
            logger=logger,
            end_of_epoch=end_of_epoch,
        )
        metrics = {"best_box_map_11point": state.best} if validation else {}
        logger.settings(flatten(to_dict(settings)), metrics)
    finish(state, settings.run_dir)


def _with_proposals(dataset: ImageSet, proposals: Mapping[str, Proposals]) -> ImageSet:
    """The images that have proposals; the others teach nothing and are named."""
    without = [name for name in dataset.ids if not len(proposals[name].boxes)]
    if not without:
        return dataset
    warn(f"images without proposals are left out, {len(without)}: {name_first(without)}")
    left_out = set(without)
    return dataset.subset([i for i, name in enumerate(dataset.ids) if name not in left_out])


def _build(settings: TrainWsddnSettings) -> WSDDN:
    """The detector before its first step."""
    state_dict = backbone_weights(settings, settings.model.backbone)
    context: Path | str = settings.weights or settings.model.backbone
    try:
        model = build_detector(to_dict(settings.model), len(settings.classes), state_dict)
        if settings.from_localizer is not None and not _is_begun(settings):
            context = settings.from_localizer
            model.features.load_state_dict(_features_of(settings.from_localizer, model))
    except ValueError as error:
        raise ValueError(f"{context}: {error}") from error
    if settings.frozen_backbone:
        model.features.requires_grad_(False)
    return model


def _is_begun(settings: TrainWsddnSettings) -> bool:
    """Whether a checkpoint that holds the backbone will be loaded anyway."""
    return bool(settings.resume) and (settings.run_dir / "checkpoints" / "last.json").exists()


def _features_of(run_dir: Path, model: WSDDN) -> Mapping[str, Tensor]:
    """Weights of a localizer's backbone.

    Raises:
        ValueError: its backbone is another one.
    """
    localizer = load_run(run_dir).localizer()
    if localizer.backbone is not model.backbone:
        raise ValueError("the localizer stands on another backbone")
    return localizer.features.state_dict()


def _log_evaluation(
    logger: Logger, evaluation: Evaluation, dataset: ImageSet, state: TrainingState
) -> None:
    log_evaluation(logger, evaluation, dataset, state.step)
    log_detections(
        logger,
        dataset,
        evaluation.detections,
        epoch=state.epoch - 1,
        step=state.step,
        is_first=state.epoch == 1,
    )
    echo(
        f"epoch {state.epoch}: mAP {evaluation.metrics['box_map_11point']:.4f}, CorLoc "
        f"{evaluation.metrics['corloc']:.4f}, image mAP {evaluation.metrics['image_map']:.4f} on "
        f"{dataset.split}"
    )
