"""Drives onnxruntime on the CPU or a GPU, and says which ONNX files this version reads."""

import base64
import functools
import importlib
import os
import re
from typing import Any, Callable, Dict, List, Optional, Tuple

from runtimes import cuda, placement
from runtimes.way import Way, left_over

PROVIDERS = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
NO_CPU = "session.disable_cpu_ep_fallback"
NO_NPU = "inside onnxruntime, TensorRT lets a DLA leave layers to the GPU and does not say which: use trtexec"
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
    """Return the version and what it reads, after running a network of one node; and what it finds besides the CPU."""
    load_bare("empty", Way())()
    onnxruntime = importlib.import_module("onnxruntime")
    version = str(onnxruntime.__version__)
    units = {"gpu": _gpu(onnxruntime), "npu": {"ready": False, "says": NO_NPU}}
    return dict(accepts(version), version=version, units=units)


def load(path: str, way: Way) -> Callable[[], Any]:
    """Return a call that runs the ONNX file once on fixed random input.

    On a GPU input and output stay there: whole networks copy once and not once for each of their ops, and what that
    takes is what the bare network "io" tells. Engines of TensorRT are kept beside the file.
    """
    return _call(path, way, os.path.dirname(path))


def load_bare(name: str, way: Way) -> Callable[[], Any]:
    """Return a call of the bare network "empty", whose cost is that of calling the runtime at all, or "io"; on a GPU
    that of "io" begins and ends in the CPU's memory."""
    return _call(base64.b64decode(BARE[name]), way, None, copies=name == "io")


def _gpu(onnxruntime: Any) -> Dict[str, Any]:
    """Say which GPU this build can use and with which kernels, after running a network there; or why it cannot."""
    having = onnxruntime.get_available_providers()
    kernels = [name for name in ("cuda", "tensorrt") if PROVIDERS[name] in having]
    if not kernels:
        return {"ready": False, "says": "this build of onnxruntime has only %s" % ", ".join(having)}
    try:
        says = cuda.gpu().says()
        if "tensorrt" in kernels:
            says, kernels = _with_tensorrt(says, kernels)
        # An engine takes seconds to build: TensorRT is believed by its library, CUDA by a network.
        if "cuda" in kernels:
            load_bare("empty", Way(unit="gpu", kernels="cuda"))()
    # Libraries of other versions fail in any way: whatever it is, it is the reason.
    except Exception as fault:
        return {"ready": False, "says": " ".join(("%s: %s" % (type(fault).__name__, fault)).split())[:400]}
    return {"ready": True, "says": says, "kernels": kernels}


def _with_tensorrt(says: str, kernels: List[str]) -> Tuple[str, List[str]]:
    """Add the version of TensorRT, or take its kernels out: a build can have the provider without the library."""
    try:
        return says + ", TensorRT " + cuda.tensorrt_version(), kernels
    except RuntimeError:
        return says, [name for name in kernels if name != "tensorrt"]


def _call(source: Any, way: Way, folder: Optional[str], copies: bool = False) -> Callable[[], Any]:
    """Build a session for the way and bind what it takes and gives."""
    onnxruntime = importlib.import_module("onnxruntime")
    if way.unit == "cpu":
        if way.kernels != "default":
            raise ValueError("onnxruntime has no kernels called '%s' on the CPU" % way.kernels)
        if way.precision == "fp16":
            raise ValueError("onnxruntime does not compute in fp16 on the CPU")
        options = _options(onnxruntime, way)
        session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        return _bound(onnxruntime, session)
    return _bound_to_gpu(onnxruntime, _placed(onnxruntime, source, way, folder), copies)


def _options(onnxruntime: Any, way: Way) -> Any:
    """Return the options of every session."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = way.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options


def _placed(onnxruntime: Any, source: Any, way: Way, folder: Optional[str]) -> Any:
    """Return a session whose nodes all run on the GPU with the wanted kernels; raises Unsupported naming others."""
    provider, settings = _provider(way, folder)
    # Left to itself, the Python part tries again with the CPU when a provider fails.
    common = {"providers": [provider], "provider_options": [settings], "enable_fallback": 0}
    strict = placement.can_refuse(str(onnxruntime.__version__))
    options = _options(onnxruntime, way)

    def nodes_elsewhere() -> List[str]:
        loose = _options(onnxruntime, way)
        return placement.elsewhere(
            loose, lambda: _taken(onnxruntime.InferenceSession(source, loose, **common), provider), _values, provider
        )

    if strict:
        options.add_session_config_entry(NO_CPU, "1")
    try:
        session = onnxruntime.InferenceSession(source, options, **common)
    # onnxruntime has an exception class for each of its error codes, none of which says which nodes.
    except Exception:
        left = nodes_elsewhere() if strict else []
        if left:
            raise left_over(left, provider)
        raise
    _taken(session, provider)
    left = [] if strict else nodes_elsewhere()
    if left:
        raise left_over(left, provider)
    return session


def _taken(session: Any, provider: str) -> Any:
    """Return a session that has the provider; raises RuntimeError for one that went on without."""
    having = session.get_providers()
    if provider not in having:
        raise RuntimeError("a session has %s and not %s: are its libraries there?" % (", ".join(having), provider))
    return session


def _provider(way: Way, folder: Optional[str]) -> Any:
    """Return the provider of a way and its options; raises ValueError where there is none."""
    if way.unit == "npu":
        raise ValueError(NO_NPU)
    kernels = "cuda" if way.kernels == "default" else way.kernels
    if kernels not in PROVIDERS:
        raise ValueError("onnxruntime has no kernels called '%s' on a GPU" % kernels)
    if kernels == "cuda" and way.precision != "fp32":
        raise ValueError("onnxruntime's CUDA kernels do not compute a file of float32 in %s" % way.precision)
    settings = {"device_id": "0"}
    if kernels == "tensorrt":
        settings["trt_fp16_enable"] = str(way.precision == "fp16")
        settings["trt_int8_enable"] = str(way.precision == "int8")
        if folder is not None:
            settings.update(_cache(folder))
    return PROVIDERS[kernels], settings


def _cache(folder: str) -> Dict[str, str]:
    """Return the options that keep engines and what was timed to build them, apart for each TensorRT and GPU.

    An engine is of one network (onnxruntime names it by the file, which we name by its content), made for one GPU by
    one version: with another it is slow or does not load.
    """
    key = re.sub("[^A-Za-z0-9.-]+", "_", "%s-%s" % (cuda.tensorrt_version(), cuda.gpu().says()))
    place = os.path.join(folder, "engines", key)
    os.makedirs(place, exist_ok=True)
    names = ("trt_engine_cache_enable", "trt_timing_cache_enable")
    return dict({name: "True" for name in names}, trt_engine_cache_path=place)


def _values(session: Any) -> Dict[str, Any]:
    """Return fixed random input by name."""
    numpy = importlib.import_module("numpy")
    random = numpy.random.RandomState(0)
    values = {}
    for tensor in session.get_inputs():
        value = random.standard_normal(tensor.shape)
        # Integers over all of their range: those of the numbers above would be zeros and ones.
        value = numpy.clip(value * 40, -128, 127) if TYPES[tensor.type] == "int8" else value
        values[tensor.name] = value.astype(TYPES[tensor.type])
    return values


def _bound(onnxruntime: Any, session: Any) -> Callable[[], Any]:
    """Return the call of a session on the CPU with bound input and output, so that it copies nothing."""
    numpy = importlib.import_module("numpy")
    binding, held = session.io_binding(), []
    for name, value in _values(session).items():
        held.append(value)
        binding.bind_cpu_input(name, value)
    for tensor in session.get_outputs():
        output = onnxruntime.OrtValue.ortvalue_from_numpy(numpy.zeros(tensor.shape, TYPES[tensor.type]))
        held.append(output)
        binding.bind_ortvalue_output(tensor.name, output)
    run = functools.partial(session.run_with_iobinding, binding)
    # The binding points into these arrays: they live as long as the call.
    run.held = held  # type: ignore[attr-defined]
    return run


def _bound_to_gpu(onnxruntime: Any, session: Any, copies: bool) -> Callable[[], Any]:
    """Return the call of a session on a GPU: with its input and output there, or with ``copies`` on the CPU's side."""
    numpy = importlib.import_module("numpy")
    binding, values, held = session.io_binding(), _values(session), []
    for name, value in values.items():
        if not copies:
            held.append(onnxruntime.OrtValue.ortvalue_from_numpy(value, "cuda", 0))
            binding.bind_ortvalue_input(name, held[-1])
    where = "cpu" if copies else "cuda"
    for tensor in session.get_outputs():
        kind = getattr(numpy, TYPES[tensor.type])
        held.append(onnxruntime.OrtValue.ortvalue_from_shape_and_type(tensor.shape, kind, where, 0))
        binding.bind_ortvalue_output(tensor.name, held[-1])

    def run() -> None:
        # An input of the CPU's is copied when it is bound, and not when the session runs.
        for name, value in values.items() if copies else ():
            binding.bind_cpu_input(name, value)
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    run.held = held  # type: ignore[attr-defined]
    return run
