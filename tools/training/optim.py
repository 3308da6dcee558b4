"""Optimizer and learning rates."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tools.runs.settings import OptimSettings


def build_optimizer(
    head: Sequence[nn.Parameter], settings: OptimSettings, *, backbone: Sequence[nn.Parameter] = ()
) -> Any:
    """SGD, Adam or AdamW, fused: one pass over the weights instead of several.

    Args:
        head: learns at the settings' rate.
        settings: of the optimizer.
        backbone: learns at ``settings.backbone_factor`` times that rate; none if it is frozen.
    """
    groups: list[dict[str, Any]] = [{"params": list(head)}]
    if backbone:
        groups.append({"params": list(backbone), "lr": settings.lr * settings.backbone_factor})
    if settings.name == "sgd":
        return torch.optim.SGD(
            groups,
            lr=settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            fused=True,
        )
    kind = torch.optim.Adam if settings.name == "adam" else torch.optim.AdamW
    return kind(groups, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)


def build_scheduler(
    optimizer: torch.optim.Optimizer, settings: OptimSettings, *, epochs: int, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Learning rate by iteration: constant, steps, or a cosine to zero, after a linear warm-up."""
    warmup = settings.warmup_epochs * steps_per_epoch
    total = epochs * steps_per_epoch

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if settings.schedule == "step":
            return float(settings.gamma ** (step // (settings.step_epochs * steps_per_epoch)))
        if settings.schedule == "cosine":
            return 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / max(total - warmup, 1))
        return 1.0

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
