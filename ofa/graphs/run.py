"""Runs a model file on this computer: parity checks, and the accuracy of what was exported."""

from __future__ import annotations

import base64
import functools
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from ofa.errors import OfaError, package_missing
from ofa.files import read_capped
from ofa.graphs import flatbuffer, pytorch
from ofa.graphs.errors import input_misshapen, model_invalid, runtime_broken, runtime_unknown

Runtime = Literal["onnxruntime", "litert", "tflite_runtime", "torch"]
Array = NDArray[np.float32]
Run = Callable[[Array], Array]

RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
MAX_FILE_BYTES = 2 << 30
TFLITE_PACKAGES = {"litert": "ai_edge_litert", "tflite_runtime": "tflite_runtime"}
EXTRAS = {"litert": "litert", "tflite_runtime": "tflite"}

# One HARD_SWISH on four floats.
TINY_TFLITE = (
    "CAAAAFRGTDPG////FAAAABwAAAAkAAAACAEAAAMAAAABAAAABAAAAIj///8HAAAAb2ZhLWxhYgABAAAAFAAAAAAADgAYABQAEAAMAAgABAAO"
    "AAAAFAAAABwAAABcAAAAYAAAAGQAAAAEAAAAbWFpbgAAAAABAAAAFAAAAAAADgAUAAAAEAAMAAsABAAOAAAAFAAAAAAAAFsQAAAAFAAAAAQA"
    "BAAEAAAAAQAAAAEAAAABAAAAAAAAAAEAAAABAAAAAQAAAAAAAAACAAAANAAAAAQAAADg////CAAAAAwAAAABAAAAeQAAAAIAAAABAAAABAAA"
    "AAwADAAIAAAAAAAEAAwAAAAIAAAADAAAAAEAAAB4AAAAAgAAAAEAAAAEAAAAAQAAABAAAAAMAAwACwAAAAAABAAMAAAAdQAAAAAAAHU="
)


def load(source: bytes | Path | str, runtime: Runtime, *, threads: int = 1) -> Run:
    """Load a model file (its bytes or its path) and return a call that maps images to its output.

    The call takes float32[n, C, H, W] and returns float32[n, ...] (maps as NCHW), whatever layout and batch size the
    file has; n may be 0. With ``torch``, ``threads`` is set for the whole process. Raises PackageMissing where the
    runtime is absent or broken, FileInvalid where it refuses the file, UsageInvalid for an unknown runtime; the call
    raises UsageInvalid for images of another shape.
    """
    version(runtime)
    name = "in memory" if isinstance(source, bytes) else f"'{source}'"
    data = (
        source if isinstance(source, bytes) else read_capped(Path(source), max_bytes=MAX_FILE_BYTES, what="model file")
    )
    try:
        shape, single = _LOADERS[runtime](data, runtime, threads)
    except OfaError:
        raise
    # A runtime fails in any way on a damaged file: ValueError, RuntimeError, its own exceptions.
    except Exception as fault:
        raise model_invalid(name, runtime, fault) from fault
    return functools.partial(_run_all, name, shape, single)


@functools.cache
def version(runtime: Runtime) -> str:
    """Return the version of a runtime; raise PackageMissing where it cannot be imported.

    For TFLite that proves nothing, so a tiny file is loaded as well: under numpy 2, tflite_runtime imports and then
    fails to construct an interpreter.
    """
    if runtime == "torch":
        return pytorch.version()
    if runtime == "onnxruntime":
        try:
            return str(importlib.import_module("onnxruntime").__version__)
        except ImportError as fault:
            raise package_missing("onnxruntime", extra="onnxruntime", needed_for="running ONNX files") from fault
    if runtime not in TFLITE_PACKAGES:
        raise runtime_unknown(runtime, RUNTIMES)
    package = TFLITE_PACKAGES[runtime]
    try:
        importlib.import_module(f"{package}.interpreter")
    except ModuleNotFoundError as fault:
        raise package_missing(
            package.replace("_", "-"), extra=EXTRAS[runtime], needed_for="running TFLite files"
        ) from fault
    except Exception as fault:
        raise runtime_broken(runtime, fault, "install it again, for this Python and this machine") from fault
    try:
        _tflite(base64.b64decode(TINY_TFLITE), runtime, 1)
    except Exception as fault:
        hint = "tflite-runtime was built for numpy 1: pip install 'numpy<2'" if runtime == "tflite_runtime" else ""
        raise runtime_broken(runtime, fault, hint or "install it again, for this Python and this machine") from fault
    metadata = importlib.import_module("importlib.metadata")
    return str(metadata.version(package.replace("_", "-")))


def _run_all(name: str, shape: tuple[int, ...], single: Run, images: Array) -> Array:
    """Run a batch-1 network once per image."""
    if images.ndim != 4 or images.shape[1:] != shape[1:] or images.dtype != np.float32:
        found = images.shape if images.dtype == np.float32 else f"{images.shape}, {images.dtype}"
        raise input_misshapen(name, expected=("n", *shape[1:]), found=found)
    if not len(images):
        # Only the runtime knows the shape of its output.
        return single(np.zeros((1, *images.shape[1:]), np.float32))[:0]
    return np.concatenate([single(np.ascontiguousarray(image[None])) for image in images])


def watch(data: bytes, images: Array) -> Iterator[dict[str, Array]]:
    """Run a batch-1 ONNX file in onnxruntime and yield all its outputs by name, image by image (float32[n, C, H, W]).

    Raises PackageMissing without onnxruntime.
    """
    version("onnxruntime")
    session = _session(data, 1)
    source, names = session.get_inputs()[0].name, [output.name for output in session.get_outputs()]
    for image in images:
        yield dict(zip(names, session.run(names, {source: np.ascontiguousarray(image[None])}), strict=True))


def _session(data: bytes, threads: int) -> Any:
    """Return an onnxruntime session on the CPU."""
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _onnx(data: bytes, _runtime: str, threads: int) -> tuple[tuple[int, ...], Run]:
    """Return the input's NCHW shape and a call on one image."""
    session = _session(data, threads)
    tensor, result = session.get_inputs()[0], session.get_outputs()[0]
    if (tensor.type, result.type) != ("tensor(float)", "tensor(float)"):
        raise ValueError(f"it takes {tensor.type} and gives {result.type}; only float32 on both sides can be run")

    def run(image: Array) -> Array:
        return cast(Array, session.run(None, {tensor.name: image})[0])

    return tuple(tensor.shape), run


def _tflite(data: bytes, runtime: str, threads: int) -> tuple[tuple[int, ...], Run]:
    """Return the input's NCHW shape and a call on one NCHW image; the file itself is NHWC."""
    flatbuffer.check(data)
    module = importlib.import_module(f"{TFLITE_PACKAGES[runtime]}.interpreter")
    interpreter = module.Interpreter(model_content=data, num_threads=threads)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if (source["dtype"], target["dtype"]) != (np.float32, np.float32):
        taken, given = source["dtype"].__name__, target["dtype"].__name__
        raise ValueError(f"it takes {taken} and gives {given}; only float32 on both sides can be run")
    shape = tuple(int(size) for size in source["shape"])

    def run(image: Array) -> Array:
        interpreter.set_tensor(source["index"], np.ascontiguousarray(image.transpose(0, 2, 3, 1)))
        interpreter.invoke()
        found = cast(Array, interpreter.get_tensor(target["index"]))
        return found.transpose(0, 3, 1, 2) if found.ndim == 4 else found

    return (shape[0], shape[-1], *shape[1:-1]), run


def _torch(data: bytes, _runtime: str, threads: int) -> tuple[tuple[int, ...], Run]:
    """Return the input's shape and a call on one image."""
    return pytorch.input_shape(data), pytorch.load(data, threads)


_LOADERS: dict[str, Callable[[bytes, str, int], tuple[tuple[int, ...], Any]]] = {
    "onnxruntime": _onnx,
    "litert": _tflite,
    "tflite_runtime": _tflite,
    "torch": _torch,
}
