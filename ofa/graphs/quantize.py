"""Integers for a graph's numbers: how far its values reach on calibration images, and int8 weights and maps from that.

The scheme is that of TFLite's int8 operators (Jacob et al. 2018, "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference"; TensorFlow Lite 8-bit quantization specification): a map has one step and
one zero point, zero always being an integer; the weights of a convolution have one step for each output channel and
are symmetric; a bias is int32 in steps of input times weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ofa.graphs import onnx, run
from ofa.graphs.errors import calibration_misshapen, calibration_missing, calibration_not_finite, layer_unsupported
from ofa.graphs.ir import INPUT, PLAIN, WEIGHTED, Array, Graph, Grid, Node

LOWEST, HIGHEST = -128, 127
MOST_BIAS = 1 << 30  # leaves half of int32 to the sum of products
# A map finer than its inputs by more than this gains nothing, and runtimes refuse to multiply by more than 255.
FINEST = 1 / 64
SMALLEST_STEP = 1e-8  # 6 in such steps still is an int32, as the cut of a ReLU6 must be
# A weight step this much finer than what moves a result by one step rounds nothing that could be seen.
FINEST_WEIGHT = 2.0**-20
COARSEST_WEIGHT = 128.0  # runtimes refuse more than 255; only an h-sigmoid, whose grid is given, comes near it

Range = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Integers:
    """The weight of a layer in int8, shaped as in its node, and its bias in int32, with what they stand for."""

    weight: NDArray[np.int8]
    weight_grid: Grid
    bias: NDArray[np.int32]
    bias_grid: Grid


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quantized:
    """A graph without h-sigmoids, the grid of every map by name (".plain" before an h-swish), weights by node."""

    graph: Graph
    grids: Mapping[str, Grid]
    integers: Mapping[str, Integers]


def quantized(graph: Graph, images: Array) -> Quantized:
    """Return integers for a graph, with ranges from float32[n, C, H, W] images as a user of the file would give.

    Raises UsageInvalid for images of another shape, for none at all, and for a layer int8 has no form of.
    """
    ranges, bounded = ranges_of(graph, images), _hard_sigmoids(graph)
    graph = saturating(graph)
    grids = {INPUT: grid_of(*ranges[INPUT])}
    integers: dict[str, Integers] = {}
    for node in graph.nodes:
        sources = [grids[name] for name in node.inputs]
        if node.layer.kind in ("maxpool", "avgpool"):
            grids[node.name] = sources[0]
            continue
        first = f"{node.name}{PLAIN}" if node.layer.act == "hswish" else node.name
        # Only a grid that ends at 1 cuts there.
        grids[first] = grid_of(*ranges[first], least=0.0 if node.name in bounded else _least(node, sources))
        if node.layer.kind in WEIGHTED:
            integers[node.name] = _integers(node, sources[0], grids[first])
        if first != node.name:
            grids[node.name] = grid_of(*ranges[node.name], least=grids[first].steps[0] * FINEST)
    return Quantized(graph=graph, grids=grids, integers=integers)


def checked_images(graph: Graph, images: Array) -> Array:
    """Return calibration images, or raise UsageInvalid unless they are finite float32[n, C, H, W] with n >= 1."""
    expected = ("n", graph.input.channels, graph.input.size, graph.input.size)
    if images.ndim != 4 or images.shape[1:] != expected[1:] or images.dtype != np.float32:
        raise calibration_misshapen(expected=expected, found=f"{images.shape}, {images.dtype}")
    if not len(images):
        raise calibration_missing()
    if not np.isfinite(images).all():
        raise calibration_not_finite()
    return images


def ranges_of(graph: Graph, images: Array) -> dict[str, Range]:
    """Return the least and the largest value of "x" and of every value that ``onnx.watched_values`` lists.

    An h-sigmoid has 0 and 1, whatever the images; every other range is what float32 arithmetic gives in onnxruntime.
    """
    images = checked_images(graph, images)
    low = {INPUT: float(images.min())}
    high = {INPUT: float(images.max())}
    owners = {name: owner for owner, name in onnx.watched_values(graph).items()}
    for values in run.watch(onnx.write(graph, watched=True), images):
        for name, value in values.items():
            owner = owners[name]
            low[owner] = min(low.get(owner, np.inf), float(value.min()))
            high[owner] = max(high.get(owner, -np.inf), float(value.max()))
    return {name: (low[name], high[name]) for name in low} | dict.fromkeys(_hard_sigmoids(graph), (0.0, 1.0))


def _hard_sigmoids(graph: Graph) -> frozenset[str]:
    """Return the nodes that end in an h-sigmoid."""
    return frozenset(node.name for node in graph.nodes if node.layer.act == "hsigmoid")


def saturating(graph: Graph) -> Graph:
    """Return the graph with every h-sigmoid moved into its convolution: x / 6 + 0.5, which int8 itself cuts at 0 and 1.

    Exact because the grid of such a layer ends at 0 and at 1. Raises UsageInvalid for an h-sigmoid of another layer.
    """
    return replace(graph, nodes=tuple(_saturating(graph.nodes)))


def _saturating(nodes: Iterable[Node]) -> Iterable[Node]:
    for node in nodes:
        if node.layer.act != "hsigmoid":
            yield node
            continue
        if node.weight is None:
            why = f"an h-sigmoid after a layer of kind '{node.layer.kind}' has no form in int8"
            raise layer_unsupported(node.name, "int8", why)
        bias = np.full(len(node.weight), 0.5, np.float32) + (0 if node.bias is None else node.bias / np.float32(6))
        yield replace(node, layer=replace(node.layer, act=None), weight=node.weight / np.float32(6), bias=bias)


def grid_of(low: float, high: float, *, least: float = 0.0) -> Grid:
    """Return the grid of 255 steps over a range widened to hold 0; no step is below ``least`` or 1e-8, 0 gives 1."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = float(np.float32(max(max((high - low) / (HIGHEST - LOWEST), least) or 1.0, SMALLEST_STEP)))
    return Grid(steps=(step,), zero=min(HIGHEST, max(LOWEST, round(LOWEST - low / step))))


def _least(node: Node, sources: list[Grid]) -> float:
    """Return the finest step of a layer's result that still means something, before any h-swish."""
    steps = [source.steps[0] for source in sources]
    if node.layer.kind in WEIGHTED:
        # Weights that are all 0 ask for nothing, and must not make what their result is added to coarse.
        return steps[0] * (float(_widest(node).max()) / HIGHEST * FINEST or FINEST_WEIGHT)
    if node.layer.kind == "mul":
        # Above the step of the product itself, as the second version of the operator asks for.
        return steps[0] * steps[1] * 1.001
    return max(steps) * FINEST


def _widest(node: Node) -> NDArray[np.float64]:
    """Return the largest weight of each output channel, or of all for a linear layer: old runtimes know no other."""
    assert node.weight is not None
    widest: NDArray[np.float64] = np.abs(node.weight).reshape(len(node.weight), -1).max(axis=1).astype(np.float64)
    return widest.max(keepdims=True) if node.layer.kind == "linear" else widest


def _integers(node: Node, source: Grid, result: Grid) -> Integers:
    """Return the integers of a layer's weight and bias; a bias too large for its channel's step makes that coarser."""
    assert node.weight is not None
    bias = np.zeros(len(node.weight)) if node.bias is None else node.bias.astype(np.float64)
    step_in, step_out = source.steps[0], result.steps[0]
    needed = np.abs(bias) / (step_in * MOST_BIAS)
    widest = _widest(node)
    needed = needed.max(keepdims=True) if len(widest) == 1 else needed
    steps = np.maximum(widest / HIGHEST, np.maximum(needed, FINEST_WEIGHT * step_out / step_in))
    steps = np.minimum(steps, COARSEST_WEIGHT * step_out / step_in).astype(np.float32)
    weight = np.rint(node.weight / steps.reshape(-1, *[1] * (node.weight.ndim - 1)))
    bias_steps = np.float32(step_in) * steps
    return Integers(
        weight=np.clip(weight, -HIGHEST, HIGHEST).astype(np.int8),
        weight_grid=Grid(steps=tuple(steps.tolist())),
        bias=np.clip(np.rint(bias / bias_steps.astype(np.float64)), -MOST_BIAS, MOST_BIAS).astype(np.int32),
        bias_grid=Grid(steps=tuple(bias_steps.tolist())),
    )
