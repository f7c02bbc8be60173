"""Weights of which every smaller layer is a part: prefix slices of channels, learned crops of kernels."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ofa.space.layers import Layer

# oneDNN's fast gradient of a depthwise kernel is for kernels this wide at most; wider ones are 2-4 times slower there.
NARROW = 3
# Images are taken together up to this size, so that what is read once per strip of a kernel stays in the cache.
PART_BYTES = 2 << 20


class ElasticConv(nn.Module):
    """A convolution (or linear layer) stored once, at its largest.

    Fewer channels are the first ones. A smaller kernel is the centre of the next larger one, its k*k values multiplied
    by a learned matrix that all channels share and that starts as identity: 7 -> 5 -> 3, never 7 -> 3 (Once-for-All,
    arXiv 1908.09791, section 3.3). The largest kernel is used as stored.
    """

    def __init__(self, largest: Layer, kernels: Collection[int], generator: torch.Generator) -> None:
        super().__init__()
        self.kernels = tuple(sorted({*kernels, largest.kernel}, reverse=True))
        fan_in = largest.in_channels // largest.groups
        shape = (largest.out_channels, fan_in) + ((largest.kernel,) * 2 if largest.kind == "conv" else ())
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.zeros(largest.out_channels)) if largest.bias else None
        for kernel in self.kernels[1:]:
            self.register_parameter(f"transform_{kernel}", nn.Parameter(torch.eye(kernel * kernel)))
        if largest.kind == "linear":
            bound = 1 / math.sqrt(fan_in)
            nn.init.uniform_(self.weight, -bound, bound, generator=generator)
        else:
            fan_out = largest.kernel**2 * largest.out_channels // largest.groups
            nn.init.normal_(self.weight, std=math.sqrt(2 / fan_out), generator=generator)

    def slices(self, layer: Layer) -> tuple[Tensor, Tensor | None]:
        """Return the weight [out, in / groups(, k, k)] and bias [out] that a layer of a subnet uses."""
        weight = self.weight[: layer.out_channels, : layer.in_channels // layer.groups]
        for larger, kernel in zip(self.kernels, self.kernels[1:], strict=False):
            if larger == layer.kernel:
                break
            edge = (larger - kernel) // 2
            crop = weight[:, :, edge : larger - edge, edge : larger - edge]
            weight = F.linear(crop.flatten(2), getattr(self, f"transform_{kernel}")).view_as(crop)
        return weight, None if self.bias is None else self.bias[: layer.out_channels]

    def forward(self, x: Tensor, layer: Layer) -> Tensor:
        """Run as ``layer``: a float[n, c, h, w], or [n, c] where it is linear."""
        return convolve(x, layer, *self.slices(layer))


class ElasticNorm(nn.Module):
    """Scale and shift of a batch normalisation at full width; narrower layers use the first channels.

    It keeps no running statistics: those of a sampled supernet mix all subnets and serve none. A subnet's own come from
    ``ofa.nn.calibrate``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def slices(self, channels: int) -> tuple[Tensor, Tensor]:
        """Return scale and shift of the first ``channels``."""
        return self.weight[:channels], self.bias[:channels]


def convolve(x: Tensor, layer: Layer, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Run a layer with given weights: a float[n, c, h, w], or [n, c] where it is linear."""
    if layer.kind == "linear":
        return F.linear(x.flatten(1), weight, bias)
    if layer.kernel == 1 and layer.groups == 1 and x.shape[2:] == (1, 1):
        # On the CPU a convolution of 1x1 maps takes three times as long as the product of matrices that it is.
        return F.linear(x.flatten(1), weight.squeeze((2, 3)), bias)[:, :, None, None]
    depthwise = 1 < layer.groups == layer.in_channels == layer.out_channels
    if depthwise and bias is None and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu"):
        out: Tensor = _Depthwise.apply(x, weight, layer.stride)  # type: ignore[no-untyped-call]  # torch's is
        return out
    return F.conv2d(x, weight, bias, layer.stride, layer.kernel // 2, 1, layer.groups)


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution of an odd kernel, padded by half of it; its gradients avoid slow ways of oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        """Run as ``conv2d`` does."""
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, 1, len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Return the gradients of input and weight."""
        x, weight = ctx.saved_tensors
        of_x, of_weight, _ = ctx.needs_input_grad
        return (
            _input_gradient(gradient, x, weight, ctx.stride) if of_x else None,
            _weight_gradient(gradient, x, weight, ctx.stride) if of_weight else None,
            None,
        )


def _input_gradient(gradient: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Return the gradient of a depthwise convolution's input [n, c, h, w]."""
    if stride == 1:
        # The convolution with the kernel turned round, which oneDNN runs twice as fast as its own gradient.
        return F.conv2d(gradient, weight.flip(2, 3), None, 1, weight.shape[-1] // 2, 1, len(weight))
    return _gradients(gradient, x, weight, stride, weight.shape[-1] // 2, (True, False))[0]


def _weight_gradient(gradient: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Return the gradient of a depthwise convolution's weight [c, 1, k, k], narrow strips of columns at a time."""
    kernel = weight.shape[-1]
    pad = kernel // 2
    if kernel <= NARROW or min(x.shape[2:]) <= pad:  # a strip of a smaller map may be padding alone
        return _gradients(gradient, x, weight, stride, pad, (False, True))[1]
    height, width = ((size - 1) * stride for size in gradient.shape[2:])
    below = height + kernel - x.shape[2] - pad
    found = torch.zeros_like(weight, memory_format=torch.contiguous_format)
    images = max(1, PART_BYTES // (x.shape[1:].numel() * x.element_size()))
    for outputs, inputs in zip(gradient.split(images), x.split(images), strict=True):
        for first in range(0, kernel, NARROW):
            strip = weight[..., first : first + NARROW]
            after = first + width + strip.shape[-1] - x.shape[3] - pad
            padded = F.pad(inputs, (pad - first, after, pad, below))
            found[..., first : first + NARROW] += _gradients(outputs, padded, strip, stride, 0, (False, True))[1]
    return found


def _gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: int, pad: int, wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor]:
    """Return the gradients that torch computes of a depthwise convolution's input and weight, where wanted."""
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], len(weight), [*wanted, False]
    )
    return found[:2]
