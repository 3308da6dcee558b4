"""Optimizers and learning rates."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from tools.runs.settings import OptimSettings
from tools.training.optim import build_optimizer, build_scheduler

HALF = math.sqrt(1 / 2)


@pytest.mark.parametrize(
    ("settings", "epochs", "expected"),
    [
        ({"lr": 0.5, "schedule": "constant"}, 2, [0.5] * 4),
        (
            {"lr": 8.0, "schedule": "step", "step_epochs": 2, "gamma": 0.5},
            5,
            [8, 8, 8, 8, 4, 4, 4, 4, 2, 2],
        ),
        ({"lr": 1.0, "schedule": "cosine"}, 2, [1, (1 + HALF) / 2, 1 / 2, (1 - HALF) / 2]),
        ({"lr": 3.0, "schedule": "constant", "warmup_epochs": 1}, 2, [1, 2, 3, 3]),
        (
            {"lr": 2.0, "schedule": "cosine", "warmup_epochs": 0.5},
            2,
            [1, 2, 1 + math.cos(math.pi / 3), 1 + math.cos(2 * math.pi / 3)],
        ),
    ],
)
def test_a_rate_is_constant_or_falls_after_a_linear_warm_up(
    settings: dict[str, Any], epochs: int, expected: list[float]
) -> None:
    optim = OptimSettings(**settings)
    optimizer = build_optimizer([nn.Parameter(torch.zeros(1))], optim)
    scheduler = build_scheduler(optimizer, optim, epochs=epochs, steps_per_epoch=2)
    rates = []
    for _ in range(2 * epochs):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()

    assert rates == pytest.approx(expected)


def test_the_optimizer_is_the_one_that_is_named() -> None:
    parameters = [nn.Parameter(torch.zeros(1))]
    sgd = build_optimizer(parameters, OptimSettings(lr=0.5, momentum=0.25, weight_decay=0.125))
    adamw = build_optimizer(parameters, OptimSettings(name="adamw", lr=0.5, weight_decay=0.125))

    assert isinstance(sgd, torch.optim.SGD)
    assert (sgd.defaults["momentum"], sgd.defaults["weight_decay"]) == (0.25, 0.125)
    assert isinstance(adamw, torch.optim.AdamW)
    assert (adamw.defaults["lr"], adamw.defaults["weight_decay"]) == (0.5, 0.125)


def test_a_fall_of_the_rate_keeps_the_momentum() -> None:
    settings = OptimSettings(
        lr=1.0, momentum=0.5, weight_decay=0.0, schedule="step", step_epochs=1, gamma=0.5
    )
    weight = nn.Parameter(torch.zeros(1))
    optimizer = build_optimizer([weight], settings)
    scheduler = build_scheduler(optimizer, settings, epochs=2, steps_per_epoch=1)
    for _ in range(2):
        weight.grad = torch.ones(1)
        optimizer.step()
        scheduler.step()

    assert weight.item() == -(1 + (1 + 0.5) / 2)  # the second speed is 1 + .5, at half the rate


def test_a_backbone_learns_at_its_fraction_of_the_rate() -> None:
    head, backbone = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    settings = OptimSettings(lr=0.5, backbone_factor=0.25, momentum=0.0, weight_decay=0.0)
    optimizer = build_optimizer([head], settings, backbone=[backbone])
    head.grad, backbone.grad = torch.ones(1), torch.ones(1)
    optimizer.step()

    assert (head.item(), backbone.item()) == (-0.5, -0.125)
