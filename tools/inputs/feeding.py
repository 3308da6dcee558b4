"""What a model is fed, at each size, and what takes it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from data.datasets.image_set import ImageSet
from data.types import Proposals
from localizer.model import Localizer, LocalizerHead
from localizer.trunks import Trunk
from tools.inputs.features import FeatureSamples
from tools.inputs.rois import WithProposals
from tools.inputs.samples import PictureSamples, Samples
from tools.models.device import Device
from wsddn.model import WSDDN, WSDDNHead


def open_samples(
    model: Localizer,
    dataset: ImageSet,
    *,
    image_sizes: Sequence[int],
    resize: Any,
    feature_cache: Path | None,
    device: Device,
) -> tuple[list[Samples], LocalizerHead]:
    """What is fed at each size, and what takes it: pictures the model, or features its head.

    Args:
        model: whose trunk decides on size and normalisation.
        dataset: a split.
        image_sizes: of the network image.
        resize: ``longest_side`` or ``square``.
        feature_cache: where features of the frozen trunk are kept; None feeds pictures.
        device: computes the features.
    """
    scales = _scales(
        model.trunk,
        model.features,
        dataset,
        image_sizes=image_sizes,
        resize=resize,
        feature_cache=feature_cache,
        device=device,
    )
    return scales, model if feature_cache is None else model.head()


def open_proposal_samples(
    model: WSDDN,
    dataset: ImageSet,
    proposals: Mapping[str, Proposals],
    *,
    image_sizes: Sequence[int],
    resize: Any,
    feature_cache: Path | None,
    device: Device,
) -> tuple[list[WithProposals], WSDDN | WSDDNHead]:
    """The same for a detector; every sample comes with its rois."""
    scales = _scales(
        model.trunk,
        model.features,
        dataset,
        image_sizes=image_sizes,
        resize=resize,
        feature_cache=feature_cache,
        device=device,
    )
    sizes = [annotation.image_size for annotation in dataset.annotations]
    with_rois = [WithProposals(scale, proposals, sizes) for scale in scales]
    return with_rois, model if feature_cache is None else model.head


def _scales(
    trunk: Trunk,
    features: nn.Module,
    dataset: ImageSet,
    *,
    image_sizes: Sequence[int],
    resize: Any,
    feature_cache: Path | None,
    device: Device,
) -> list[Samples]:
    pictures = [PictureSamples(dataset, trunk, size, resize) for size in image_sizes]
    if feature_cache is None:
        return list(pictures)
    return [FeatureSamples(scale, features, feature_cache, device) for scale in pictures]
