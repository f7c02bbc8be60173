"""The small graph that every file comes from: an op with random weights, or a whole subnet with trained ones."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ofa.graphs.errors import ops_apart, weight_misshapen, weight_not_finite, weights_missing
from ofa.space.layers import Layer, layers_of
from ofa.space.ops import Op

Array = NDArray[np.float32]
Weights = tuple[Array, Array | None]

INPUT = "x"
PLAIN = ".plain"  # what a node's name gets for its values before an activation that is an operator of its own
WEIGHTED = ("conv", "linear")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Channels and the edge of a square map, batch 1; ``size`` 0 is a vector without a map."""

    channels: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Node:
    """One layer in its place: its name in the graph ("3.depthwise"), and the names of what it reads.

    ``weight``: OIHW for a conv, [out, in] for a linear layer, batch norm folded in; ``bias``: [out].
    """

    name: str
    layer: Layer
    inputs: tuple[str, ...]
    weight: Array | None = None
    bias: Array | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Graph:
    """Nodes in execution order; the last one is the output. ``shapes`` has every name, and "x" for the input."""

    nodes: tuple[Node, ...]
    shapes: Mapping[str, Shape]

    @property
    def input(self) -> Shape:
        """Return the shape of the input."""
        return self.shapes[INPUT]

    @property
    def output(self) -> str:
        """Return the name of the output."""
        return self.nodes[-1].name

    @property
    def weight_bytes(self) -> int:
        """Return the bytes of all weights and biases, fp32."""
        return sum(array.nbytes for node in self.nodes for array in (node.weight, node.bias) if array is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What integers stand for: ``step * (integer - zero)``, with one step, or one for each place along ``axis``."""

    steps: tuple[float, ...]
    zero: int = 0
    axis: int = 0


def graph_of(ops: Sequence[Op], weights: Sequence[Mapping[str, Weights]] | None = None, seed: int = 0) -> Graph:
    """Chain ops (one, or those of a subnet in network order) into one graph.

    ``weights[i]`` maps the layer names of ``ops[i]`` to (weight, bias), batch norm folded in; None gives random ones
    (He et al. 2015, uniform), which depend on the op and ``seed`` alone: an op has the same weights, byte for byte,
    wherever it stands. Raises SpaceMismatch where ops do not fit together or weights do not fit their layers, and
    FileInvalid where a weight is not finite.
    """
    if weights is not None and len(weights) != len(ops):
        raise weights_missing("of a whole network", expected=f"{len(ops)} ops", found=f"those of {len(weights)}")
    nodes: list[Node] = []
    shapes: dict[str, Shape] = {}
    last = INPUT
    for place, op in enumerate(ops):
        takes = Shape(channels=op.in_channels, size=op.in_size)
        if shapes.setdefault(last, takes) != takes:
            raise ops_apart(ops[place - 1].key, op.key)
        layers = layers_of(op)
        given = random_weights(op, seed) if weights is None else _checked(op, layers, weights[place])
        for layer in layers:
            weight, bias = given.get(layer.name, (None, None))
            inputs = tuple(last if name == INPUT else f"{place}.{name}" for name in layer.inputs)
            node = Node(name=f"{place}.{layer.name}", layer=layer, inputs=inputs, weight=weight, bias=bias)
            nodes.append(node)
            size = 0 if layer.kind == "linear" else layer.out_size
            shapes[node.name] = Shape(channels=layer.out_channels, size=size)
        last = nodes[-1].name
    return Graph(nodes=tuple(nodes), shapes=shapes)


def random_weights(op: Op, seed: int = 0) -> dict[str, Weights]:
    """Return random weights for the layers of an op, by layer name.

    He-uniform: the bits of a uniform number are the same on every machine, those of a normal one need a libm.
    """
    found: dict[str, Weights] = {}
    for layer in layers_of(op):
        if layer.kind not in WEIGHTED:
            continue
        digest = hashlib.sha256(f"{op.key}/{layer.name}/{seed}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
        shape = weight_shape(layer)
        # Variance 2 / fan-in before an activation, 1 / fan-in where none follows: values keep their size in depth.
        limit = np.float32(math.sqrt((3 if layer.act is None else 6) / math.prod(shape[1:])))
        weight = (rng.random(shape, dtype=np.float32) * 2 - 1) * limit
        bias = (rng.random(shape[0], dtype=np.float32) - np.float32(0.5)) * np.float32(0.1)
        found[layer.name] = (weight, bias if layer.norm or layer.bias else None)
    return found


def weight_shape(layer: Layer) -> tuple[int, ...]:
    """Return the shape of a layer's weight: OIHW for a conv, [out, in] for a linear layer."""
    if layer.kind == "linear":
        return layer.out_channels, layer.in_channels
    return layer.out_channels, layer.in_channels // layer.groups, layer.kernel, layer.kernel


def _checked(op: Op, layers: Sequence[Layer], given: Mapping[str, Weights]) -> dict[str, Weights]:
    """Return weights as contiguous float32 arrays, after checking names, shapes and values."""
    weighted = {layer.name: layer for layer in layers if layer.kind in WEIGHTED}
    if set(weighted) != set(given):
        raise weights_missing(op.key, expected=sorted(weighted), found=sorted(given))
    return {name: tuple_of(op, layer, *given[name]) for name, layer in weighted.items()}


def tuple_of(op: Op, layer: Layer, weight: Array, bias: Array | None) -> Weights:
    """Return a layer's (weight, bias) as contiguous float32 arrays, or raise."""
    shape = weight_shape(layer)
    checked = _array(op, layer, "weight", weight, shape)
    return checked, None if bias is None else _array(op, layer, "bias", bias, shape[:1])


def _array(op: Op, layer: Layer, part: str, value: Array, shape: tuple[int, ...]) -> Array:
    array = np.ascontiguousarray(value, dtype=np.float32)
    if array.shape != shape:
        raise weight_misshapen(op.key, layer.name, part, expected=shape, found=array.shape)
    if not np.isfinite(array).all():
        raise weight_not_finite(op.key, layer.name, part)
    return array


def pads_of(layer: Layer) -> tuple[int, int]:
    """Return the rows (equally the columns) of padding that a conv or max pool reads before and after its map.

    Both pad ``kernel // 2`` on either side; the last rows may stay unread where the stride does not reach them.
    """
    before = layer.kernel // 2
    read = (layer.out_size - 1) * layer.stride + layer.kernel
    return before, max(0, read - before - layer.in_size)


def partial_window(layer: Layer) -> bool:
    """Say whether the last window of an average pool hangs over the edge of the map."""
    return layer.out_size * layer.stride > layer.in_size


def non_negative(graph: Graph) -> Iterator[str]:
    """List the names whose values are never below zero, as far as their activation alone tells."""
    for node in graph.nodes:
        if node.layer.act in ("relu", "relu6", "hsigmoid"):
            yield node.name
