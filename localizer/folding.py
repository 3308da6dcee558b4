"""Batch norms as parts of the convolutions before them: the same features in less time."""

import copy
from typing import TypeVar, cast

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from localizer.conv_norms import norms_behind
from localizer.weight_standardization import applies_filters

Model = TypeVar("Model", bound=nn.Module)


def fold_batch_norms(model: Model) -> Model:
    """A copy for evaluation alone, with filters and biases that do what batch norms did.

    Outputs differ by rounding. A batch norm stays where it has no running statistics, where its
    convolution's output goes elsewhere too, or where the filters are computed from other numbers;
    all of them stay in a model that ``torch.fx`` cannot follow.
    """
    folded = copy.deepcopy(model).eval()
    try:
        norms, _ = norms_behind(folded)
    except ValueError:
        return folded
    for conv_name, norm_name in norms.items():
        conv = cast(nn.Conv2d, folded.get_submodule(conv_name))
        norm = cast(nn.BatchNorm2d, folded.get_submodule(norm_name))
        mean, variance = norm.running_mean, norm.running_var
        if mean is None or variance is None or not applies_filters(conv):
            continue
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, mean, variance, norm.eps, norm.weight, norm.bias
        )
        folded.set_submodule(norm_name, nn.Identity())
    return folded
