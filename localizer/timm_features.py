"""Feature maps of timm's models. timm is imported when one is named, not before."""

import contextlib
import difflib
from typing import Any

from torch import Tensor, nn

# Lets a model that is made for one image size take others; most need none, some have the other.
ANY_SIZE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False})


class TimmFeatures(nn.Module):
    """The last feature map of a timm model, before its last norm and its classifier.

    Attributes:
        network: the model; its keys are those of timm's files.
        unused: keys of timm's files that belong to what is left out.
        stride: of the map, as timm says.
        mean: of the input's channels in 0 .. 1, removed before the network.
        std: of the input's channels in 0 .. 1.
    """

    network: Any

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.network = _model(name)
        complete = self.network.state_dict().keys()
        self.network.prune_intermediate_layers(1, prune_norm=True)
        self.unused = tuple(sorted(complete - self.network.state_dict().keys()))
        info = self.network.feature_info  # a list, or an object that holds one
        self.stride: int = getattr(info, "info", info)[-1]["reduction"]
        self.mean: tuple[float, float, float] = tuple(self.network.pretrained_cfg["mean"])
        self.std: tuple[float, float, float] = tuple(self.network.pretrained_cfg["std"])

    def forward(self, images: Tensor) -> Tensor:
        """``[B, 3, H, W]``, H and W multiples of the stride, to ``[B, K, h, w]``."""
        maps: list[Tensor] = self.network.forward_intermediates(
            images, indices=1, output_fmt="NCHW", intermediates_only=True
        )
        return maps[-1]

    def extra_repr(self) -> str:
        """Model and version of timm: another one may compute other features."""
        import timm

        return f"{self.name}, timm {timm.__version__}"


def check_timm_name(name: str) -> None:
    """Raise unless timm has a model of this name, with the tag of its weights or without.

    Raises:
        ValueError: it has none; the message names similar ones.
    """
    import timm

    known = [*timm.list_models(), *timm.list_models(pretrained=True)]
    if name not in known:
        near = difflib.get_close_matches(name, known)
        hint = f"did you mean {', '.join(near)}?" if near else "timm.list_models() names all"
        raise ValueError(f"timm has no model {name!r} ({hint})")


def _model(name: str) -> Any:
    import timm

    for options in ANY_SIZE:
        with contextlib.suppress(TypeError):  # it has no such option
            return timm.create_model(name, **options)
    return timm.create_model(name)
