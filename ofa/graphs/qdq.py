"""Writes a graph as an int8 ONNX file, by the static quantizer of onnxruntime: QDQ form, one weight step a channel."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ofa.errors import package_missing
from ofa.graphs import onnx, run
from ofa.graphs.errors import opset_too_old_for_int8, quantizer_broken
from ofa.graphs.ir import INPUT, Array, Graph
from ofa.graphs.quantize import checked_images

OLDEST_OPSET = 13  # QuantizeLinear has one step a channel from here on


class _Reader:
    """Hands the quantizer one image after another; what it calls, and nothing more."""

    def __init__(self, images: Array) -> None:
        self._left: Iterator[Array] = iter(images)

    def get_next(self) -> dict[str, Array] | None:
        """Return the next image as the file takes it, None after the last."""
        image = next(self._left, None)
        return None if image is None else {INPUT: image[None]}


def write(
    graph: Graph,
    images: Array,
    *,
    opset: int = 17,
    ir_version: int = 8,
    takes_int8: bool = False,
    gives_int8: bool = False,
) -> bytes:
    """Return the graph as an int8 ONNX file: input "x" float32[1, C, H, W], output "y" float32.

    Ranges are the least and largest value on ``images``, float32[n, C, H, W] as a user of the file would give.
    ``takes_int8`` and ``gives_int8`` leave out the first and the last step between float32 and int8: "x" and "y" are
    then int8, as between two layers of a network.
    ``opset`` and ``ir_version`` are the newest the device's runtime reads. Raises UsageInvalid for images that do not
    fit, MeasurementRefused for an opset before 13, PackageMissing without onnx or onnxruntime, or where the one is too
    old for the other.
    """
    images = checked_images(graph, images)
    if opset < OLDEST_OPSET:
        raise opset_too_old_for_int8(opset, oldest=OLDEST_OPSET)
    source = onnx.write(graph, opset=opset, ir_version=ir_version)
    quantization, proto = _packages()
    try:
        model = _quantized(source, images, quantization, proto)
    # The quantizer has no errors of its own; beside a newer onnx an older one fails on what onnx no longer has.
    except Exception as fault:
        raise quantizer_broken(run.version("onnxruntime"), fault) from fault
    model.ir_version = ir_version
    if takes_int8:
        _begin_inside(model, proto.TensorProto.INT8)
    if gives_int8:
        _end_inside(model, proto.TensorProto.INT8)
    return bytes(model.SerializeToString(deterministic=True))


def _quantized(source: bytes, images: Array, quantization: Any, proto: Any) -> Any:
    """Return the quantizer's model of a file; all it writes on the way is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="ofa-int8-") as folder:
        plain, shaped, done = (str(Path(folder, f"{name}.onnx")) for name in ("plain", "shaped", "done"))
        Path(plain).write_bytes(source)
        # Shapes alone: the optimiser would add operators of onnxruntime's own, and finds nothing to fold here.
        quantization.quant_pre_process(plain, shaped, skip_optimization=True, skip_symbolic_shape=True)
        quantization.quantize_static(
            shaped,
            done,
            _Reader(images),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
        )
        return proto.load_model(done)


def _begin_inside(model: Any, int8: int) -> None:
    """Take the integers of "x" as the input, where all that reads it is the step that makes them."""
    readers = [node for node in model.graph.node if INPUT in node.input]
    if [node.op_type for node in readers] != ["QuantizeLinear"]:
        return
    made = readers[0].output[0]
    model.graph.node.remove(readers[0])
    for node in model.graph.node:
        node.input[:] = [INPUT if name == made else name for name in node.input]
    model.graph.input[0].type.tensor_type.elem_type = int8


def _end_inside(model: Any, int8: int) -> None:
    """Give the integers behind "y" as the output, where nothing else reads them."""
    last = [node for node in model.graph.node if onnx.OUTPUT in node.output]
    if [node.op_type for node in last] != ["DequantizeLinear"]:
        return
    source = last[0].input[0]
    if sum(source in node.input for node in model.graph.node) > 1:
        return
    model.graph.node.remove(last[0])
    for node in model.graph.node:
        node.output[:] = [onnx.OUTPUT if name == source else name for name in node.output]
    model.graph.output[0].type.tensor_type.elem_type = int8


def _packages() -> tuple[Any, Any]:
    """Return onnxruntime's quantization and onnx, or raise PackageMissing."""
    try:
        return importlib.import_module("onnxruntime.quantization"), importlib.import_module("onnx")
    except ImportError as fault:
        name = (fault.name or "onnxruntime").partition(".")[0]
        raise package_missing(name, extra="bench", needed_for="writing int8 ONNX files") from fault
