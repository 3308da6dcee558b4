"""Models from plain settings."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from localizer.builders import build_localizer
from localizer.model import Localizer
from wsddn.builders import build_wsddn
from wsddn.model import WSDDN


def build_model(
    settings: Mapping[str, Any], num_classes: int, state_dict: Mapping[str, Tensor] | None = None
) -> Localizer:
    """A localizer from the plain form of ``LocalizerSettings``."""
    return build_localizer(num_classes=num_classes, state_dict=state_dict, **settings)


def build_detector(
    settings: Mapping[str, Any], num_classes: int, state_dict: Mapping[str, Tensor] | None = None
) -> WSDDN:
    """A detector from the plain form of ``DetectorSettings``."""
    return build_wsddn(num_classes=num_classes, state_dict=state_dict, **settings)
