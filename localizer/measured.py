"""Where the cells of any network's map lie: measured, for networks that nobody has looked at."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

CELLS = (6, 7)  # strides in the height and the width of the measured image
TOLERANCE = 0.15  # most pixels between a measured value and the one that is taken for it
SMALL = 1e-6  # value of the measured image; no activation saturates
LINEAR = 1e-3  # gain of linear layers, through which cells of some networks see each other


def measured_offset(network: nn.Module, stride: int, *, channels: int = 3) -> float:
    """Offset of a network's cells, as in ``localizer.backbones.Geometry``.

    The gradient of a cell shows which pixels it is made of. Here every window takes its center
    alone, whatever the weights are, and norms and attention are left out; so these pixels are few,
    and their mean is the center of the cell. Where paths through the network lie apart, as the
    shortcuts of ResNet-D do, it is the mean over the paths.

    Args:
        network: images to maps ``[B, K, h, w]``, in evaluation mode.
        stride: of the cells in pixels.
        channels: of the images.

    Raises:
        ValueError: the cells do not lie on a grid of this stride, centered on pixels or between
            two, the same in rows and columns.
    """
    sides = [count * stride for count in CELLS]
    image = torch.full((1, channels, *sides), SMALL, requires_grad=True)
    with _Centers():
        cells = network(image)[0].sum(dim=0)  # [h, w]
    middle = torch.tensor(cells.shape) // 2
    first, second = (_center(cells[*(middle - 1 + i)], image) for i in (0, 1))
    strides = second - first  # [2], of rows and of columns
    offsets = first - stride * (middle - 1)
    offset = (2 * offsets[0]).round() / 2
    errors = torch.cat([strides - stride, offsets - offset]).abs()
    if not (errors <= TOLERANCE).all():  # nan where a cell depends on no pixel
        values = [f"{value:.2f}" for value in (*strides, *offsets)]
        raise ValueError(
            f"its cells lie on no grid of stride {stride}: strides {values[0]} and {values[1]}, "
            f"offsets {values[2]} and {values[3]} pixels"
        )
    return float(offset) + 0.0  # not -0.0


def _center(cell: Tensor, image: Tensor) -> Tensor:
    """``[2]`` float64: mean row and column of the pixels that a cell depends on."""
    (gradient,) = torch.autograd.grad(cell, image, retain_graph=True)
    seen = gradient[0].sum(dim=0).double()
    seen = seen - seen.median()  # a gate that looks at the whole image tells no place
    lines = seen.sum(dim=1), seen.sum(dim=0)
    return torch.stack([(line * torch.arange(len(line))).sum() / seen.sum() for line in lines])


class _Centers(TorchFunctionMode):
    """Computes with what ``_REPLACED`` says."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _REPLACED.get(func, func)(*args, **kwargs or {})


def _central(weight: Tensor) -> Tensor:
    """The mean over the channels at the middle of a kernel; at both middles of an even one."""
    kernel = torch.zeros_like(weight[0, 0])
    kernel[tuple(slice((side - 1) // 2, side // 2 + 1) for side in kernel.shape)] = 1
    return (kernel / kernel.sum() / weight.shape[1]).expand_as(weight)


def _conv2d(input: Tensor, weight: Tensor, bias: Any = None, *args: Any, **kwargs: Any) -> Tensor:
    return F.conv2d(input, _central(weight), None, *args, **kwargs)


def _max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    **_: Any,
) -> Tensor:
    channels = input.shape[1]
    sides = nn.modules.utils._pair(kernel_size)
    window = _central(input.new_empty(channels, 1, *sides))
    return F.conv2d(input, window, None, stride or sides, padding, dilation, channels)


def _avg_pool2d(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, *_: Any, **__: Any
) -> Tensor:
    return _max_pool2d(input, kernel_size, stride, padding)


def _linear(input: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    return F.linear(input, torch.full_like(weight, LINEAR / weight.shape[1]))


def _pad(input: Tensor, pad: Any, *_: Any, **__: Any) -> Tensor:
    return F.pad(input, pad)  # never with the -inf of a maximum


def _norm(input: Tensor, *_: Any, **__: Any) -> Tensor:
    return input.clone()  # the next layer may work in place


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
    return value.new_zeros(*query.shape[:-1], value.shape[-1])


_REPLACED: dict[Any, Callable[..., Tensor]] = {
    F.conv2d: _conv2d,
    F.max_pool2d: _max_pool2d,
    F.avg_pool2d: _avg_pool2d,
    F.linear: _linear,
    F.pad: _pad,
    F.batch_norm: _norm,
    F.group_norm: _norm,
    F.layer_norm: _norm,
    F.rms_norm: _norm,
    F.scaled_dot_product_attention: _attention,
}
