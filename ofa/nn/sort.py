"""Channels in order of importance: a narrower subnet uses the first ones, so the first ones should matter most.

Channels that must move alike are a stream: a value computed on the way and all that is added to it, pooled from it,
gated by it or convolved depthwise, up to the next layer that mixes channels. Once-for-All (arXiv 1908.09791, section
3.3) sorts the inner channels of its blocks before it trains smaller expand ratios.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from ofa.nn import errors
from ofa.nn.blocks import ElasticOp, has_weights
from ofa.nn.supernet import Supernet
from ofa.space.core import Gene, SearchSpace, Subnet
from ofa.space.layers import Layer, layers_of
from ofa.space.ops import ops_of

Importance = Literal["input", "output"]
Permutations = Mapping[str, Sequence[tuple[int, Tensor]]]
Part = tuple[ElasticOp, tuple[Layer, ...]]
# Which op of the network, and which layer of it computed the value ("x" is what the op was given).
Value = tuple[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """A dimension of a parameter that runs over the channels of a stream, and which importance it counts for."""

    parameter: str
    dim: int
    counts: Importance | None


@torch.no_grad()
def sort_channels(supernet: Supernet, importance: Importance, trained: Mapping[str, int]) -> Permutations:
    """Put the channels of every elastic width in descending order of importance, in place.

    ``importance`` is "input", the L1 norm of the columns that read a channel (as in the reference), or "output", that
    of the rows that compute it, summed over all that read or compute it; squeeze-excite decides on no channels but its
    own. ``trained`` says how many of the largest choices of each kind of gene have been trained so far, such as
    {"expand": 2} for ratios 6 and 4 of (3, 4, 6); absent is 1, other kinds are ignored. Channels move within the groups
    that the trained widths cut them into, so all subnets trained so far compute what they did; others change. Inner
    channels of blocks and their squeeze-excite are always sorted, those of stages and of the stem where ``trained`` has
    "width". Statistics measured before fit no more.
    Returns what was done, by parameter name, for ``apply``. Raises UsageInvalid for another importance.
    """
    if importance not in get_args(Importance):
        raise errors.unknown_importance(importance, get_args(Importance))
    space = supernet.space
    parts = supernet.parts(space.corner("max"))
    parameters = dict(supernet.named_parameters())
    streams = _streams(parts)
    axes: dict[Value, list[_Axis]] = defaultdict(list)
    for value, axis in _axes(parts, {id(parameter): name for name, parameter in parameters.items()}):
        axes[streams[value]].append(axis)
    cuts = _widths(streams, _steps(space, trained.get("expand", 1), trained.get("width", 1)))
    every = max(len(gene.choices) for gene in space.genes if _kind(gene) in ("expand", "width"))
    elastic = _widths(streams, _steps(space, every, every if "width" in trained else 1))
    done: dict[str, list[tuple[int, Tensor]]] = defaultdict(list)
    for stream in (stream for stream, widths in elastic.items() if len(widths) > 1):
        norms = [_l1(parameters[axis.parameter], axis.dim) for axis in axes[stream] if axis.counts == importance]
        order = _descending(torch.stack(norms).sum(0), sorted(cuts[stream]))
        for axis in axes[stream]:
            done[axis.parameter].append((axis.dim, order))
    apply(done, parameters)
    return dict(done)


@torch.no_grad()
def apply(permutations: Permutations, tensors: Mapping[str, Tensor]) -> None:
    """Permute tensors as ``sort_channels`` permuted the parameters of the same names and shapes, in place.

    For what belongs to parameters: momentum, a moving average. Names that only one side has are left alone.
    """
    for name in permutations.keys() & tensors.keys():
        for dim, order in permutations[name]:
            tensor = tensors[name]
            tensor.copy_(tensor.index_select(dim, order.to(tensor.device)))


def _streams(parts: Sequence[Part]) -> dict[Value, Value]:
    """Return which stream each value of a network belongs to, named by one of its values."""
    streams: dict[Value, Value] = {(0, "x"): (0, "x")}
    for place, (_, layers) in enumerate(parts):
        for layer in layers:
            own = (place, layer.name)
            first, *others = [streams[place, name] for name in layer.inputs]
            streams[own] = own if _mixes(layer) else first
            for other in others:
                streams = {value: first if stream == other else stream for value, stream in streams.items()}
        streams[place + 1, "x"] = streams[place, layers[-1].name]
    return streams


def _axes(parts: Sequence[Part], names: Mapping[int, str]) -> Iterator[tuple[Value, _Axis]]:
    """Yield every dimension of every parameter with the value whose channels it runs over; ``names`` is by id."""
    for place, (op, layers) in enumerate(parts):
        # A gate reads and scales all channels of a block, but says little of what each of them is worth.
        excites = {layer.inputs[1] for layer in layers if layer.kind == "mul"}
        reduces = {layer.inputs[0] for layer in layers if layer.name in excites}
        for layer in filter(has_weights, layers):
            conv, own = op.conv(layer), (place, layer.name)
            weight, vectors = names[id(conv.weight)], [] if conv.bias is None else [conv.bias]
            if layer.norm:
                vectors += op.norm(layer).parameters()
            if _mixes(layer):
                reads: Importance | None = None if layer.name in reduces else "input"
                yield (place, layer.inputs[0]), _Axis(parameter=weight, dim=1, counts=reads)
            computes = _mixes(layer) and layer.name not in excites
            yield own, _Axis(parameter=weight, dim=0, counts="output" if computes else None)
            for vector in vectors:
                yield own, _Axis(parameter=names[id(vector)], dim=0, counts=None)


def _mixes(layer: Layer) -> bool:
    """Say whether a layer computes new channels, each from all it reads."""
    return has_weights(layer) and layer.groups == 1


def _steps(space: SearchSpace, expands: int, widths: int) -> Iterator[Subnet]:
    """Yield the deepest subnets with each of the largest ``expands`` ratios and ``widths`` widths throughout.

    They show every width that any mixture of these has: a channel count depends on one gene of either kind at most.
    """
    for smaller_expand in range(max(1, expands)):
        for smaller_width in range(max(1, widths)):
            genome = space.corner("max").array
            for column, gene in enumerate(space.genes):
                if _kind(gene) == "expand":
                    genome[column] = _nth_largest(gene, smaller_expand)
                elif _kind(gene) == "width":
                    genome[column] = _nth_largest(gene, smaller_width)
            yield space.subnet(genome)


def _kind(gene: Gene) -> str:
    """Return what varies: "expand", "width" (of a stage, or inside or behind the stem), or anything else."""
    kind = gene.name.rsplit(".", 1)[-1]
    return "width" if kind in ("mid", "out") else kind


def _nth_largest(gene: Gene, place: int) -> int:
    """Return the value of a gene that picks its largest choice (place 0), the next one, ..., at last the smallest."""
    descending = sorted(range(len(gene.choices)), key=lambda at: -gene.choices[at])
    return 1 + descending[min(place, len(descending) - 1)]


def _widths(streams: Mapping[Value, Value], subnets: Iterable[Subnet]) -> dict[Value, set[int]]:
    """Return the numbers of channels that each stream has in some subnets as deep as the largest one."""
    found: dict[Value, set[int]] = defaultdict(set)
    for subnet in subnets:
        for place, op in enumerate(ops_of(subnet)):
            for layer in layers_of(op):
                found[streams[place, layer.name]].add(layer.out_channels)
    return found


def _l1(weight: Tensor, dim: int) -> Tensor:
    """Return the L1 norm of each slice along a dimension, float64[n]."""
    return weight.abs().sum([other for other in range(weight.ndim) if other != dim], dtype=torch.float64)


def _descending(scores: Tensor, cuts: Sequence[int]) -> Tensor:
    """Return the order int64[n] that sorts scores [n] from high to low within each group; ``cuts`` end the groups."""
    orders = []
    for start, end in pairwise((0, *cuts)):
        orders.append(start + scores[start:end].argsort(descending=True, stable=True))
    return torch.cat(orders)
