"""Writes a graph as a TFLite file: NHWC, explicit padding where TFLite's own differs from ours, fused activations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ofa.graphs.errors import layer_unsupported
from ofa.graphs.flatbuffer import Draft
from ofa.graphs.ir import INPUT, Array, Graph, Node, Shape, non_negative, pads_of, partial_window
from ofa.space.layers import Layer

FUSED = {None: "NONE", "relu": "RELU", "relu6": "RELU6", "hswish": "NONE", "hsigmoid": "NONE"}
LOWEST = np.finfo(np.float32).min


class _File:
    """The draft of a file, and which tensor holds what a graph's name stands for."""

    def __init__(self, graph: Graph) -> None:
        self.draft = Draft()
        self.graph = graph
        self.non_negative = frozenset(non_negative(graph))
        self.at = {INPUT: self.draft.tensor(INPUT, dimensions(graph.input))}

    def new(self, name: str, shape: Shape) -> int:
        """Add a tensor for values that are computed."""
        return self.draft.tensor(name, dimensions(shape))

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
    for node in graph.nodes:
        file.at[node.name] = _layer(file, node)
    return file.draft.finish([file.at[INPUT]], [file.at[graph.output]])


def dimensions(shape: Shape) -> list[int]:
    """Return a shape as TFLite writes it."""
    return [1, *([shape.size] * 2 if shape.size else []), shape.channels]


def _layer(file: _File, node: Node) -> int:
    """Add one layer and its activation; return the tensor of the result."""
    layer, shape = node.layer, file.graph.shapes[node.name]
    apart = layer.act in ("hswish", "hsigmoid")
    output = file.new(f"{node.name}.plain" if apart else node.name, shape)
    _KINDS[layer.kind](file, node, [file.at[name] for name in node.inputs], output)
    if layer.act == "hswish":
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
    padded = file.new(f"{node.name}.padded", shape)
    if layer.kind == "maxpool" and node.inputs[0] not in file.non_negative:
        # The maximum of a window must never be its padding; only where nothing is negative zeros do as well.
        lowest = file.draft.shared("lowest", np.array(LOWEST, np.float32))
        file.draft.operator("PADV2", [source, pads, lowest], padded, "PadV2Options")
    else:
        file.draft.operator("PAD", [source, pads], padded, "PadOptions")
    return padded, file.enum("Padding", "VALID")


def _conv(file: _File, node: Node, inputs: Sequence[int], output: int) -> None:
    layer, weight = node.layer, _weight(node)
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
        kernel = file.draft.constant(f"{node.name}.weight", weight.transpose(0, 2, 3, 1))
        file.draft.operator("CONV_2D", [source, kernel, _bias(file, node)], output, "Conv2DOptions", **options)
    elif layer.groups == layer.in_channels == layer.out_channels:
        kernel = file.draft.constant(f"{node.name}.weight", weight.transpose(1, 2, 3, 0))
        options["depthMultiplier"] = 1
        read = [source, kernel, _bias(file, node)]
        file.draft.operator("DEPTHWISE_CONV_2D", read, output, "DepthwiseConv2DOptions", **options)
    else:
        why = f"it has {layer.groups} groups of {layer.in_channels} channels; only depthwise groups are known"
        raise layer_unsupported(node.name, "TFLite", why)


def _linear(file: _File, node: Node, inputs: Sequence[int], output: int) -> None:
    layer = node.layer
    shape = np.array([1, layer.in_channels], np.int32)
    flat = file.draft.tensor(f"{node.name}.flat", shape.tolist())
    file.draft.operator(
        "RESHAPE", [inputs[0], file.draft.shared(f"{node.name}.shape", shape)], flat, "ReshapeOptions", newShape=shape
    )
    kernel = file.draft.constant(f"{node.name}.weight", _weight(node))
    read = [flat, kernel, _bias(file, node)]
    act = file.fused(layer.act)
    file.draft.operator("FULLY_CONNECTED", read, output, "FullyConnectedOptions", fusedActivationFunction=act)


def _weight(node: Node) -> Array:
    assert node.weight is not None
    return node.weight


def _bias(file: _File, node: Node) -> int:
    """Return the bias tensor, of zeros where a layer has none: not every delegate takes a conv without one."""
    bias = np.zeros(node.layer.out_channels, np.float32) if node.bias is None else node.bias
    return file.draft.constant(f"{node.name}.bias", bias)


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
