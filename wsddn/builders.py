"""One builder for all detectors: a backbone, fc6 and fc7 (pretrained if possible), two streams."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from localizer.backbones import BACKBONES, Backbone, Geometry, load_backbone_weights
from wsddn.model import WSDDN, WSDDNHead

PRETRAINED_WIDTH = 4096  # of fc6 and fc7 in AlexNet and VGG-16
PRETRAINED = {
    "alexnet": ("classifier.1", "classifier.4"),
    "vgg16": ("classifier.0", "classifier.3"),
}


def build_wsddn(
    backbone: str,
    num_classes: int,
    *,
    width: int = PRETRAINED_WIDTH,
    pool_size: int = 6,
    offset_fraction: float = 1.0,
    temperature: float = 2.0,
    box_score: float = 10.0,
    box_base: float = 1.0,
    area_prior: float = 0.0,
    dropout: float = 0.5,
    frozen_layers: int = 0,
    state_dict: Mapping[str, Tensor] | None = None,
) -> WSDDN:
    """A detector on a backbone of ``localizer.backbones``.

    Args:
        backbone: a key of ``BACKBONES``.
        num_classes: C.
        width: of fc6 and fc7. AlexNet's and VGG-16's pretrained layers are taken at 4096.
        pool_size: bins in a row and in a column of a pooled proposal.
        offset_fraction: of the backbone's offset, by which proposals are moved before pooling: with
            1 they take the cells that they cover, with 0 those of plain pooling at 1 / stride.
        temperature: of the softmax over proposals.
        box_score: features are multiplied by ``box_base`` + this times the proposal's score.
        box_base: see ``box_score``.
        area_prior: power of its area by which a proposal counts in the softmax over proposals.
        dropout: fraction of fc6's and of fc7's outputs dropped while training.
        frozen_layers: convolutions, from the first on, that do not learn.
        state_dict: pretrained weights of the backbone, None for random ones.

    Raises:
        ValueError: an unknown backbone, a fraction or a count out of range, weights that are not
            the backbone's, or a pool size that does not fit the pretrained fc6.
    """
    if backbone not in BACKBONES:
        raise ValueError(f"backbone is one of {', '.join(BACKBONES)}; got {backbone!r}")
    if not 0 <= offset_fraction <= 1:
        raise ValueError(f"the fraction of the offset is in [0, 1], got {offset_fraction}")
    if frozen_layers < 0:
        raise ValueError(f"0 or more layers are frozen, got {frozen_layers}")
    row = BACKBONES[backbone]
    head = WSDDNHead(
        row.channels,
        _moved(row, offset_fraction),
        num_classes,
        width=width,
        pool_size=pool_size,
        temperature=temperature,
        box_score=box_score,
        box_base=box_base,
        area_prior=area_prior,
        dropout=dropout,
    )
    model = WSDDN(row, head)
    if state_dict is not None:
        load_backbone_weights(model.features, row, state_dict)
        if backbone in PRETRAINED and width == PRETRAINED_WIDTH:
            _load_pretrained(head, PRETRAINED[backbone], state_dict)
    convolutions = [m for m in model.features.modules() if isinstance(m, nn.Conv2d)]
    for layer in convolutions[:frozen_layers]:
        layer.requires_grad_(False)
    return model


def _moved(backbone: Backbone, fraction: float) -> Geometry:
    """The backbone's geometry with the center of cell 0 at that fraction of its place."""
    stride, offset = backbone.geometry.stride, backbone.geometry.offset
    return Geometry(stride, (offset + 0.5) * fraction - 0.5)


def _load_pretrained(
    head: WSDDNHead, names: tuple[str, str], state_dict: Mapping[str, Tensor]
) -> None:
    """Copy fc6 and fc7.

    Raises:
        ValueError: a layer is missing or of another shape.
    """
    for layer, name in zip((head.fc6, head.fc7), names, strict=True):
        for kind in ("weight", "bias"):
            given, wanted = state_dict.get(f"{name}.{kind}"), layer.get_parameter(kind)
            if given is None or given.shape != wanted.shape:
                shape = "nothing" if given is None else f"{list(given.shape)}"
                raise ValueError(
                    f"{name}.{kind} is {list(wanted.shape)} here and {shape} in the weights "
                    "(AlexNet's fit a pool size of 6, VGG-16's of 7; or choose another width)"
                )
            with torch.no_grad():
                wanted.copy_(given)
