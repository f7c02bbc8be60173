"""Weights of which every smaller layer is a part: prefix slices of channels, learned crops of kernels."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ofa.space.layers import Layer


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
        weight, bias = self.slices(layer)
        if layer.kind == "linear":
            return F.linear(x.flatten(1), weight, bias)
        return F.conv2d(x, weight, bias, layer.stride, layer.kernel // 2, 1, layer.groups)


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
