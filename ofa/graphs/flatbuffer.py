"""A TFLite file in the making: tensors, constants and operators, packed by the flatbuffers schema of ai_edge_litert."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofa.errors import PackageMissing, package_missing
from ofa.graphs.ir import Grid

FILE_VERSION = 3
FILE_IDENTIFIER = b"TFL3"
ALIGNMENT_BYTES = 16  # the schema's force_align of a buffer's data, which the generated Python code leaves out
OVERHEAD_BYTES = 1 << 16
# The version of an operator that first took int8 maps, where that is not the first (TensorFlow, op_version.cc).
INT8_VERSIONS = {
    "ADD": 2,
    "AVERAGE_POOL_2D": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "DEQUANTIZE": 2,
    "FULLY_CONNECTED": 4,
    "MAX_POOL_2D": 2,
    "MEAN": 2,
    "MUL": 2,
    "PAD": 2,
    "PADV2": 2,
}


def schema_module() -> Any:
    """Return the generated schema; raises PackageMissing where ai_edge_litert or flatbuffers is not installed."""
    try:
        importlib.import_module("flatbuffers")
        return importlib.import_module("ai_edge_litert.schema_py_generated")
    except ImportError as fault:
        name = (fault.name or "ai_edge_litert").partition(".")[0]
        raise package_missing(name.replace("_", "-"), extra="bench", needed_for="writing TFLite files") from fault


def check(data: bytes) -> None:
    """Raise ValueError where a TFLite file is cut short or damaged: old interpreters read past its end and crash.

    Every table and vector is visited; without the schema only the identifier is looked at.
    """
    if data[4:8] != FILE_IDENTIFIER:
        raise ValueError(f"its identifier is {data[4:8]!r}, that of a TFLite file is {FILE_IDENTIFIER!r}")
    try:
        schema = schema_module()
    except PackageMissing:
        return
    try:
        model = schema.ModelT.InitFromPackedBuf(data, 0)
        broken = not model.subgraphs or not model.buffers
    # The generated reader has no errors of its own: it fails in whatever way an offset beyond the end makes it fail.
    except Exception as fault:
        raise ValueError("the file is cut short or damaged") from fault
    if broken:
        raise ValueError("the file holds no graph")


class Draft:
    """One subgraph whose tensors and operators are added in execution order.

    An operator is of version 1, or of its first version for int8 where the first tensor it reads is int8.
    """

    def __init__(self) -> None:
        self.schema = schema_module()
        self._tensors: list[Any] = []
        self._buffers: list[_Buffer] = [_Buffer(self.schema, b"")]  # the first one is empty by convention
        self._operators: list[Any] = []
        self._codes: dict[tuple[str, int], int] = {}
        self._shared: dict[tuple[str, bytes], int] = {}

    def tensor(
        self, name: str, shape: Sequence[int], dtype: str = "FLOAT32", buffer: int = 0, grid: Grid | None = None
    ) -> int:
        """Add a tensor and return its index; ``buffer`` 0 has no data, ``grid`` says what its integers stand for."""
        tensor = self.schema.TensorT()
        tensor.name = name.encode()
        tensor.shape = np.array(shape, np.int32)
        tensor.type = getattr(self.schema.TensorType, dtype)
        tensor.buffer = buffer
        if grid is not None:
            tensor.quantization = self.schema.QuantizationParametersT()
            tensor.quantization.scale = np.array(grid.steps, np.float32)
            tensor.quantization.zeroPoint = np.full(len(grid.steps), grid.zero, np.int64)
            tensor.quantization.quantizedDimension = grid.axis
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def constant(self, name: str, value: NDArray[Any], grid: Grid | None = None) -> int:
        """Add a constant tensor of type float32, int32 or int8 and return its index."""
        data = np.ascontiguousarray(value)
        self._buffers.append(_Buffer(self.schema, data.astype(data.dtype.newbyteorder("<"), copy=False).tobytes()))
        return self.tensor(name, value.shape, str(value.dtype).upper(), len(self._buffers) - 1, grid)

    def shared(self, name: str, value: NDArray[Any], grid: Grid | None = None) -> int:
        """Add a small constant once, whoever needs it."""
        key = (f"{value.dtype}{value.shape}{grid}", value.tobytes())
        if key not in self._shared:
            self._shared[key] = self.constant(name, value, grid)
        return self._shared[key]

    def operator(self, code: str, inputs: Sequence[int], output: int, options: str | None = None, **values: Any) -> int:
        """Add a builtin operator ("CONV_2D") with its options ("Conv2DOptions"); return ``output``."""
        operator = self.schema.OperatorT()
        int8 = self._tensors[inputs[0]].type == self.schema.TensorType.INT8
        version = INT8_VERSIONS.get(code, 1) if int8 else 1
        operator.opcodeIndex = self._codes.setdefault((code, version), len(self._codes))
        operator.inputs = np.array(inputs, np.int32)
        operator.outputs = np.array([output], np.int32)
        if options is not None:
            operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(self.schema, f"{options}T")()
            for name, value in values.items():
                setattr(operator.builtinOptions, name, value)
        self._operators.append(operator)
        return output

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """Return the file."""
        graph = self.schema.SubGraphT()
        graph.name = b"main"
        graph.tensors = self._tensors
        graph.operators = self._operators
        graph.inputs = np.array(inputs, np.int32)
        graph.outputs = np.array(outputs, np.int32)
        model = self.schema.ModelT()
        model.version = FILE_VERSION
        model.description = b"ofa-lab"
        model.operatorCodes = [self._operator_code(*code) for code in self._codes]
        model.subgraphs = [graph]
        model.buffers = self._buffers
        size_bytes = sum(len(buffer.data) + 2 * ALIGNMENT_BYTES for buffer in self._buffers) + OVERHEAD_BYTES
        builder = importlib.import_module("flatbuffers").Builder(size_bytes)
        builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
        return bytes(builder.Output())

    def _operator_code(self, name: str, version: int) -> Any:
        """Return an operator code; old interpreters read only the deprecated field, a byte."""
        code = self.schema.OperatorCodeT()
        code.builtinCode = getattr(self.schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = version
        return code


class _Buffer:
    """Data of one constant, placed where a runtime may read vectors of it straight from the mapped file."""

    def __init__(self, schema: Any, data: bytes) -> None:
        self.schema = schema
        self.data = data

    def Pack(self, builder: Any) -> int:  # noqa: N802 - the name the generated schema calls
        """Write the buffer as the generated ``BufferT`` does, but aligned."""
        vector = None
        if self.data:
            builder.StartVector(1, len(self.data), ALIGNMENT_BYTES)
            builder.head -= len(self.data)
            builder.Bytes[builder.head : builder.head + len(self.data)] = self.data
            vector = builder.EndVector()
        self.schema.BufferStart(builder)
        if vector is not None:
            self.schema.BufferAddData(builder, vector)
        packed: int = self.schema.BufferEnd(builder)
        return packed
