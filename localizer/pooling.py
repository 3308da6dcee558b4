"""From a class's heatmap to its image logit: maximum, mean, log-sum-exp, mean of the top cells.

All take logits ``[B, C, h, w]``, ``valid`` ``[B, h, w]``, true for cells that see the image (at
least one an image), and a value that some need; and give ``[B, C]``. ``LocalizerSettings`` refuse
values outside of their range.
"""

from collections.abc import Callable

import torch
from torch import Tensor

PoolFunction = Callable[[Tensor, Tensor, float], Tensor]


def max_pool_logits(logits: Tensor, valid: Tensor, value: float = 0.0) -> Tensor:
    """The highest cell; the rest of the object takes no part."""
    return _hide(logits, valid).amax(dim=2)


def mean_pool_logits(logits: Tensor, valid: Tensor, value: float = 0.0) -> Tensor:
    """Every cell alike, as in class activation maps (Zhou et al., CVPR 2016)."""
    return top_pool_logits(logits, valid, 1.0)


def log_sum_exp_pool_logits(logits: Tensor, valid: Tensor, value: float) -> Tensor:
    """``log(mean(exp(r x))) / r``: near the mean for small r, near the maximum for large r.

    Args:
        logits: as above.
        valid: as above.
        value: the sharpness r, above 0.

    Source: Pinheiro and Collobert, CVPR 2015.
    """
    return (_hide(logits * value, valid).logsumexp(dim=2) - _count(valid).log()) / value


def top_pool_logits(logits: Tensor, valid: Tensor, value: float) -> Tensor:
    """Mean over the highest cells: a fraction of the image's valid cells, at least one.

    Args:
        logits: as above.
        valid: as above.
        value: the fraction in (0, 1].

    Source: Durand et al. (WELDON), CVPR 2016, with a fraction instead of a number of cells.
    """
    cells = _hide(logits, valid).float()
    # In float32 the product may come out just above a whole number and be rounded up by one.
    wanted = (_count(valid).double() * value - 1e-6).ceil().clamp(min=1).float()
    # A graph that is exported cannot look at a number; it sorts all cells.
    most = cells.shape[2] if torch.compiler.is_exporting() else int(wanted.max())
    top = cells.topk(most, dim=2).values
    counts = torch.arange(top.shape[2], device=top.device) < wanted  # [B, k]
    return torch.where(counts[:, None], top, 0.0).sum(dim=2) / wanted


POOLINGS: dict[str, PoolFunction] = {
    "max": max_pool_logits,
    "mean": mean_pool_logits,
    "log_sum_exp": log_sum_exp_pool_logits,
    "top": top_pool_logits,
}


def _count(cells: Tensor) -> Tensor:
    """``[B, 1]`` float32: how many are true."""
    return cells.flatten(1).sum(dim=1, keepdim=True).float()


def _hide(logits: Tensor, valid: Tensor) -> Tensor:
    """``[B, C, h*w]`` with minus infinity where a cell does not count."""
    if valid.shape != (logits.shape[0], *logits.shape[2:]):
        raise ValueError(
            f"logits {list(logits.shape)} and valid cells {list(valid.shape)} do not match"
        )
    return logits.masked_fill(~valid[:, None], -torch.inf).flatten(2)
