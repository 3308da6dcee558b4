"""Convolutions whose filters are divided by their deviation, and batch norms that allow for it.

A convolution gives ``z = W * x + b`` and its batch norm ``alpha (z - mu) / sqrt(v + eps) + beta``.
With filters divided by ``s = sqrt(Var(W) + 1e-12)`` the convolution gives ``(z - b) / s + b``, and
other numbers in the batch norm make its output what it was. The filters' mean is not removed.
"""

import copy
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from localizer.conv_norms import norms_behind

WEIGHT_EPS = 1e-12
MODES = ("A", "B", "C")

Model = TypeVar("Model", bound=nn.Module)


def filter_deviations(weight: Tensor) -> Tensor:
    """``[out]``: ``sqrt(Var(W) + 1e-12)`` of each filter, in float32 or wider.

    Args:
        weight: ``[out, in, kh, kw]``; the variance is the biased one over in, kh and kw.
    """
    wide = weight.to(torch.promote_types(weight.dtype, torch.float32))  # float16 has no 1e-12
    return (wide.flatten(1).var(dim=1, correction=0) + WEIGHT_EPS).sqrt()


def divide_filters(weight: Tensor) -> Tensor:
    """``[out, in, kh, kw]`` filters, each divided by its deviation, in their dtype."""
    return (weight / filter_deviations(weight)[:, None, None, None]).to(weight.dtype)


class WeightStandardizedConv2d(nn.Conv2d):
    """A ``nn.Conv2d`` that applies its filters divided by their deviation.

    Arguments, parameters and state dictionary are those of ``nn.Conv2d``; ``weight`` itself stays
    as it is, so that it can be trained.

    Attributes:
        kind: of convolution, for example one that pads its input; its ``forward`` is what runs.
    """

    kind: type[nn.Conv2d] = nn.Conv2d

    def forward(self, features: Tensor) -> Tensor:
        """``[B, in, H, W]`` to ``[B, out, h, w]``, as ``nn.Conv2d``."""
        return _run(self, self.kind, divide_filters(self.weight), features)


def standardize(model: Model, mode: str = "C", *, keep_others: bool = False) -> Model:
    """A copy of a model that divides its filters and gives the same output in evaluation mode.

    Every ``nn.Conv2d`` must hand its output to one ``nn.BatchNorm2d`` that takes nothing else, and
    to nothing but it. Names and shapes of the state dictionary stay, and so do the weights of
    convolutions. The batch norms change:

    - A: mean and variance only. Output in training mode is the same to order
      ``eps |s^2 - 1| / v``.
    - B: ``alpha`` and ``beta`` only. Output in training mode is another one.
    - C: mean and variance, and ``alpha`` for what ``eps`` makes of them. As A in training mode, and
      no variance can become negative.

    New numbers are computed in float64 and rounded to the model's dtype.

    Args:
        model: on any device and in either mode; it is not changed.
        mode: A, B or C.
        keep_others: leave convolutions without such a batch norm as they are.

    Raises:
        ValueError: another mode; a model without convolutions, or one that ``torch.fx`` cannot
            follow; or a layer that has no exact conversion. The message begins with its name.
    """
    check_mode(mode)
    converted = copy.deepcopy(model)
    norms, others = norms_behind(converted)
    if not (keep_others or norms or others):
        raise ValueError("no convolution in this model")
    if others and not keep_others:
        name, problem = next(iter(others.items()))
        raise ValueError(f"{name}: {problem}")
    layers = dict(converted.named_modules())
    for conv_name, norm_name in norms.items():
        conv, norm = cast(nn.Conv2d, layers[conv_name]), cast(nn.BatchNorm2d, layers[norm_name])
        _check_kind(conv, conv_name)
        _check_norm(norm, norm_name, mode)
        _convert_norm(norm, conv, norm_name, mode)
        kind = type(conv)
        conv.__class__ = WeightStandardizedConv2d  # the same tensors at the same place
        conv.kind = kind  # type: ignore[assignment]
    return converted


def check_mode(mode: str) -> None:
    """Raise ``ValueError`` unless it is A, B or C; says why full standardization is none."""
    if mode not in MODES:
        raise ValueError(
            f"mode is one of {', '.join(MODES)}; got {mode!r} (full weight standardization, which "
            "removes each filter's mean too, has no exact conversion: what it takes from the "
            "output differs from cell to cell)"
        )


class _Divided:
    """A convolution to the ``forward`` of its kind, but with other filters."""

    def __init__(self, conv: nn.Conv2d, kind: type[nn.Conv2d], weight: Tensor) -> None:
        self.conv = conv
        self.kind = kind
        self.weight = weight

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return self.kind  # super() in that forward asks for it

    def __getattr__(self, name: str) -> object:
        return getattr(self.conv, name)


def _run(conv: nn.Conv2d, kind: type[nn.Conv2d], weight: Tensor, features: Tensor) -> Tensor:
    return kind.forward(cast(nn.Conv2d, _Divided(conv, kind, weight)), features)


def _check_kind(conv: nn.Conv2d, name: str) -> None:
    """Refuse a convolution that does more with its filters than to apply them."""
    if isinstance(conv, WeightStandardizedConv2d):
        raise ValueError(f"{name}: its filters are divided already")
    if not _has_plain_filters(conv):
        raise ValueError(f"{name}: its filters are computed from other parameters")
    if not applies_filters(conv):
        raise ValueError(
            f"{name}: a {type(conv).__name__} does more with its filters than to apply them, so "
            "dividing them has another effect"
        )


def applies_filters(conv: nn.Conv2d) -> bool:
    """Whether its output is linear in ``weight`` and in ``bias``, as that of a ``nn.Conv2d`` is.

    Of a subclass it is tried: one that pads does, one that standardizes its filters does not.
    """
    if isinstance(conv, WeightStandardizedConv2d) or not _has_plain_filters(conv):
        return False
    if type(conv) is nn.Conv2d:
        return True
    kind, double = type(conv), copy.deepcopy(conv).double().cpu()
    spans = zip(conv.kernel_size, conv.dilation, strict=True)
    height, width = (2 * dilation * length for length, dilation in spans)
    generator = torch.Generator().manual_seed(0)
    shape = (1, conv.in_channels, height, width)
    features = torch.randn(shape, dtype=torch.float64, generator=generator)
    with torch.no_grad():
        bias, deviations = (
            each[:, None, None] for each in (_bias_of(double), filter_deviations(double.weight))
        )
        expected = (kind.forward(double, features) - bias) / deviations + bias
        divided = _run(double, kind, divide_filters(double.weight), features)
    return torch.allclose(divided, expected)


def _has_plain_filters(conv: nn.Conv2d) -> bool:
    names = {name for name, _ in conv.named_parameters(recurse=False)}
    return {"weight"} <= names <= {"weight", "bias"}


def _check_norm(norm: nn.BatchNorm2d, name: str, mode: str) -> None:
    """Refuse a batch norm without the numbers that the mode needs."""
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError(f"{name}: has no running statistics, so its output depends on the batch")
    if mode != "A" and not norm.affine:
        raise ValueError(f"{name}: has no alpha and beta, which mode {mode} changes (A does not)")


def _convert_norm(norm: nn.BatchNorm2d, conv: nn.Conv2d, name: str, mode: str) -> None:
    """Give a batch norm its new numbers.

    Raises:
        ValueError: a variance would become negative, or a number is not finite in the dtype.
    """
    s, b = filter_deviations(conv.weight.detach().double()), _bias_of(conv).double()
    mean, variance = (
        norm.get_buffer("running_mean").double(),
        norm.get_buffer("running_var").double(),
    )
    with_eps = variance + norm.eps
    new: dict[str, Tensor] = {}
    if mode == "B":
        alpha, beta = norm.weight.detach().double(), norm.bias.detach().double()
        new["weight"] = alpha * s
        new["bias"] = beta + alpha * (s - 1) * (mean - b) / with_eps.sqrt()
    else:
        new["running_mean"] = b + (mean - b) / s
        new["running_var"] = variance / s**2
    if mode == "C":
        new["weight"] = norm.weight.detach().double() * s
        new["weight"] *= ((new["running_var"] + norm.eps) / with_eps).sqrt()
    if mode == "A":
        new["running_var"] = with_eps / s**2 - norm.eps
        channel = int(new["running_var"].argmin())
        if new["running_var"][channel] < 0:
            raise ValueError(
                f"{name}: channel {channel} would get a negative variance: s^2 is "
                f"{float(s[channel] ** 2):.3g}, over (v + eps) / eps = "
                f"{float(with_eps[channel] / norm.eps):.3g} (B and C have no such limit)"
            )
    for key, values in new.items():
        own = norm.get_buffer(key) if key.startswith("running") else norm.get_parameter(key)
        with torch.no_grad():
            own.copy_(values)
        if not own.isfinite().all():
            raise ValueError(f"{name}: {key} would not be finite in {own.dtype}")


def _bias_of(conv: nn.Conv2d) -> Tensor:
    """``[out]``; zeros where it has none."""
    return torch.zeros_like(conv.weight[:, 0, 0, 0]) if conv.bias is None else conv.bias.detach()
