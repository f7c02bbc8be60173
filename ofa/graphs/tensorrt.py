"""An int8 ONNX file as TensorRT takes it: it knows symmetric integers only, and biases in float32.

Either the file keeps its integers, made symmetric (explicit quantization), or it is taken apart into a float32 file and
the step of every value, which TensorRT reads beside it as a calibration cache (implicit quantization, the only one that
a DLA has). NVIDIA TensorRT Developer Guide, "Working with Quantized Types"; that other zero points are refused:
NVIDIA/TensorRT issue 2774.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofa.errors import OfaError, package_missing
from ofa.graphs.errors import model_invalid
from ofa.graphs.quantize import HIGHEST, LOWEST

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
# What is computed together with the layer before it: its result reaches no further than theirs.
ACTIVATIONS = {"Relu", "Clip"}
# What may fall below 0 where integers end there: onnxruntime's quantizer lets these do a ReLU's work and leaves it out.
SIGNED = {"Conv", "Gemm", "MatMul", "Add"}
MOST_SCALE, LEAST_SCALE = 1e30, 1e-30

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """A float32 ONNX file, and the step of the symmetric integers of its values by name; values without have none."""

    data: bytes
    steps: Mapping[str, float]


def symmetric(data: bytes, name: str = "in memory") -> bytes:
    """Return an int8 ONNX file (QDQ form) with zero points of 0 and with biases in float32.

    The step of a value grows so far that 127 of them reach as far as before on the farther side. Raises FileInvalid,
    with ``name``, for what is no ONNX file, PackageMissing without onnx.
    """
    with _refused(name):
        return _made_symmetric(_File(data))


def taken_apart(data: bytes) -> Apart:
    """Return an int8 ONNX file (QDQ form) as a float32 one and the steps; a file without integers has no steps.

    Raises as ``symmetric``.
    """
    with _refused("in memory"):
        return _taken_apart(_File(data))


@contextmanager
def _refused(name: str) -> Iterator[None]:
    """Raise FileInvalid for whatever is wrong with a file."""
    try:
        yield
    except OfaError:
        raise
    # onnx and protobuf have errors of their own; numpy's and ours are of what a file says of its steps.
    except Exception as fault:
        raise model_invalid(name, "TensorRT", fault) from fault


class _File:
    """A parsed file and its constants."""

    def __init__(self, data: bytes) -> None:
        try:
            self.onnx: Any = importlib.import_module("onnx")
        except ImportError as fault:
            raise package_missing("onnx", extra="bench", needed_for="int8 files for TensorRT") from fault
        self.model = self.onnx.load_model_from_string(data)
        self.graph = self.model.graph
        self.constants: dict[str, Array] = {
            tensor.name: self.onnx.numpy_helper.to_array(tensor) for tensor in self.graph.initializer
        }
        self.kinds = {name: node.op_type for node in self.graph.node for name in node.output}

    def is_weight(self, node: Any) -> bool:
        """Say whether a node makes floats of integers that are constant."""
        return node.op_type == DEQUANTIZE and node.input[0] in self.constants

    def zeros(self, node: Any) -> Array:
        """Return the integers that stand for 0, one or one for each channel: uint8 where they are left out."""
        return self.constants[node.input[2]] if len(node.input) > 2 and node.input[2] else np.zeros((), np.uint8)

    def zero(self, node: Any) -> int:
        """Return the int8 that stands for 0; raises ValueError for other integers."""
        zero = self.zeros(node)
        if zero.dtype != np.int8:
            raise ValueError(f"'{node.output[0]}' is made of {zero.dtype}, and only int8 is read")
        return int(zero.reshape(()))

    def cut(self, node: Any, nodes: list[Any]) -> str:
        """Return the value that a node makes integers or floats of; where its integers do the work of a ReLU, that of a
        ReLU, which is added to ``nodes`` once."""
        source = str(node.input[0])
        if node.op_type != QUANTIZE or self.zero(node) != LOWEST or self.kinds.get(source) not in SIGNED:
            return source
        name = f"{source}.relu"
        if name not in self.kinds:
            self.kinds[name] = "Relu"
            nodes.append(self.onnx.helper.make_node("Relu", [source], [name], name=name))
        return name

    def step(self, node: Any) -> float:
        """Return the step of symmetric int8 numbers that reach as far as those of a node; raises ValueError."""
        scale, zero = float(self.constants[node.input[1]].reshape(())), self.zero(node)
        step = scale * max(HIGHEST - zero, zero - LOWEST) / HIGHEST if zero else scale
        if not LEAST_SCALE < step < MOST_SCALE:
            raise ValueError(f"'{node.output[0]}' has steps of {scale:g}")
        return step

    def floats(self, node: Any) -> NDArray[np.float32]:
        """Return what constant integers stand for."""
        integers, scale = self.constants[node.input[0]], self.constants[node.input[1]]
        axis = next((entry.i for entry in node.attribute if entry.name == "axis"), 1)
        # One step for all, or one for each channel along the axis.
        shape = [-1 if place == axis % max(1, integers.ndim) else 1 for place in range(integers.ndim)]
        steps, zeros = (
            part.reshape(shape) if part.size > 1 else part.reshape(()) for part in (scale, self.zeros(node))
        )
        found: NDArray[np.float32] = ((integers.astype(np.float64) - zeros) * steps).astype(np.float32)
        return found

    def written(self, nodes: Iterable[Any], floats: Mapping[str, Array]) -> bytes:
        """Return the file with other nodes, with more constants, and without those that nobody reads."""
        kept = list(nodes)
        del self.graph.node[:]
        self.graph.node.extend(kept)
        read = {name for node in kept for name in node.input}
        tensors = {tensor.name: tensor for tensor in self.graph.initializer}
        tensors |= {name: self.onnx.numpy_helper.from_array(value, name) for name, value in floats.items()}
        del self.graph.initializer[:]
        self.graph.initializer.extend(tensor for name, tensor in tensors.items() if name in read)
        # Shapes and kinds of what lies between are of the file as it was.
        del self.graph.value_info[:]
        self.onnx.checker.check_model(self.model)
        return bytes(self.model.SerializeToString(deterministic=True))


def _made_symmetric(file: _File) -> bytes:
    """Return a file with symmetric integers."""
    nodes: list[Any] = []
    floats: dict[str, Array] = {}
    for node in file.graph.node:
        if file.is_weight(node):
            if file.constants[node.input[0]].dtype == np.int32:
                floats[node.output[0]] = file.floats(node)
                continue
            if file.zeros(node).any():
                raise ValueError(f"the weights '{node.input[0]}' have zero points")
        elif node.op_type in (QUANTIZE, DEQUANTIZE):
            scale, zero = f"{node.output[0]}.step", f"{node.output[0]}.zero"
            node.input[0] = file.cut(node, nodes)
            floats |= {scale: np.array(file.step(node), np.float32), zero: np.zeros((), np.int8)}
            del node.input[1:]
            node.input.extend([scale, zero])
        nodes.append(node)
    return file.written(nodes, floats)


def _taken_apart(file: _File) -> Apart:
    """Return a file without integers, and the steps they had."""
    nodes: list[Any] = []
    floats: dict[str, Array] = {}
    steps: dict[str, float] = {}
    same: dict[str, str] = {}
    for node in file.graph.node:
        if file.is_weight(node):
            floats[node.output[0]] = file.floats(node)
        elif node.op_type in (QUANTIZE, DEQUANTIZE):
            source = file.cut(node, nodes)
            source = same.get(source, source)
            same[node.output[0]] = source
            steps[source] = file.step(node)
        else:
            node.input[:] = [same.get(name, name) for name in node.input]
            nodes.append(node)
    _ends(file, nodes, steps, same)
    _within(nodes, steps)
    return Apart(data=file.written(nodes, floats), steps=steps)


def _ends(file: _File, nodes: list[Any], steps: dict[str, float], same: Mapping[str, str]) -> None:
    """Let the graph take and give float32 under the names it had."""
    for value in (*file.graph.input, *file.graph.output):
        value.type.tensor_type.elem_type = file.onnx.TensorProto.FLOAT
    for output in file.graph.output:
        source = same.get(output.name, output.name)
        if source == output.name:
            continue
        if source in {value.name for value in file.graph.input}:
            raise ValueError("it computes nothing")
        for node in nodes:
            node.input[:] = [output.name if name == source else name for name in node.input]
            node.output[:] = [output.name if name == source else name for name in node.output]
        steps[output.name] = steps.pop(source)


def _within(nodes: Iterable[Any], steps: dict[str, float]) -> None:
    """Give what an activation reads the step of what it gives, where it has none of its own."""
    for node in nodes:
        if node.op_type in ACTIVATIONS and node.output[0] in steps:
            steps.setdefault(node.input[0], steps[node.output[0]])
