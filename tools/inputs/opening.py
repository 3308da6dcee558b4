"""A split as a model takes it, at each image size."""

from collections.abc import Sequence
from typing import Any

from data.datasets.image_set import ImageSet
from localizer.model import Localizer
from tools.inputs.features import FeatureCache, FeatureSamples
from tools.inputs.samples import PixelSamples, Samples
from tools.models.device import Device
from wsddn.model import WSDDN


def open_samples(
    model: Localizer | WSDDN,
    dataset: ImageSet,
    *,
    image_sizes: Sequence[int],
    resize: Any,
    feature_cache: FeatureCache | None,
    device: Device,
) -> list[Samples]:
    """A split at each size: images for the model, or features for its head.

    Args:
        model: its backbone decides on size and normalization.
        dataset: a split.
        image_sizes: of the network image.
        resize: a mode of ``resize_image``.
        feature_cache: where features of the frozen backbone are kept; None takes images.
        device: computes the features.
    """
    images = [PixelSamples(dataset, model.backbone, size, resize) for size in image_sizes]
    if feature_cache is None:
        return list(images)
    return [FeatureSamples(samples, model.features, feature_cache, device) for samples in images]
