"""Drives onnxruntime on the CPU, and says which ONNX files this version reads."""

import base64
import functools
import importlib
from typing import Any, Callable, Dict

# The element types of inputs and outputs that our files have, by the name onnxruntime gives them.
TYPES = {"tensor(float)": "float32", "tensor(int8)": "int8"}

# One Relu on four floats; IR 4, opset 9: every onnxruntime since 0.4 reads it.
EMPTY_NETWORK = "CAQSADo7CgwKAXgSAXkiBFJlbHUSAWdaEwoBeBIOCgwIARIICgIIAQoCCARiEwoBeRIOCgwIARIICgIIAQoCCARCBAoAEAk="
# The same on 1 x 3 x 224 x 224 floats.
IO_NETWORK = (
    "CAQSADpPCgwKAXgSAXkiBFJlbHUSAWdaHQoBeBIYChYIARISCgIIAQoCCAMKAwjgAQoDCOABYh0KAXkSGAoWCAESEgoCCAEKAggDCgMI4AEKAwjg"
    "AUIECgAQCQ=="
)
BARE = {"empty": EMPTY_NETWORK, "io": IO_NETWORK}

# onnxruntime release 1.x -> (newest opset, newest IR version) it accepts; from the compatibility table of its
# documentation, the lower value where editions of that table differ. A release newer than the last entry counts as the
# last.
ACCEPTS = {
    0: (11, 6), 1: (11, 6), 2: (11, 6), 3: (12, 7), 4: (12, 7), 5: (12, 7), 6: (13, 7), 7: (13, 7), 8: (14, 7),
    9: (15, 7), 10: (15, 7), 11: (15, 7), 12: (17, 8), 13: (17, 8), 14: (18, 8), 15: (19, 8), 16: (19, 9), 17: (20, 9),
    18: (21, 10), 19: (21, 10), 20: (21, 10), 21: (22, 10), 22: (22, 10), 23: (23, 11),
}  # fmt: skip


def accepts(version: str) -> Dict[str, int]:
    """Return the newest opset and IR version that an onnxruntime version reads."""
    try:
        major, minor = (int(part) for part in version.split(".")[:2])
    except ValueError:
        major, minor = 1, 0
    release = minor if major == 1 else (max(ACCEPTS) if major > 1 else 0)
    opset, ir_version = ACCEPTS[min(release, max(ACCEPTS))]
    return {"opset": opset, "ir_version": ir_version}


def about() -> Dict[str, Any]:
    """Return the version and what it reads, after running a network of one node."""
    load_bare("empty", 1, "default")()
    version = str(importlib.import_module("onnxruntime").__version__)
    return dict(accepts(version), version=version)


def load(path: str, threads: int, kernels: str) -> Callable[[], Any]:
    """Return a call that runs the ONNX file once on fixed random input."""
    return _session(path, threads, kernels)


def load_bare(name: str, threads: int, kernels: str) -> Callable[[], Any]:
    """Return a call of the bare network "empty", whose cost is that of calling the runtime at all, or "io"."""
    return _session(base64.b64decode(BARE[name]), threads, kernels)


def _session(source: Any, threads: int, kernels: str) -> Callable[[], Any]:
    """Build a session with bound input and output, so that a call copies nothing."""
    if kernels != "default":
        raise ValueError("onnxruntime has no kernels called '%s'" % kernels)
    numpy = importlib.import_module("numpy")
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    random = numpy.random.RandomState(0)
    held = []
    for tensor in session.get_inputs():
        value = random.standard_normal(tensor.shape)
        # Integers over all of their range: those of the numbers above would be zeros and ones.
        value = numpy.clip(value * 40, -128, 127) if TYPES[tensor.type] == "int8" else value
        value = value.astype(TYPES[tensor.type])
        held.append(value)
        binding.bind_cpu_input(tensor.name, value)
    for tensor in session.get_outputs():
        output = onnxruntime.OrtValue.ortvalue_from_numpy(numpy.zeros(tensor.shape, TYPES[tensor.type]))
        held.append(output)
        binding.bind_ortvalue_output(tensor.name, output)
    run = functools.partial(session.run_with_iobinding, binding)
    # The binding points into these arrays: they live as long as the call.
    run.held = held  # type: ignore[attr-defined]
    return run
