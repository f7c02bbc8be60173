"""Writes a graph as a TFLite file, float32 or int8: NHWC, explicit padding where TFLite's differs, fused activations.

An int8 file takes and gives float32 all the same: its first operator quantizes the input, its last one the reverse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ofa.graphs.errors import layer_unsupported
from ofa.graphs.flatbuffer import Draft
from ofa.graphs.ir import INPUT, PLAIN, Array, Graph, Grid, Node, Shape, non_negative, pads_of, partial_window
from ofa.graphs.quantize import HIGHEST as HIGHEST_INT8
from ofa.graphs.quantize import LOWEST as LOWEST_INT8
from ofa.graphs.quantize import Quantized, grid_of, quantized
from ofa.space.layers import Layer

FUSED = {None: "NONE", "relu": "RELU", "relu6": "RELU6", "hswish": "NONE", "hsigmoid": "NONE"}
LOWEST = np.finfo(np.float32).min
# XNNPACK adds wrongly where a step is 256 or more of its sum's: here x / 6 in steps of x to 1 in 255 steps.
COARSEST_IN_PARTS = 4.0


class _File:
    """The draft of a file, which tensor holds what a graph's name stands for, and its integers where it has any."""

    def __init__(
        self, graph: Graph, numbers: Quantized | None = None, hard_swish: bool = True, takes_int8: bool = False
    ) -> None:
        self.draft = Draft()
        self.graph = graph
        self.numbers = numbers
        self.hard_swish = hard_swish
        self.non_negative = frozenset(non_negative(graph))
        grid = self.grid(INPUT) if takes_int8 else None
        dtype = "FLOAT32" if grid is None else "INT8"
        self.at = {INPUT: self.draft.tensor(INPUT, dimensions(graph.input), dtype, grid=grid)}

    def new(self, name: str, shape: Shape, like: str | None = None) -> int:
        """Add a tensor for values that are computed: on the grid of ``like``, or of its own name, in an int8 file."""
        grid = self.grid(like or name)
        return self.draft.tensor(name, dimensions(shape), "FLOAT32" if grid is None else "INT8", grid=grid)

    def grid(self, name: str) -> Grid | None:
        """Return what the integers of a map stand for; None in a float32 file."""
        return None if self.numbers is None else self.numbers.grids[name]

    def enum(self, kind: str, name: str) -> int:
        """Return a value of the schema's enumerations."""
        value: int = getattr(getattr(self.draft.schema, kind), name)
        return value

    def fused(self, act: str | None) -> int:
        """Return the activation an operator applies itself."""
        return self.enum("ActivationFunctionType", FUSED[act])


def write(graph: Graph) -> bytes:
    """Return the graph as a TFLite file: input "x" float32[1, H, W, C], every map NHWC.

    Raises PackageMissing without ai-edge-litert or flatbuffers, UsageInvalid for a layer TFLite has no operator for.
    """
    file = _File(graph)
    source = file.at[INPUT]
    return file.draft.finish([source], [_layers(file)])


def write_int8(
    graph: Graph, images: Array, *, hard_swish: bool = False, takes_int8: bool = False, gives_int8: bool = False
) -> bytes:
    """Return the graph as a TFLite file that computes in int8; input and output are those of ``write``, float32.

    Ranges are the least and largest value on ``images``, float32[n, C, H, W] as a user of the file would give.
    ``hard_swish`` writes an h-swish as the one operator HARD_SWISH, for a device whose delegate takes it in int8:
    XNNPACK, which runs int8 on a CPU, does not, and is left and entered again around each. ``takes_int8`` and
    ``gives_int8`` leave out the first and the last operator of these two: input and output are then int8, as between
    two layers of a network. Raises what ``write`` raises, UsageInvalid for images that do not fit, PackageMissing
    without onnx or onnxruntime.
    """
    numbers = quantized(graph, images)
    file = _File(numbers.graph, numbers, hard_swish, takes_int8)
    source = file.at[INPUT]
    if not takes_int8:
        inner = file.new(f"{INPUT}.int8", graph.input, like=INPUT)
        file.at[INPUT] = file.draft.operator("QUANTIZE", [source], inner, "QuantizeOptions")
    last = _layers(file)
    if gives_int8:
        return file.draft.finish([source], [last])
    result = file.draft.tensor(f"{graph.output}.float32", dimensions(graph.shapes[graph.output]))
    return file.draft.finish([source], [file.draft.operator("DEQUANTIZE", [last], result, "DequantizeOptions")])


def dimensions(shape: Shape) -> list[int]:
    """Return a shape as TFLite writes it."""
    return [1, *([shape.size] * 2 if shape.size else []), shape.channels]


def _layers(file: _File) -> int:
    """Add every layer; return the tensor of the last result."""
    for node in file.graph.nodes:
        file.at[node.name] = _layer(file, node)
    return file.at[file.graph.output]


def _layer(file: _File, node: Node) -> int:
    """Add one layer and its activation; return the tensor of the result."""
    layer, shape = node.layer, file.graph.shapes[node.name]
    apart = layer.act in ("hswish", "hsigmoid")
    output = file.new(f"{node.name}{PLAIN}" if apart else node.name, shape)
    _KINDS[layer.kind](file, node, [file.at[name] for name in node.inputs], output)
    if layer.act == "hswish":
        plain = file.grid(f"{node.name}{PLAIN}")
        if plain is not None and not file.hard_swish and plain.steps[0] < COARSEST_IN_PARTS:
            return _hard_swish_in_parts(file, node, output, plain)
        return file.draft.operator("HARD_SWISH", [output], file.new(node.name, shape), "HardSwishOptions")
    if layer.act == "hsigmoid":
        return _hard_sigmoid(file, node, output)
    return output


def _hard_sigmoid(file: _File, node: Node, plain: int) -> int:
    """Add relu6(x + 3) / 6: TFLite has no operator of its own."""
    shape = file.graph.shapes[node.name]
    three = file.draft.shared("three", np.array(3, np.float32))
    sixth = file.draft.shared("sixth", np.array(1 / 6, np.float32))
    clipped = file.new(f"{node.name}.clipped", shape)
    _binary(file, "ADD", [plain, three], clipped, "relu6")
    return _binary(file, "MUL", [clipped, sixth], file.new(node.name, shape), None)


def _hard_swish_in_parts(file: _File, node: Node, plain: int, grid: Grid) -> int:
    """Add x * (x / 6 + 0.5) in int8: the sum is cut at 0 and 1 by its grid, which ends there."""
    shape = dimensions(file.graph.shapes[node.name])
    factors = [_int8_number(file, name, value) for name, value in (("sixth", 1 / 6), ("half", 0.5))]
    # x / 6 has the integers of x: only what they stand for changes.
    finer = replace(grid, steps=(grid.steps[0] / 6,))
    sixth = file.draft.tensor(f"{node.name}.sixth", shape, "INT8", grid=finer)
    _binary(file, "MUL", [plain, factors[0]], sixth, None)
    gate = file.draft.tensor(f"{node.name}.gate", shape, "INT8", grid=grid_of(0, 1))
    _binary(file, "ADD", [sixth, factors[1]], gate, None)
    return _binary(file, "MUL", [plain, gate], file.new(node.name, file.graph.shapes[node.name]), None)


def _int8_number(file: _File, name: str, value: float) -> int:
    """Return the tensor of a positive number, as the last integer of a grid that ends at it."""
    return file.draft.shared(name, np.array(HIGHEST_INT8, np.int8), grid_of(0, value))


def _binary(file: _File, code: str, inputs: Sequence[int], output: int, act: str | None) -> int:
    options = {"ADD": "AddOptions", "MUL": "MulOptions"}[code]
    return file.draft.operator(code, inputs, output, options, fusedActivationFunction=file.fused(act))


def _elementwise(code: str, file: _File, node: Node, inputs: Sequence[int], output: int) -> None:
    _binary(file, code, inputs, output, node.layer.act)


def _padded(file: _File, node: Node, source: int) -> tuple[int, int]:
    """Return the tensor a conv or max pool reads and the padding scheme that makes it pad as we do.

    TFLite's SAME puts the odd row of padding at the end, we at the start: where they differ we pad explicitly.
    """
    layer = node.layer
    before, after = pads_of(layer)
    total = max(0, (layer.out_size - 1) * layer.stride + layer.kernel - layer.in_size)
    if (before, after) == (total // 2, total - total // 2):
        return source, file.enum("Padding", "SAME")
    pads = file.draft.shared(
        f"{node.name}.pads", np.array([[0, 0], [before, after], [before, after], [0, 0]], np.int32)
    )
    shape = Shape(channels=layer.in_channels, size=layer.in_size + before + after)
    padded = file.new(f"{node.name}.padded", shape, like=node.inputs[0])
    if layer.kind == "maxpool" and node.inputs[0] not in file.non_negative:
        # The maximum of a window must never be its padding; only where nothing is negative zeros do as well.
        grid = file.grid(node.inputs[0])
        value = np.array(LOWEST, np.float32) if grid is None else np.array(LOWEST_INT8, np.int8)
        lowest = file.draft.shared("lowest", value, grid)
        file.draft.operator("PADV2", [source, pads, lowest], padded, "PadV2Options")
    else:
        file.draft.operator("PAD", [source, pads], padded, "PadOptions")
    return padded, file.enum("Padding", "VALID")


def _conv(file: _File, node: Node, inputs: Sequence[int], output: int) -> None:
    layer = node.layer
    source, padding = _padded(file, node, inputs[0])
    options = {
        "padding": padding,
        "strideH": layer.stride,
        "strideW": layer.stride,
        "dilationHFactor": 1,
        "dilationWFactor": 1,
        "fusedActivationFunction": file.fused(layer.act),
    }
    if layer.groups == 1:
        read = [source, *_weights(file, node, (0, 2, 3, 1))]
        file.draft.operator("CONV_2D", read, output, "Conv2DOptions", **options)
    elif layer.groups == layer.in_channels == layer.out_channels:
        read = [source, *_weights(file, node, (1, 2, 3, 0))]
        options["depthMultiplier"] = 1
        file.draft.operator("DEPTHWISE_CONV_2D", read, output, "DepthwiseConv2DOptions", **options)
    else:
        why = f"it has {layer.groups} groups of {layer.in_channels} channels; only depthwise groups are known"
        raise layer_unsupported(node.name, "TFLite", why)


def _linear(file: _File, node: Node, inputs: Sequence[int], output: int) -> None:
    layer = node.layer
    shape = np.array([1, layer.in_channels], np.int32)
    flat = file.new(f"{node.name}.flat", Shape(channels=layer.in_channels, size=0), like=node.inputs[0])
    file.draft.operator(
        "RESHAPE", [inputs[0], file.draft.shared(f"{node.name}.shape", shape)], flat, "ReshapeOptions", newShape=shape
    )
    read = [flat, *_weights(file, node, (0, 1))]
    act = file.fused(layer.act)
    file.draft.operator("FULLY_CONNECTED", read, output, "FullyConnectedOptions", fusedActivationFunction=act)


def _weights(file: _File, node: Node, order: tuple[int, ...]) -> tuple[int, int]:
    """Return the tensors of a layer's weight, its axes put in TFLite's order, and of its bias.

    The bias is zeros where a layer has none: not every delegate takes a conv without one.
    """
    names = f"{node.name}.weight", f"{node.name}.bias"
    if file.numbers is not None:
        own = file.numbers.integers[node.name]
        grid = replace(own.weight_grid, axis=order.index(0))
        weight = file.draft.constant(names[0], own.weight.transpose(order), grid)
        return weight, file.draft.constant(names[1], own.bias, own.bias_grid)
    assert node.weight is not None
    bias = np.zeros(node.layer.out_channels, np.float32) if node.bias is None else node.bias
    return file.draft.constant(names[0], node.weight.transpose(order)), file.draft.constant(names[1], bias)


def _global_pool(file: _File, node: Node, inputs: Sequence[int], output: int) -> None:
    axes = file.draft.shared("axes", np.array([1, 2], np.int32))
    file.draft.operator("MEAN", [inputs[0], axes], output, "ReducerOptions", keepDims=True)
    _no_activation(node)


def _max_pool(file: _File, node: Node, inputs: Sequence[int], output: int) -> None:
    source, padding = _padded(file, node, inputs[0])
    _pool(file, "MAX_POOL_2D", node.layer, source, output, padding)


def _average_pool(file: _File, node: Node, inputs: Sequence[int], output: int) -> None:
    """Average only real elements: SAME does so, and hangs over the far edge alone while it is by one row."""
    layer = node.layer
    if partial_window(layer) and layer.out_size * layer.stride - layer.in_size > 1:
        why = f"an average pool of {layer.kernel} x {layer.kernel} does not divide a map of {layer.in_size}"
        raise layer_unsupported(node.name, "TFLite", why)
    padding = file.enum("Padding", "SAME" if partial_window(layer) else "VALID")
    _pool(file, "AVERAGE_POOL_2D", layer, inputs[0], output, padding)


def _pool(file: _File, code: str, layer: Layer, source: int, output: int, padding: int) -> None:
    window: dict[str, Any] = {
        "filterHeight": layer.kernel,
        "filterWidth": layer.kernel,
        "strideH": layer.stride,
        "strideW": layer.stride,
    }
    act = file.fused(layer.act)
    file.draft.operator(code, [source], output, "Pool2DOptions", padding=padding, fusedActivationFunction=act, **window)


def _no_activation(node: Node) -> None:
    if node.layer.act in ("relu", "relu6"):
        raise layer_unsupported(node.name, "TFLite", f"'{node.layer.kind}' cannot apply '{node.layer.act}' itself")


_KINDS: dict[str, Callable[[_File, Node, Sequence[int], int], None]] = {
    "conv": _conv,
    "linear": _linear,
    "gap": _global_pool,
    "maxpool": _max_pool,
    "avgpool": _average_pool,
    "mul": partial(_elementwise, "MUL"),
    "add": partial(_elementwise, "ADD"),
}
