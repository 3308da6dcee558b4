"""A split as a model takes it, at each image size."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from data.datasets.image_set import ImageSet
from data.types import Proposals
from localizer.backbones import Backbone
from localizer.model import Localizer, LocalizerHead
from tools.inputs.features import FeatureCache, FeatureSamples
from tools.inputs.rois import WithProposals
from tools.inputs.samples import PixelSamples, Samples
from tools.models.device import Device
from wsddn.model import WSDDN, WSDDNHead


def open_samples(
    model: Localizer,
    dataset: ImageSet,
    *,
    image_sizes: Sequence[int],
    resize: Any,
    feature_cache: FeatureCache | None,
    device: Device,
) -> tuple[list[Samples], LocalizerHead]:
    """A split at each size, and the module that takes it: images the model, features its head.

    Args:
        model: whose backbone decides on size and normalization.
        dataset: a split.
        image_sizes: of the network image.
        resize: ``longest_side`` or ``square``.
        feature_cache: where features of the frozen backbone are kept; None takes images.
        device: computes the features.
    """
    inputs = _inputs(
        model.backbone,
        model.features,
        dataset,
        image_sizes=image_sizes,
        resize=resize,
        feature_cache=feature_cache,
        device=device,
    )
    return inputs, model if feature_cache is None else model.head()


def open_proposal_samples(
    model: WSDDN,
    dataset: ImageSet,
    proposals: Mapping[str, Proposals],
    *,
    image_sizes: Sequence[int],
    resize: Any,
    feature_cache: FeatureCache | None,
    device: Device,
) -> tuple[list[WithProposals], WSDDN | WSDDNHead]:
    """The same for a detector; every sample comes with its rois."""
    inputs = _inputs(
        model.backbone,
        model.features,
        dataset,
        image_sizes=image_sizes,
        resize=resize,
        feature_cache=feature_cache,
        device=device,
    )
    sizes = [annotation.image_size for annotation in dataset.annotations]
    with_rois = [WithProposals(samples, proposals, sizes) for samples in inputs]
    return with_rois, model if feature_cache is None else model.head


def _inputs(
    backbone: Backbone,
    features: nn.Module,
    dataset: ImageSet,
    *,
    image_sizes: Sequence[int],
    resize: Any,
    feature_cache: FeatureCache | None,
    device: Device,
) -> list[Samples]:
    images = [PixelSamples(dataset, backbone, size, resize) for size in image_sizes]
    if feature_cache is None:
        return list(images)
    return [FeatureSamples(samples, features, feature_cache, device) for samples in images]
