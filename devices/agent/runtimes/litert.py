"""Drives TFLite files through ai_edge_litert (the runtime `litert`) or its ancestor tflite_runtime; results of the two
never mix."""

import base64
import importlib
from typing import Any, Callable, Dict

MODULES = {"litert": "ai_edge_litert", "tflite_runtime": "tflite_runtime"}

# One RELU on four floats.
EMPTY_NETWORK = (
    "CAAAAFRGTDPC////FAAAACAAAAAoAAAA+AAAAAMAAAABAAAACAAAAAQABAAEAAAABQAAAHByb2JlAAAAAQAAABQAAAAAAA4AGAAUABAADAAIAAQADgAAABQAAAAc"
    "AAAASAAAAEwAAABQAAAABAAAAG1haW4AAAAAAQAAABAAAAAAAAoADAAAAAgABAAKAAAACAAAAAwAAAABAAAAAQAAAAEAAAAAAAAAAQAAAAEAAAABAAAAAAAAAAIA"
    "AAA0AAAABAAAAOD///8IAAAADAAAAAEAAAB5AAAAAgAAAAEAAAAEAAAADAAMAAgAAAAAAAQADAAAAAgAAAAMAAAAAQAAAHgAAAACAAAAAQAAAAQAAAABAAAAEAAA"
    "AAwADAALAAAAAAAEAAwAAAATAAAAAAAAEw=="
)
# The same on 1 x 224 x 224 x 3 floats.
IO_NETWORK = (
    "CAAAAFRGTDPC////FAAAACAAAAAoAAAACAEAAAMAAAABAAAACAAAAAQABAAEAAAABQAAAHByb2JlAAAAAQAAABQAAAAAAA4AGAAUABAADAAIAAQADgAAABQA"
    "AAAcAAAASAAAAEwAAABQAAAABAAAAG1haW4AAAAAAQAAABAAAAAAAAoADAAAAAgABAAKAAAACAAAAAwAAAABAAAAAQAAAAEAAAAAAAAAAQAAAAEAAAABAAAA"
    "AAAAAAIAAAA8AAAABAAAANj///8IAAAADAAAAAEAAAB5AAAABAAAAAEAAADgAAAA4AAAAAMAAAAMAAwACAAAAAAABAAMAAAACAAAAAwAAAABAAAAeAAAAAQA"
    "AAABAAAA4AAAAOAAAAADAAAAAQAAABAAAAAMAAwACwAAAAAABAAMAAAAEwAAAAAAABM="
)
BARE = {"empty": EMPTY_NETWORK, "io": IO_NETWORK}


def about_litert() -> Dict[str, Any]:
    """Probe ai_edge_litert by running an interpreter."""
    return _about("litert")


def about_tflite_runtime() -> Dict[str, Any]:
    """Probe tflite_runtime by running an interpreter."""
    return _about("tflite_runtime")


def load_litert(path: str, threads: int, kernels: str) -> Callable[[], Any]:
    """Return a call that runs the TFLite file once through ai_edge_litert."""
    return _interpreter("litert", threads, kernels, model_path=path)


def load_tflite_runtime(path: str, threads: int, kernels: str) -> Callable[[], Any]:
    """Return a call that runs the TFLite file once through tflite_runtime."""
    return _interpreter("tflite_runtime", threads, kernels, model_path=path)


def load_bare_litert(name: str, threads: int, kernels: str) -> Callable[[], Any]:
    """Return a call of the bare network "empty", whose cost is that of calling ai_edge_litert at all, or "io"."""
    return _interpreter("litert", threads, kernels, model_content=base64.b64decode(BARE[name]))


def load_bare_tflite_runtime(name: str, threads: int, kernels: str) -> Callable[[], Any]:
    """Return a call of the bare network "empty", whose cost is that of calling tflite_runtime at all, or "io"."""
    return _interpreter("tflite_runtime", threads, kernels, model_content=base64.b64decode(BARE[name]))


def _about(name: str) -> Dict[str, Any]:
    """Return the version after an interpreter has run: under numpy 2 tflite_runtime imports and then cannot
    construct."""
    _interpreter(name, 1, "default", model_content=base64.b64decode(EMPTY_NETWORK))()
    module = importlib.import_module(MODULES[name])
    version = getattr(module, "__version__", None) or _installed_version(MODULES[name])
    return {"version": version}


def _installed_version(module: str) -> str:
    """Return the version its package metadata gives (importlib.metadata is new in Python 3.8)."""
    try:
        metadata = importlib.import_module("importlib.metadata")
        return str(metadata.version(module.replace("_", "-")))
    except Exception:
        return "unreadable"


def _interpreter(name: str, threads: int, kernels: str, **model: Any) -> Callable[[], Any]:
    """Build an interpreter with fixed random input; ``kernels`` is "default" (XNNPACK) or "builtin" (no delegate)."""
    numpy = importlib.import_module("numpy")
    module = importlib.import_module(MODULES[name] + ".interpreter")
    options: Dict[str, Any] = {"num_threads": threads}
    if kernels == "builtin":
        options["experimental_op_resolver_type"] = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    elif kernels != "default":
        raise ValueError("%s has no kernels called '%s'" % (name, kernels))
    interpreter = module.Interpreter(**dict(model, **options))
    interpreter.allocate_tensors()
    random = numpy.random.RandomState(0)
    for tensor in interpreter.get_input_details():
        value = random.standard_normal(tensor["shape"])
        # Integers over all of their range: those of the numbers above would be zeros and ones.
        value = numpy.clip(value * 40, -128, 127) if tensor["dtype"] == numpy.int8 else value
        interpreter.set_tensor(tensor["index"], value.astype(tensor["dtype"]))
    return interpreter.invoke  # type: ignore[no-any-return]
