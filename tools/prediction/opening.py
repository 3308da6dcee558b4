"""What a trained run predicts for a data set."""

from collections.abc import Mapping
from pathlib import Path

from data.datasets.image_set import ImageSet
from data.datasets.settings import ImageSettings
from data.datasets.sources import given_or_trained
from data.types import Proposals
from tools.inputs.datasets import open_dataset
from tools.inputs.opening import open_samples
from tools.inputs.rois import limit_proposals, read_proposals, warn_of_scores, with_proposals
from tools.models.device import Device
from tools.prediction.predictions import DetectorPredictions, LocalizerPredictions, Predictions
from tools.runs.saved import SavedRun, load_run


def open_split(saved: SavedRun, images: ImageSettings, split: str) -> ImageSet:
    """A split of the images that are given, or else of those that the run learned from."""
    return open_dataset(given_or_trained(images, saved.settings, saved.settings.classes), split)


def open_predictions(
    saved: SavedRun,
    dataset: ImageSet,
    device: Device,
    *,
    cached: bool,
    proposals: Path | Mapping[str, Proposals] | None = None,
    rescore_from: Path | None = None,
) -> Predictions:
    """What a trained run predicts for some images.

    Args:
        saved: the run; its model is moved to the device.
        dataset: the images.
        device: computes.
        cached: take a frozen backbone's features from the run's cache, filling it where needed.
        proposals: of these images, for a detector: a file of ``make_proposals``, or those of each
            image by its id; None takes the file that the run learned from.
        rescore_from: run of a localizer that rescores the proposals of a detector.

    Raises:
        ValueError: the file lacks images; the run that rescores is a detector's, or it knows other
            classes.
    """
    if not saved.takes_proposals:
        return open_localizer(saved, dataset, device, cached=cached)
    model, trained = saved.detector()
    limits, given = trained.proposal_limits, proposals or trained.proposals
    if isinstance(given, Path):
        seen = read_proposals(given, dataset, **limits)
        if given != trained.proposals:  # of which the training has warned
            warn_of_scores(given, seen, trained.model)
    else:
        seen = limit_proposals(given, **limits)
    device.place(model)
    takes_features = cached and trained.frozen_backbone
    samples = open_samples(
        model, dataset, trained, device, image_sizes=trained.evaluation_sizes, cached=takes_features
    )
    inputs = with_proposals(samples, dataset, seen)
    rescoring = None
    if rescore_from is not None:
        localizer = load_run(rescore_from)
        if localizer.settings.classes != trained.classes:
            raise ValueError(
                f"{rescore_from}: knows other classes than {saved.run_dir}: "
                f"{', '.join(localizer.settings.classes)}"
            )
        rescoring = open_localizer(localizer, dataset, device, cached=cached).overlap
    module = model.head if takes_features else model
    return DetectorPredictions(
        module, inputs, dataset, device, trained.flip, trained.support_iou, rescoring
    )


def open_localizer(
    saved: SavedRun, dataset: ImageSet, device: Device, *, cached: bool
) -> LocalizerPredictions:
    """The same of a localizer.

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
    return LocalizerPredictions(module, inputs, dataset, device, trained.boxes, trained.crop)
