"""What the integers at the two ends of an int8 file stand for, read from the file itself."""

from __future__ import annotations

import importlib
from typing import Any

from ofa.errors import package_missing
from ofa.graphs import onnx
from ofa.graphs.flatbuffer import schema_module
from ofa.graphs.ir import INPUT

# The scheme of `ofa.graphs.quantize` and of onnxruntime's static quantizer, as both are used here.
SCHEME = {
    "values": "real = scale * (integer - zero_point)",
    "maps": "int8, one scale and zero point each, ranges from the least and largest value on calibration images",
    "weights": "int8, symmetric, one scale for each output channel; in TFLite one for a linear layer",
    "biases": "int32, scale of the input times scale of the weight",
    "outside": "float32: the file's first and last step are those to int8 and back",
}


def ends(data: bytes, format: str) -> dict[str, Any]:
    """Return scale and zero point of the integers behind the input and before the output of an int8 file.

    ``data`` is what the int8 writers of `ofa.graphs` give. Raises PackageMissing without the package of the format.
    """
    first, last = (_onnx if format == "onnx" else _tflite)(data)
    return {name: {"scale": scale, "zero_point": zero} for name, (scale, zero) in (("input", first), ("output", last))}


def _onnx(data: bytes) -> tuple[tuple[float, int], tuple[float, int]]:
    try:
        package = importlib.import_module("onnx")
    except ImportError as fault:
        raise package_missing("onnx", extra="bench", needed_for="reading int8 ONNX files") from fault
    graph = package.load_model_from_string(data).graph
    known = {value.name: package.numpy_helper.to_array(value) for value in graph.initializer}
    first = next(node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] == INPUT)
    last = next(node for node in graph.node if node.op_type == "DequantizeLinear" and node.output[0] == onnx.OUTPUT)
    found = [(float(known[node.input[1]]), int(known[node.input[2]])) for node in (first, last)]
    return found[0], found[1]


def _tflite(data: bytes) -> tuple[tuple[float, int], tuple[float, int]]:
    (graph,) = schema_module().ModelT.InitFromPackedBuf(data, 0).subgraphs
    places = graph.operators[0].outputs[0], graph.operators[-1].inputs[0]
    grids = [graph.tensors[place].quantization for place in places]
    found = [(float(grid.scale[0]), int(grid.zeroPoint[0])) for grid in grids]
    return found[0], found[1]
