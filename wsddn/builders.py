"""One builder for all detectors: a backbone, fc6 and fc7 (pretrained if possible), two streams."""

from collections.abc import Mapping

from torch import Tensor, nn

from data.checks import check_state_dict
from localizer.backbones import Geometry, backbone_named, load_backbone_weights
from wsddn.model import WSDDN, WSDDNHead
from wsddn.settings import DetectorSettings

PRETRAINED_WIDTH = 4096  # of fc6 and fc7 in AlexNet and VGG-16
PRETRAINED = {
    "alexnet": ("classifier.1", "classifier.4"),
    "vgg16": ("classifier.0", "classifier.3"),
}


def build_wsddn(
    settings: DetectorSettings, num_classes: int, state_dict: Mapping[str, Tensor] | None = None
) -> WSDDN:
    """A detector on a backbone of ``localizer.backbones``.

    Args:
        settings: backbone, head and number of frozen layers.
        num_classes: C.
        state_dict: pretrained weights of the backbone, None for random ones. AlexNet's and VGG-16's
            fc6 and fc7 are taken from them, too, at a width of 4096.

    Raises:
        ValueError: an unknown backbone, weights that are not the backbone's, or a pool size that
            does not fit the pretrained fc6.
    """
    row = backbone_named(settings.backbone)
    center = (row.geometry.offset + 0.5) * settings.offset_fraction  # of cell 0
    geometry = Geometry(row.geometry.stride, center - 0.5)
    model = WSDDN(row, WSDDNHead(row.channels, geometry, num_classes, settings))
    if state_dict is not None:
        load_backbone_weights(model.features, row, state_dict)
        if settings.backbone in PRETRAINED and settings.width == PRETRAINED_WIDTH:
            _load_pretrained(model.head, PRETRAINED[settings.backbone], state_dict)
    convolutions = [m for m in model.features.modules() if isinstance(m, nn.Conv2d)]
    for layer in convolutions[: settings.frozen_layers]:
        layer.requires_grad_(False)
    return model


def _load_pretrained(
    head: WSDDNHead, names: tuple[str, str], state_dict: Mapping[str, Tensor]
) -> None:
    """Copy fc6 and fc7.

    Raises:
        ValueError: a layer is missing or of another shape.
    """
    context = "fc6 and fc7 (AlexNet's fit a pool size of 6, VGG-16's of 7; or choose another width)"
    for layer, name in zip((head.fc6, head.fc7), names, strict=True):
        expected = {f"{name}.{kind}": own for kind, own in layer.state_dict().items()}
        given = {key: state_dict[key] for key in expected if key in state_dict}
        check_state_dict(expected, given, context=context)
        layer.load_state_dict({key.removeprefix(f"{name}."): given[key] for key in expected})
