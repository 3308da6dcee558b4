"""What a trained run predicts for a data set."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data.datasets.image_set import ImageSet
from data.datasets.settings import ImageSettings
from data.datasets.sources import given_or_trained
from data.types import Proposals
from tools.cli.console import warn
from tools.cli.settings import to_dict
from tools.inputs.ahead import read_ahead
from tools.inputs.datasets import open_dataset
from tools.inputs.features import FeatureCache, cache_key
from tools.inputs.opening import open_samples
from tools.inputs.proposal_scores import KeptScores
from tools.inputs.rois import (
    ArrivingProposals,
    read_proposals,
    warn_of_scores,
    with_proposals,
)
from tools.inputs.samples import PixelSamples
from tools.models.device import Device
from tools.prediction.predictions import (
    Detector,
    DetectorPredictions,
    LocalizerPredictions,
    Predictions,
)
from tools.runs.kinds import TrainWsddnSettings
from tools.runs.saved import SavedRun, load_run
from wsddn.model import WSDDN


def open_split(saved: SavedRun, images: ImageSettings, split: str) -> ImageSet:
    """A split of the images that are given, or else of those that the run learned from."""
    return open_dataset(given_or_trained(images, saved.settings, saved.settings.classes), split)


def open_predictions(
    saved: SavedRun,
    dataset: ImageSet,
    device: Device,
    *,
    cached: bool,
    proposals: Sequence[Path] | Iterator[Proposals] = (),
    rescore_from: Sequence[Path] = (),
) -> Predictions:
    """What a trained run predicts for some images.

    Args:
        saved: the run, with others whose scores are averaged with its own; their models are moved
            to the device.
        dataset: the images.
        device: computes.
        cached: take a frozen backbone's features, and the scores of proposals, from the run's
            cache, filling it where needed.
        proposals: of these images: files of ``make_proposals``, or those of each image in their
            order, which may still be in the making. None takes the files that a detector learned
            from; a localizer's boxes are then those around the hot regions of its heatmaps.
        rescore_from: runs of localizers that rescore the proposals of a detector.

    Raises:
        ValueError: the file lacks images; a run that rescores is a detector's, or it knows other
            classes.
    """
    if not saved.takes_proposals:
        limits = {name: getattr(TrainWsddnSettings, name) for name in ("min_size", "max_proposals")}
        snapped = _read(proposals, dataset, limits) if proposals else None
        return open_localizer(saved, dataset, device, cached=cached, proposals=snapped)
    trained = saved.detector()[1]
    seen = _read(proposals or trained.proposals, dataset, trained.proposal_limits)
    files = () if isinstance(proposals, Iterator) else tuple(proposals)
    if files and set(files).isdisjoint(trained.proposals):  # of which the training has warned
        warn_of_scores(files[0], seen, trained.model)
    rescorings = []
    for localizer in map(load_run, rescore_from):
        saved.check_same_classes(localizer)
        rescorings.append(open_localizer(localizer, dataset, device, cached=cached).rescore)
    detectors = [
        _open_detector(member, dataset, device, seen, cached=cached)
        for member in (saved, *saved.others)
    ]
    return DetectorPredictions(detectors, trained.support_iou, rescorings)


def _open_detector(
    saved: SavedRun,
    dataset: ImageSet,
    device: Device,
    proposals: Mapping[str, Proposals],
    *,
    cached: bool,
) -> Detector:
    """One detector for these proposals."""
    model, trained = saved.detector()
    device.place(model)
    takes_features = cached and trained.frozen_backbone
    samples = open_samples(
        model, dataset, trained, device, image_sizes=trained.evaluation_sizes, cached=takes_features
    )
    return Detector(
        model.head if takes_features else model,
        with_proposals([read_ahead(each, device) for each in samples], dataset, proposals),
        dataset,
        device,
        trained.flip,
        _kept_scores(model, dataset, trained, device, proposals) if cached else None,
    )


def _read(
    given: Sequence[Path] | Iterator[Proposals], dataset: ImageSet, limits: Mapping[str, Any]
) -> Mapping[str, Proposals]:
    """The proposals of some images that are looked at."""
    if isinstance(given, Iterator):
        return ArrivingProposals(dataset.ids, given, **limits)
    return read_proposals(given, dataset, **limits)


def _kept_scores(
    model: WSDDN,
    dataset: ImageSet,
    trained: TrainWsddnSettings,
    device: Device,
    proposals: Mapping[str, Proposals],
) -> KeptScores | None:
    """Those of an earlier reading, and room for the others; None, with a warning, if it lacks."""
    sizes = trained.evaluation_sizes
    key = cache_key(
        PixelSamples(dataset, model.backbone, sizes[0], trained.resize), model, device
    ) | {
        "image_size": sizes,
        "computed": device.amp,
        "kept": "float32 scores and class probabilities of proposals",
        "detector": to_dict(trained.model),
        "frozen": trained.frozen_backbone,
        "flip": trained.flip,
    }
    cache = FeatureCache(trained.feature_cache, trained.feature_cache_limit)
    of_images = [proposals[image_id] for image_id in dataset.ids]
    kept = KeptScores(cache, key, dataset.paths, of_images, len(dataset.classes))
    try:
        cache.check_room(kept.missing_bytes)
    except (ValueError, OSError) as error:
        warn(f"scores of proposals are not kept: {error}")
        return None
    return kept


def open_localizer(
    saved: SavedRun,
    dataset: ImageSet,
    device: Device,
    *,
    cached: bool,
    proposals: Mapping[str, Proposals] | None = None,
) -> LocalizerPredictions:
    """The same of a localizer.

    Args:
        saved: the run; its model is moved to the device.
        dataset: the images.
        device: computes.
        cached: as for ``open_predictions``.
        proposals: that boxes are taken from, by image id; None for boxes around hot regions.

    Raises:
        ValueError: the run is a detector's, which has no heatmaps.
    """
    model, trained = saved.localizer()
    device.place(model)
    takes_features = cached and trained.frozen_backbone and not trained.crop
    inputs = open_samples(
        model, dataset, trained, device, image_sizes=trained.evaluation_sizes, cached=takes_features
    )
    module = model.head() if takes_features else model
    inputs = [read_ahead(each, device) for each in inputs]
    return LocalizerPredictions(
        module, inputs, dataset, device, trained.boxes, trained.crop, proposals
    )
