"""From a class's heatmap to its image logit: maximum, mean, log-sum-exp, mean of the top cells.

All take logits ``[B, C, h, w]``, ``valid`` ``[B, h, w]``, true for cells that see the picture (at
least one an image), and a value that some need; and give ``[B, C]``. ``visible`` ``[B, h, w]``
leaves only a part of the valid cells to the pooling, see ``drop_cells``; None leaves all.
"""

from typing import Protocol

import torch
from torch import Tensor


class PoolFunction(Protocol):
    """The form that all poolings share."""

    def __call__(
        self, logits: Tensor, valid: Tensor, value: float, *, visible: Tensor | None = None
    ) -> Tensor:
        """Logits ``[B, C, h, w]`` to ``[B, C]``."""
        ...


def max_pool_logits(
    logits: Tensor, valid: Tensor, value: float = 0.0, *, visible: Tensor | None = None
) -> Tensor:
    """The best cell: sure of one place, silent about the rest of the object."""
    return _hide(logits, valid, visible).amax(dim=2)


def mean_pool_logits(
    logits: Tensor, valid: Tensor, value: float = 0.0, *, visible: Tensor | None = None
) -> Tensor:
    """Every cell alike, as in class activation maps (Zhou et al., CVPR 2016)."""
    return top_pool_logits(logits, valid, 1.0, visible=visible)


def log_sum_exp_pool_logits(
    logits: Tensor, valid: Tensor, value: float, *, visible: Tensor | None = None
) -> Tensor:
    """``log(mean(exp(r x))) / r``: near the mean for small r, near the maximum for large r.

    Args:
        logits: as above.
        valid: as above.
        value: the sharpness r, above 0.
        visible: as above.

    Source: Pinheiro and Collobert, CVPR 2015.
    """
    if not value > 0:
        raise ValueError(f"the sharpness of log-sum-exp pooling is above 0, got {value}")
    count = _count(valid if visible is None else visible)
    return (_hide(logits * value, valid, visible).logsumexp(dim=2) - count.log()) / value


def top_pool_logits(
    logits: Tensor, valid: Tensor, value: float, *, visible: Tensor | None = None
) -> Tensor:
    """Mean over the highest cells, so many as a share of the image's valid cells, at least one.

    The share is of the valid cells even when some are hidden: with fewer to choose from, the
    same number must be found, and less salient cells come to count.

    Args:
        logits: as above.
        valid: as above.
        value: the share in (0, 1].
        visible: as above.

    Source: Durand et al. (WELDON), CVPR 2016, with a share instead of a number of cells.
    """
    if not 0 < value <= 1:
        raise ValueError(f"top pooling takes a share of the cells in (0, 1], got {value}")
    cells = _hide(logits, valid, visible).float()
    # In float32 the product may come out just above a whole number and be rounded up by one.
    wanted = (_count(valid).double() * value - 1e-6).ceil().clamp(min=1).float()
    if visible is not None:
        wanted = wanted.minimum(_count(visible))
    top = cells.topk(int(wanted.max()), dim=2).values
    counts = torch.arange(top.shape[2], device=top.device) < wanted  # [B, k]
    return torch.where(counts[:, None], top, 0.0).sum(dim=2) / wanted


POOLINGS: dict[str, PoolFunction] = {
    "max": max_pool_logits,
    "mean": mean_pool_logits,
    "log_sum_exp": log_sum_exp_pool_logits,
    "top": top_pool_logits,
}


def drop_cells(valid: Tensor, share: float) -> Tensor:
    """Hide a random share of the valid cells from a pooling, never all of an image.

    Hidden cells leave the competition without a substitute. (Setting their logits to 0, as plain
    dropout does, would make 0 the maximum of every map of negative logits.)

    Args:
        valid: ``[B, h, w]`` bool.
        share: probability in [0, 1) of hiding a cell.

    Returns:
        ``[B, h, w]`` bool. Random numbers are drawn on the CPU, then moved.
    """
    if not 0 <= share < 1:
        raise ValueError(f"the share of dropped cells is in [0, 1), got {share}")
    draws = torch.rand(valid.shape).to(valid.device).masked_fill(~valid, -1.0)
    last = draws == draws.amax(dim=(1, 2), keepdim=True)  # one an image stays, come what may
    return valid & ((draws >= share) | last)


def _count(cells: Tensor) -> Tensor:
    """``[B, 1]`` float32: how many are true."""
    return cells.flatten(1).sum(dim=1, keepdim=True).float()


def _hide(logits: Tensor, valid: Tensor, visible: Tensor | None) -> Tensor:
    """``[B, C, h*w]`` with minus infinity where a cell does not count."""
    if valid.shape != (logits.shape[0], *logits.shape[2:]):
        raise ValueError(
            f"logits {list(logits.shape)} and valid cells {list(valid.shape)} do not match"
        )
    shown = valid if visible is None else visible
    return logits.masked_fill(~shown[:, None], -torch.inf).flatten(2)
