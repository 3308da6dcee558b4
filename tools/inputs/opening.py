"""A split as a model takes it, at each image size."""

from collections.abc import Sequence

from data.datasets.image_set import ImageSet
from localizer.model import Localizer
from tools.inputs.features import FeatureCache, FeatureSamples
from tools.inputs.samples import PixelSamples, Samples
from tools.models.device import Device
from tools.runs.settings import TrainSettings
from wsddn.model import WSDDN


def open_samples(
    model: Localizer | WSDDN,
    dataset: ImageSet,
    settings: TrainSettings,
    device: Device,
    *,
    image_sizes: Sequence[int],
    cached: bool,
) -> list[Samples]:
    """A split at each size: images for the model, or features for its head.

    Args:
        model: its backbone decides on normalization and the multiple of a padded side.
        dataset: a split.
        settings: of the run: which side gets the size, and where features are kept.
        device: computes the features.
        image_sizes: of the network image.
        cached: take the features of a frozen backbone from that cache, filling it where needed.
    """
    images = [PixelSamples(dataset, model.backbone, size, settings.resize) for size in image_sizes]
    if not cached:
        return list(images)
    cache = FeatureCache(settings.feature_cache, settings.feature_cache_limit)
    return [FeatureSamples(samples, model.features, cache, device) for samples in images]
