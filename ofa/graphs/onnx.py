"""Writes a graph as an ONNX file that old and new versions of onnxruntime load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ofa.errors import package_missing
from ofa.graphs.errors import opset_too_old
from ofa.graphs.ir import INPUT, PLAIN, Graph, Node, Shape, partial_window

if TYPE_CHECKING:
    import onnx

OUTPUT = "y"
OLDEST_OPSET = 11  # Clip takes its limits as inputs from here on
HARD_SWISH_SINCE = 14


class _Draft:
    """Nodes and constants of a file in the making."""

    def __init__(self, helper: Any, from_array: Any, opset: int) -> None:
        self.helper = helper
        self.from_array = from_array
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node, named after its output."""
        self.nodes.append(self.helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: NDArray[np.float32]) -> str:
        """Keep an array once."""
        if name not in self.constants:
            self.constants[name] = self.from_array(value, name)
        return name


def write(graph: Graph, *, opset: int = 17, ir_version: int = 8, watched: bool = False) -> bytes:
    """Return the graph as an ONNX file: input "x" float32[1, C, H, W], output "y".

    ``opset`` and ``ir_version`` are the newest the device's runtime reads. A ``watched`` file has more outputs: all
    that ``watched_values`` lists. Raises MeasurementRefused for an opset before 11, PackageMissing without onnx.
    """
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as fault:
        raise package_missing("onnx", extra="bench", needed_for="writing ONNX files") from fault
    if opset < OLDEST_OPSET:
        raise opset_too_old(opset, oldest=OLDEST_OPSET)
    draft = _Draft(helper, numpy_helper.from_array, opset)
    for node in graph.nodes:
        _layer(draft, node, _value(graph, node))

    def value(name: str, shape: Shape) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, dimensions(shape))

    seen = watched_values(graph) if watched else {}
    outputs = {OUTPUT: graph.output} | {name: owner.removesuffix(PLAIN) for owner, name in seen.items()}
    body = helper.make_graph(
        draft.nodes,
        "network",
        [value(INPUT, graph.input)],
        [value(name, graph.shapes[owner]) for name, owner in outputs.items()],
        list(draft.constants.values()),
    )
    model = helper.make_model(
        body, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version, producer_name="ofa-lab"
    )
    return bytes(model.SerializeToString(deterministic=True))


def watched_values(graph: Graph) -> dict[str, str]:
    """Return the outputs of a watched file: a node's name, or that and ".plain" before its h-swish, to their names."""
    found = {node.name: _value(graph, node) for node in graph.nodes}
    apart = [node for node in graph.nodes if node.layer.act == "hswish"]
    return found | {f"{node.name}{PLAIN}": f"{_value(graph, node)}{PLAIN}" for node in apart}


def _value(graph: Graph, node: Node) -> str:
    """Return the name a node's result has in the file."""
    return OUTPUT if node.name == graph.output else node.name


def dimensions(shape: Shape) -> list[int]:
    """Return a shape as ONNX writes it."""
    return [1, shape.channels, *([shape.size] * 2 if shape.size else [])]


def _layer(draft: _Draft, node: Node, output: str) -> None:
    """Add one layer and its activation."""
    plain = output if node.layer.act is None else f"{output}{PLAIN}"
    _KINDS[node.layer.kind](draft, node, plain)
    if node.layer.act is not None:
        _activation(draft, node.layer.act, plain, output)


def _weighted(draft: _Draft, node: Node, inputs: Sequence[str]) -> list[str]:
    assert node.weight is not None
    names = [*inputs, draft.constant(f"{node.name}.weight", node.weight)]
    if node.bias is not None:
        names.append(draft.constant(f"{node.name}.bias", node.bias))
    return names


def _conv(draft: _Draft, node: Node, output: str) -> None:
    layer = node.layer
    draft.node(
        "Conv",
        _weighted(draft, node, node.inputs),
        output,
        kernel_shape=[layer.kernel] * 2,
        strides=[layer.stride] * 2,
        pads=[layer.kernel // 2] * 4,
        group=layer.groups,
    )


def _linear(draft: _Draft, node: Node, output: str) -> None:
    flat = draft.node("Flatten", node.inputs, f"{output}.flat", axis=1)
    draft.node("Gemm", _weighted(draft, node, [flat]), output, transB=1)


def _max_pool(draft: _Draft, node: Node, output: str) -> None:
    layer = node.layer
    window = {"kernel_shape": [layer.kernel] * 2, "strides": [layer.stride] * 2}
    draft.node("MaxPool", node.inputs, output, pads=[layer.kernel // 2] * 4, **window)


def _average_pool(draft: _Draft, node: Node, output: str) -> None:
    """Average only real elements: nothing is padded, and a window that hangs over counts what it covers."""
    layer = node.layer
    window = {"kernel_shape": [layer.kernel] * 2, "strides": [layer.stride] * 2}
    edge = {"ceil_mode": 1, "count_include_pad": 0} if partial_window(layer) else {}
    draft.node("AveragePool", node.inputs, output, **window, **edge)


def _plain(kind: str, draft: _Draft, node: Node, output: str) -> None:
    """Add a layer that is one operator without attributes."""
    draft.node(kind, node.inputs, output)


def _activation(draft: _Draft, act: str, plain: str, output: str) -> None:
    if act == "relu":
        draft.node("Relu", [plain], output)
    elif act == "relu6":
        limits = [draft.constant(str(limit), np.array(limit, np.float32)) for limit in (0, 6)]
        draft.node("Clip", [plain, *limits], output)
    elif act == "hsigmoid":
        draft.node("HardSigmoid", [plain], output, alpha=1 / 6, beta=0.5)
    elif act == "hswish" and draft.opset >= HARD_SWISH_SINCE:
        draft.node("HardSwish", [plain], output)
    elif act == "hswish":
        gate = draft.node("HardSigmoid", [plain], f"{output}.gate", alpha=1 / 6, beta=0.5)
        draft.node("Mul", [plain, gate], output)
    else:
        raise KeyError(act)


_KINDS: dict[str, Callable[[_Draft, Node, str], None]] = {
    "conv": _conv,
    "linear": _linear,
    "maxpool": _max_pool,
    "avgpool": _average_pool,
    "gap": partial(_plain, "GlobalAveragePool"),
    "mul": partial(_plain, "Mul"),
    "add": partial(_plain, "Add"),
}
