"""The supernet of a space: built from its declaration, run as any subnet, taken apart into plain networks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from ofa.nn import errors
from ofa.nn.blocks import ElasticOp, Finish, PlainOp, batch_statistics
from ofa.nn.calibrate import Statistics
from ofa.space import ops
from ofa.space.core import SearchSpace, Subnet
from ofa.space.layers import Layer, layers_of


class Supernet(nn.Module):
    """All weights of a space. It has no active subnet: each call names the one it means."""

    def __init__(self, space: SearchSpace, generator: torch.Generator) -> None:
        super().__init__()
        self.space = space
        largest = [layers_of(op) for op in ops.ops_of(space.corner("max"))]
        kernels = [stage.kernels for stage in space.stages for _ in range(max(stage.depths))]
        self.stem = ElasticOp(largest[0], (), generator)
        blocks = iter([ElasticOp(*place, generator) for place in zip(largest[1:-1], kernels, strict=True)])
        self.stages = nn.ModuleList(
            nn.ModuleList(next(blocks) for _ in range(max(stage.depths))) for stage in space.stages
        )
        self.head = ElasticOp(largest[-1], (), generator)

    def parts(self, subnet: Subnet) -> list[tuple[ElasticOp, tuple[Layer, ...]]]:
        """Return the elastic ops a subnet runs through with the layers they run as, parallel to ``ops_of(subnet)``.

        Raises SpaceMismatch where the subnet is of another space.
        """
        if subnet.space != self.space:
            raise errors.other_space(subnet.space.id, self.space.id)
        active = [self.stem]
        for stage, depth in zip(self.stages, subnet.depths, strict=True):
            assert isinstance(stage, nn.ModuleList)
            active += [block for block in stage[:depth] if isinstance(block, ElasticOp)]
        return list(zip([*active, self.head], _layers(subnet), strict=True))

    def check_images(self, x: Tensor, subnet: Subnet) -> None:
        """Raise UsageInvalid unless images are float[n, channels, r, r] at the subnet's resolution r."""
        if tuple(x.shape[1:]) != (self.space.channels, subnet.resolution, subnet.resolution):
            raise errors.wrong_images(tuple(x.shape), self.space.channels, subnet.resolution)

    def forward(
        self,
        x: Tensor,
        subnet: Subnet,
        statistics: Statistics | None = None,
        dropout: tuple[float, torch.Generator] | None = None,
        finish: Finish = batch_statistics,
    ) -> Tensor:
        """Return the logits [n, classes] of a subnet for images float[n, channels, r, r] at its resolution r.

        Without ``statistics`` each normalisation uses the batch's own (training); with them, those that
        ``ofa.nn.calibrate`` measured for this subnet. ``dropout`` is the share of the classifier's inputs that are
        dropped, and what draws them. ``finish`` is what normalises by the batch (see `ofa.nn.regional`). Raises
        SpaceMismatch for a subnet of another space and UsageInvalid for images of another size or statistics of another
        subnet.
        """
        parts = self.parts(subnet)
        self.check_images(x, subnet)
        if statistics is not None:
            statistics.check(subnet)
        for at, (op, layers) in enumerate(parts):
            own = finish if statistics is None else statistics.of_op(at)
            x = op(x, layers, own, dropout if op is self.head else None)
        return x


class PlainNet(nn.Module):
    """One subnet with weights of its own; ``ops`` is parallel to ``ops_of(subnet)``."""

    def __init__(self, layers: Sequence[Sequence[Layer]]) -> None:
        super().__init__()
        self.ops = nn.ModuleList(PlainOp(inside) for inside in layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [n, classes] for images float[n, channels, r, r]."""
        for op in self.ops:
            x = op(x)
        return x


def build(space: SearchSpace, *, seed: int = 0) -> Supernet:
    """Build the supernet of a space with random weights (He, fan-out; kernel transforms identity)."""
    return Supernet(space, torch.Generator().manual_seed(seed))


def extract(supernet: Supernet, subnet: Subnet, statistics: Statistics | None = None) -> PlainNet:
    """Copy a subnet out of the supernet, in eval mode: with ``statistics`` it gives the supernet's output with them.

    Without, its normalisations keep mean 0 and variance 1, as in a network that has seen no data.
    Raises SpaceMismatch for a subnet of another space, UsageInvalid for statistics of another subnet.
    """
    parts = supernet.parts(subnet)
    if statistics is not None:
        statistics.check(subnet)
    plain = PlainNet([layers for _, layers in parts]).to(next(supernet.parameters()))
    with torch.no_grad():
        for at, (op, layers) in enumerate(parts):
            for layer in (layer for layer in layers if layer.kind in ("conv", "linear")):
                _copy(op, layer, plain.ops[at].get_submodule(layer.name))
                if layer.norm and statistics is not None:
                    norm = plain.ops[at].get_submodule(f"{layer.name}.norm")
                    norm.running_mean, norm.running_var = (v.clone() for v in statistics.moments[at][layer.name])
    return plain.eval()


def _copy(op: ElasticOp, layer: Layer, into: nn.Module) -> None:
    """Copy what a layer uses of its elastic op into a plain module."""
    target = into.get_submodule("conv") if layer.kind == "conv" else into
    weight, bias = op.conv(layer).slices(layer)
    pairs = [(target.weight, weight)]
    if bias is not None:
        pairs.append((target.bias, bias))
    if layer.norm:
        norm = into.get_submodule("norm")
        pairs += zip((norm.weight, norm.bias), op.norm(layer).slices(layer.out_channels), strict=True)
    for parameter, values in pairs:
        assert isinstance(parameter, nn.Parameter)
        parameter.copy_(values)


@lru_cache(maxsize=4096)
def _layers(subnet: Subnet) -> tuple[tuple[Layer, ...], ...]:
    """Return the layers of each op of a subnet; kept, since a run asks for the same corners at every step."""
    return tuple(layers_of(op) for op in ops.ops_of(subnet))
